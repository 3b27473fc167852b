# Words for Linux: what Linux and macOS do with different tools, under one name.
#
# The root shell reads the words once (host/shell.py); every other script uses them. words.macos.sh
# defines the same names. A word prints its result unless its comment says what it sets.

LC_ALL=C.UTF-8; export LC_ALL
# The first uid of a person's account.
# shellcheck disable=SC2034  # facts.sh uses it
FIRST_UID=1000

# SECONDS BYTES ACCOUNT COMMAND...: runs it as the account, within limits (relay.pl). Sets
# account, limits.
run_within() {
  limits="$1 $2" account=$3; shift 3
  # shellcheck disable=SC2086  # two numbers
  relay $limits runuser -u "$account" -- "$@"
}
log_in() { relay 10 65536 runuser -l "$1" -c "$2"; }  # ACCOUNT SCRIPT: in its login shell
# ACCOUNT or UID: looks the account up. Sets entry_name, entry_uid, entry_home, entry_shell.
# No pipe: each program that is started costs milliseconds.
# shellcheck disable=SC2034  # facts.sh uses entry_uid
entry() {
  IFS=: read -r entry_name _ entry_uid _ _ entry_home entry_shell <<END
$(getent passwd "$1")
END
}
home_of() { entry "$1"; echo "$entry_home"; }
shell_of() { entry "$1"; echo "$entry_shell"; }
name_of() { entry "$1"; echo "$entry_name"; }  # UID
people() { getent passwd | cut -d: -f1,3,6,7; }  # name:uid:home:shell of every account

mode_of() { stat -c %a "$@"; }  # [-L] FILE, like the next four
owner_of() { stat -c %U "$@"; }
ids_of() { stat -c %u:%g "$@"; }
mode_and_owner() { stat -c '%a %U' "$@"; }
kind_and_ids() { stat -c '%f %u:%g' "$@"; }
real() { readlink -f "$1"; }
unwrapped() { base64 -w 0; }  # stdin as one line of base64
sha256() { sha256sum | cut -d' ' -f1; }  # of stdin

# Locks on an open file DESCRIPTOR. hold and share fail if somebody else holds the lock.
hold() { flock -n "$1"; }
share() { flock -s -n "$1"; }
wait_and_hold() { flock "$1"; }

flush() { sync -f "$1"; }  # FILE
local_time() { date -d "@$1" '+%Y-%m-%d %H:%M:%S'; }  # SECONDS since 1970
# FILE PID: succeeds if the file changed after the process started.
newer_than() {
  [ -n "$2" ] && [ -n "$(find "$1" -newer "/proc/$2/cmdline" 2>/dev/null)" ]
}
clear_places() { :; }  # removes parent folders that only labfab uses: none on Linux
boot() { cat /proc/sys/kernel/random/boot_id; }  # identifies this boot
