# Words for macOS: what macOS and Linux do with different tools, under one name.
#
# The root shell reads the words once (host/shell.py); every other script uses them. words.linux.sh
# defines the same names. A word prints its result unless its comment says what it sets.

# sudo keeps the login's PATH here. Root must not run tools from folders that others can write to.
# There is no C.UTF-8.
PATH=/usr/bin:/bin:/usr/sbin:/sbin LC_ALL=en_US.UTF-8; export PATH LC_ALL
# The first uid of a person's account.
# shellcheck disable=SC2034  # facts.sh uses it
FIRST_UID=501

# SECONDS BYTES ACCOUNT COMMAND...: runs it as the account, within limits (relay.pl). Sets
# account, limits.
run_within() {
  limits="$1 $2" account=$3; shift 3
  # shellcheck disable=SC2086  # two numbers
  relay $limits sudo -n -H -u "$account" -- "$@"
}
log_in() { relay 10 65536 su -l "$1" -c "$2"; }  # ACCOUNT SCRIPT: in its login shell
# ACCOUNT or UID: looks the account up. Sets entry_name, entry_uid, entry_home, entry_shell.
# shellcheck disable=SC2034  # facts.sh uses entry_uid
read_account() {
  IFS=: read -r entry_name _ entry_uid _ _ _ _ _ entry_home entry_shell <<END
$(id -P "$1" 2>/dev/null)
END
}
home_of() { read_account "$1"; echo "$entry_home"; }
shell_of() { read_account "$1"; echo "$entry_shell"; }
name_of() { read_account "$1"; echo "$entry_name"; }  # UID
people() {  # name:uid:home:shell of root and of every person's account
  { echo root; dscl . -list /Users UniqueID | awk '$2 >= 501 { print $1 }'; } |
    while read -r name; do
      id -P "$name" 2>/dev/null | awk -F: '{ print $1 ":" $3 ":" $9 ":" $10 }'
    done
}

mode_of() { stat -f %Lp "$@"; }  # [-L] FILE, like the next four
owner_of() { stat -f %Su "$@"; }
ids_of() { stat -f %u:%g "$@"; }
mode_and_owner() { stat -f '%Lp %Su' "$@"; }
kind_and_ids() { stat -f '%p %u:%g' "$@"; }
# readlink knows -f from macOS 12.3 on, and fails for a file that does not exist.
realpath_of() { perl -MCwd=abs_path -e 'print abs_path($ARGV[0]) // exit 1, "\n"' "$1"; }
unwrapped() { base64 | tr -d '\n'; }  # stdin as one line of base64
sha256() { shasum -a 256 | cut -d' ' -f1; }  # of stdin

# Locks on an open file DESCRIPTOR. hold and share fail if somebody else holds the lock.
# There is no flock(1). The lock belongs to the open file, so it outlives perl.
hold() { perl -e 'open my $f, ">>&=", $ARGV[0] or exit 2; exit !flock $f, 6' "$1"; }
share() { perl -e 'open my $f, ">>&=", $ARGV[0] or exit 2; exit !flock $f, 5' "$1"; }
wait_and_hold() { perl -e 'open my $f, "<&=", $ARGV[0] or exit 2; exit !flock $f, 2' "$1"; }

flush() { sync; }
local_time() { date -r "$1" '+%Y-%m-%d %H:%M:%S'; }  # SECONDS since 1970
# PID FILE...: succeeds if one of the files of LAB_USER changed after the process started. Sets began.
newer_than() {
  began=$(LC_ALL=C ps -o lstart= -p "${1:-0}" 2>/dev/null) && [ -n "$began" ] || return
  # shellcheck disable=SC2086,SC2116  # echo squeezes the blanks that ps pads with
  began=$(LC_ALL=C date -j -f '%a %b %d %H:%M:%S %Y' "$(echo $began)" +%s)
  shift
  as_account "$LAB_USER" stat -f %m "$@" 2>/dev/null |
    awk -v began="$began" '$1 > began { newer = 1 } END { exit !newer }'
}
# Removes parent folders that only labfab uses: a Mac does not have them by default.
clear_places() {
  rmdir /private/var/lib /private/var/cache /private/var/backups 2>/dev/null || true
}
boot_id() { sysctl -n kern.bootsessionuuid; }  # identifies this boot

