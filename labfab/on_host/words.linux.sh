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
read_account() {
  IFS=: read -r entry_name _ entry_uid _ _ entry_home entry_shell <<END
$(getent passwd "$1")
END
}
home_of() { read_account "$1"; echo "$entry_home"; }
shell_of() { read_account "$1"; echo "$entry_shell"; }
name_of() { read_account "$1"; echo "$entry_name"; }  # UID
people() { getent passwd | cut -d: -f1,3,6,7; }  # name:uid:home:shell of every account

mode_of() { stat -c %a "$@"; }  # [-L] FILE, like the next four
owner_of() { stat -c %U "$@"; }
ids_of() { stat -c %u:%g "$@"; }
mode_and_owner() { stat -c '%a %U' "$@"; }
kind_and_ids() { stat -c '%f %u:%g' "$@"; }
realpath_of() { readlink -f "$1"; }
unwrapped() { base64 -w 0; }  # stdin as one line of base64
sha256() { sha256sum | cut -d' ' -f1; }  # of stdin

# Locks on an open file DESCRIPTOR. hold and share fail if somebody else holds the lock.
hold() { flock -n "$1"; }
share() { flock -s -n "$1"; }
wait_and_hold() { flock "$1"; }

flush() { sync -f "$1"; }  # FILE
local_time() { date -d "@$1" '+%Y-%m-%d %H:%M:%S'; }  # SECONDS since 1970
# PID FILE...: succeeds if one of the files of LAB_USER changed after the process started. Sets began.
newer_than() {
  [ -n "$1" ] || return
  began=/proc/$1/cmdline; shift
  [ -n "$(as_account "$LAB_USER" find "$@" -maxdepth 0 -newer "$began" 2>/dev/null)" ]
}
clear_places() { :; }  # removes parent folders that only labfab uses: none on Linux
boot_id() { cat /proc/sys/kernel/random/boot_id; }  # identifies this boot

# What listens on TCP, one socket a line: address, port, uid, pid. Root's come last. The kernel says
# whose a socket is and who holds it; the names that ss(8) prints are chosen by programs. UDP has the
# same of sockets that are connected to nobody.
SOCKETS='' UDP=''
SELECT='
function number(hex,  value, i) {
  for (i = 1; i <= length(hex); i++)
    value = 16 * value + index("123456789ABCDEF", substr(hex, i, 1))
  return value + 0
}
function byte(at) { return substr(hex, at, 2) }
function address(  text, at) {  # of hex: groups of four bytes, each in the order of the processor
  if (length(hex) == 8)
    return number(byte(7)) "." number(byte(5)) "." number(byte(3)) "." number(byte(1))
  for (at = 1; at < 32; at += 8)
    text = text ":" byte(at + 6) byte(at + 4) ":" byte(at + 2) byte(at)
  return "[" substr(text, 2) "]"
}
$1 == "fd" {
  split($2, path, "/"); key = $3 " " $4
  if (!(key in pid) || path[3] + 0 < pid[key]) pid[key] = path[3] + 0
}
FNR == 1 { udp = FILENAME ~ /udp/ }
$4 == (udp ? "07" : "0A") && $2 ~ /:/ {
  split($2, place, ":"); hex = place[1]
  line = address() " " number(place[2]) " " $8 " " pid[$8 " socket:[" $10 "]"] "\n"
  if (udp) datagram = datagram line
  else if ($8 == 0) own = own line
  else others = others line
}
END { printf "%s%sudp\n%s.", others, own, datagram }'
sockets() {  # sets SOCKETS and UDP, once
  [ -z "$SOCKETS" ] || return 0
  # shellcheck disable=SC2046  # a list: without IPv6, some are missing
  SOCKETS=$(find /proc/[0-9]*/fd -lname 'socket:*' -printf 'fd %p %U %l\n' 2>/dev/null |
    awk "$SELECT" - $(for table in tcp tcp6 udp udp6; do
      [ ! -r "/proc/net/$table" ] || echo "/proc/net/$table"
    done))
  # shellcheck disable=SC2034  # facts.linux.sh reads it
  UDP=${SOCKETS#*udp
} UDP=${UDP%.}
  SOCKETS=${SOCKETS%%udp
*}
}
# PID UID: what the program calls itself, marked unless it is root's: an account may choose a name
# of the system's. Sets program.
name_program() {
  program=unknown
  [ -z "$1" ] || read -r program </proc/"$1"/comm
  [ "$2" = 0 ] || program="$program (uid $2)"
} 2>/dev/null
