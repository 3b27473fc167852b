# What Linux says otherwise than macOS, in words that the other scripts use. A shell learns them once (shell.py).

LC_ALL=C.UTF-8; export LC_ALL
FIRST_UID=1000  # of a person's account
become() { exec runuser -u "$1" -- sh -c "$2"; }  # account script
run_as() { account=$1; shift; runuser -u "$account" -- "$@"; }  # account command...
log_in() { runuser -l "$1" -c "$2"; }  # account script: by its login shell
entry() {  # account or uid: without a pipe, for each program that is started takes milliseconds
  IFS=: read -r entry_name _ entry_uid _ _ entry_home entry_shell <<END
$(getent passwd "$1")
END
}
home_of() { entry "$1"; echo "$entry_home"; }
shell_of() { entry "$1"; echo "$entry_shell"; }
name_of() { entry "$1"; echo "$entry_name"; }  # uid
people() { getent passwd | cut -d: -f1,3,6,7; }  # name:uid:home:shell of every account
mode_of() { stat -c %a "$@"; }  # [-L] file
owner_of() { stat -c %U "$@"; }
ids_of() { stat -c %u:%g "$@"; }
mode_and_owner() { stat -c '%a %U' "$@"; }
kind_and_ids() { stat -c '%f %u:%g' "$@"; }
real() { readlink -f "$1"; }
unwrapped() { base64 -w 0; }
sha256() { sha256sum | cut -d' ' -f1; }  # of its input
hold() { flock -n "$1"; }  # descriptor: fails while somebody else holds that file
share() { flock -s -n "$1"; }  # descriptor: with others who share it
wait_and_hold() { flock "$1"; }
flush() { sync -f "$1"; }
local_time() { date -d "@$1" '+%Y-%m-%d %H:%M:%S'; }  # seconds since 1970
newer_than() { [ -n "$2" ] && [ -n "$(find "$1" -newer "/proc/$2/cmdline" 2>/dev/null)" ]; }  # file pid
clear_places() { :; }  # that only labfab uses
boot() { cat /proc/sys/kernel/random/boot_id; }  # what tells one boot from another