# Jobs of launchd. An override outlives its plist, so `enable` is called only if somebody disabled
# the job. A job takes time to end after bootout; until then `bootstrap` fails with 5.
loaded() { launchctl print "system/$1" >/dev/null 2>&1; }  # LABEL
# LABEL PLIST [SECONDS]: loads the job as the plist is now. Sets said.
load_daemon() {
  if launchctl print-disabled system | grep -qE "\"$1\" => (disabled|true)"; then
    launchctl enable "system/$1"
  fi
  ! loaded "$1" || unload_daemon "$1" || return
  for _ in $(seq $(( ${3:-5} * 2 ))); do
    said=$(launchctl bootstrap system "$2" 2>&1) && return
    sleep 0.5
  done
  echo "$said" >&2
  return 1
}
# LABEL: ends the job and waits until it is gone. Sets said.
unload_daemon() {
  for _ in $(seq 60); do
    loaded "$1" || return 0
    said=$(launchctl bootout "system/$1" 2>&1)
    loaded "$1" || return 0
    sleep 0.5
  done
  echo "$said" >&2
  return 1
}

# shellcheck disable=SC2034  # the names of the two jobs of sshd are for other scripts
{
  OWN_SSHD=org.labfab.sshd
  OWN_PLIST=/Library/LaunchDaemons/$OWN_SSHD.plist
  REMOTE_LOGIN=com.openssh.sshd
  REMOTE_PLIST=/System/Library/LaunchDaemons/ssh.plist
}

# The list of Remote Login: only members of this group may log in. If the group has the other name,
# or does not exist, everybody may.
ACCESS=com.apple.access_ssh
# RECORD KEY: the values, one per line. dscl prints them on one line, or on one line each if a value
# contains a blank.
values() {
  dscl . -read "$1" "$2" 2>/dev/null | awk -v key="$2:" '
    { sub(/^dsAttrTypeNative:/, "") }
    $1 == key { on = 1; $1 = "" }
    on { count = split($0, words, " "); for (i = 1; i <= count; i++) print words[i] }'
}
access_group() {  # the name that the group has now
  for group in "$ACCESS" "$ACCESS-disabled"; do
    [ -z "$(values "/Groups/$group" RecordName)" ] || { echo "$group"; break; }
  done
}
access_state() {
  case $(access_group) in "$ACCESS") echo on ;; ?*) echo off ;; *) echo none ;; esac
}
access_members() {  # user:NAME or group:NAME, one per line. Sets group.
  group=$(access_group)
  [ -n "$group" ] || return 0
  values "/Groups/$group" GroupMembership | sed 's/^/user:/'
  values "/Groups/$group" NestedGroups | while read -r id; do
    dscl . -search /Groups GeneratedUID "$id" | awk 'NR == 1 { print "group:" $1 }'
  done
}
# on|off|none MEMBER...: the list takes effect only once all members are on it.
# Sets wanted, group, have, name.
set_access() {
  wanted=$1; shift
  group=$(access_group)
  if [ "$wanted" = none ]; then [ -z "$group" ] || dseditgroup -o delete -q "$group"; return; fi
  if [ -z "$group" ]; then
    group=$ACCESS-disabled && dseditgroup -o create -q "$group" || return
  fi
  have=$(access_members | tr '\n' ' ')
  for member in "$@"; do
    case " $have" in
      *" $member "*) ;;
      *) dseditgroup -o edit -a "${member#*:}" -t "${member%%:*}" "$group" || return ;;
    esac
  done
  for member in $have; do
    case " $* " in *" $member "*) continue ;; esac
    # If the account was deleted meanwhile, only its name is left.
    dseditgroup -o edit -d "${member#*:}" -t "${member%%:*}" "$group" ||
      remove_stale_member "$group" "${member#*:}" || return
  done
  name=$ACCESS; [ "$wanted" = on ] || name=$ACCESS-disabled
  [ "$group" = "$name" ] || dscl . -change "/Groups/$group" RecordName "$group" "$name" || return
  dscacheutil -flushcache  # otherwise the next login may not see the change yet
}
# GROUP NAME: removes the name, and the UUIDs that belong to no account. Sets found.
remove_stale_member() {
  dscl . -delete "/Groups/$1" GroupMembership "$2" || return
  for id in $(values "/Groups/$1" GroupMembers); do
    if found=$(dscl /Search -search /Users GeneratedUID "$id") && [ -z "$found" ]; then
      dscl . -delete "/Groups/$1" GroupMembers "$id"
    fi
  done
}
