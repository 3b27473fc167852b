# What macOS says otherwise than Linux, in words that the other scripts use. A shell learns them once (shell.py).

FIRST_UID=501  # of a person's account
become() { exec sudo -n -H -u "$1" -- sh -c "$2"; }  # account script
run_as() { account=$1; shift; sudo -n -H -u "$account" -- "$@"; }  # account command...
log_in() { su -l "$1" -c "$2"; }  # account script: by its login shell
home_of() { id -P "$1" 2>/dev/null | cut -d: -f9; }
shell_of() { id -P "$1" 2>/dev/null | cut -d: -f10; }
name_of() { id -P "$1" 2>/dev/null | cut -d: -f1; }  # uid
people() {  # name:uid:home:shell of every account of a person, and root
  { echo root; dscl . -list /Users UniqueID | awk '$2 >= 501 { print $1 }'; } | while read -r name; do
    id -P "$name" 2>/dev/null | awk -F: '{ print $1 ":" $3 ":" $9 ":" $10 }'
  done
}
mode_of() { stat -f %Lp "$@"; }  # [-L] file
owner_of() { stat -f %Su "$@"; }
ids_of() { stat -f %u:%g "$@"; }
mode_and_owner() { stat -f '%Lp %Su' "$@"; }
kind_and_ids() { stat -f '%p %u:%g' "$@"; }
real() { readlink -f "$1"; }  # from 12.3 on
sha256() { shasum -a 256 | cut -d' ' -f1; }  # of its input
# There is no flock(1). The lock belongs to the open file, so it stays when perl has ended.
hold() { perl -e 'open my $f, ">>&=", $ARGV[0] or exit 2; exit !flock $f, 6' "$1"; }  # descriptor: fails while somebody else holds that file
wait_and_hold() { perl -e 'open my $f, "<&=", $ARGV[0] or exit 2; exit !flock $f, 2' "$1"; }
flush() { sync; }
local_time() { date -r "$1" '+%Y-%m-%d %H:%M:%S'; }  # seconds since 1970
newer_than() {  # file pid
  began=$(LC_ALL=C ps -o lstart= -p "${2:-0}" 2>/dev/null) && [ -n "$began" ] &&
    [ "$(stat -f %m "$1" 2>/dev/null || echo 0)" -gt "$(LC_ALL=C date -j -f '%a %b %d %T %Y' "$(echo $began)" +%s)" ]
}
boot() { sysctl -n kern.bootsessionuuid; }  # what tells one boot from another
