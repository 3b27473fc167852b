# What macOS says otherwise than Linux, in words that the other scripts use. A shell learns them once (shell.py).

# Not the login's own, which sudo keeps here: other tools may come first there, and what others may write root must not run.
PATH=/usr/bin:/bin:/usr/sbin:/sbin LC_ALL=en_US.UTF-8; export PATH LC_ALL  # it has no C.UTF-8
FIRST_UID=501  # of a person's account
become() { exec sudo -n -H -u "$1" -- sh -c "$2"; }  # account script
run_as() { account=$1; shift; sudo -n -H -u "$account" -- "$@"; }  # account command...
log_in() { su -l "$1" -c "$2"; }  # account script: by its login shell
entry() {  # account or uid
  IFS=: read -r entry_name _ entry_uid _ _ _ _ _ entry_home entry_shell <<END
$(id -P "$1" 2>/dev/null)
END
}
home_of() { entry "$1"; echo "$entry_home"; }
shell_of() { entry "$1"; echo "$entry_shell"; }
name_of() { entry "$1"; echo "$entry_name"; }  # uid
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
real() { perl -MCwd=abs_path -e 'print abs_path($ARGV[0]) // exit 1, "\n"' "$1"; }  # readlink has -f from 12.3 on, and wants the file there
unwrapped() { base64 | tr -d '\n'; }
sha256() { shasum -a 256 | cut -d' ' -f1; }  # of its input
# There is no flock(1). The lock belongs to the open file, so it stays when perl has ended.
hold() { perl -e 'open my $f, ">>&=", $ARGV[0] or exit 2; exit !flock $f, 6' "$1"; }  # descriptor: fails while somebody else holds that file
share() { perl -e 'open my $f, ">>&=", $ARGV[0] or exit 2; exit !flock $f, 5' "$1"; }  # descriptor: with others who share it
wait_and_hold() { perl -e 'open my $f, "<&=", $ARGV[0] or exit 2; exit !flock $f, 2' "$1"; }
flush() { sync; }
local_time() { date -r "$1" '+%Y-%m-%d %H:%M:%S'; }  # seconds since 1970
newer_than() {  # file pid
  began=$(LC_ALL=C ps -o lstart= -p "${2:-0}" 2>/dev/null) && [ -n "$began" ] &&
    [ "$(stat -f %m "$1" 2>/dev/null || echo 0)" -gt "$(LC_ALL=C date -j -f '%a %b %d %H:%M:%S %Y' "$(echo $began)" +%s)" ]
}
boot() { sysctl -n kern.bootsessionuuid; }  # what tells one boot from another

# Jobs of launchd. An override outlives its file, so `enable` is called only where somebody has switched the job off; what was
# booted out takes its time to end, and until then `bootstrap` fails with 5.
loaded() { launchctl print "system/$1" >/dev/null 2>&1; }  # label
load_daemon() {  # label plist [seconds]: as the file says now
  if launchctl print-disabled system | grep -qE "\"$1\" => (disabled|true)"; then launchctl enable "system/$1"; fi
  ! loaded "$1" || unload_daemon "$1" || return
  for _ in $(seq $(( ${3:-5} * 2 ))); do
    said=$(launchctl bootstrap system "$2" 2>&1) && return
    sleep 0.5
  done
  echo "$said" >&2
  return 1
}
unload_daemon() {  # label
  for _ in $(seq 60); do
    loaded "$1" || return 0
    said=$(launchctl bootout "system/$1" 2>&1)
    loaded "$1" || return 0
    sleep 0.5
  done
  echo "$said" >&2
  return 1
}

OWN_SSHD=org.labfab.sshd
OWN_PLIST=/Library/LaunchDaemons/$OWN_SSHD.plist
REMOTE_LOGIN=com.openssh.sshd
REMOTE_PLIST=/System/Library/LaunchDaemons/ssh.plist

# Remote Login's list: only the members of this group may log in; where it has the other name, or is not there, all may.
ACCESS=com.apple.access_ssh
values() {  # record key: one a line, which dscl gives on one line, or below each other where one has a blank
  dscl . -read "$1" "$2" 2>/dev/null | awk -v key="$2:" '{ sub(/^dsAttrTypeNative:/, "") } $1 == key { on = 1; $1 = "" }
    on { count = split($0, words, " "); for (i = 1; i <= count; i++) print words[i] }'
}
access_group() { for group in $ACCESS $ACCESS-disabled; do [ -z "$(values "/Groups/$group" RecordName)" ] || { echo $group; break; }; done; }
access_state() { case $(access_group) in $ACCESS) echo on ;; ?*) echo off ;; *) echo none ;; esac; }
access_members() {  # user:NAME or group:NAME a line
  group=$(access_group)
  [ -n "$group" ] || return 0
  values "/Groups/$group" GroupMembership | sed 's/^/user:/'
  values "/Groups/$group" NestedGroups | while read -r id; do
    dscl . -search /Groups GeneratedUID "$id" | awk 'NR == 1 { print "group:" $1 }'
  done
}
set_access() {  # on, off or none, and the members; the list is never in force before they are on it
  wanted=$1; shift
  group=$(access_group)
  if [ "$wanted" = none ]; then [ -z "$group" ] || dseditgroup -o delete -q "$group"; return; fi
  if [ -z "$group" ]; then group=$ACCESS-disabled && dseditgroup -o create -q "$group" || return; fi
  have=$(access_members | tr '\n' ' ')
  for member in "$@"; do
    case " $have" in *" $member "*) ;; *) dseditgroup -o edit -a "${member#*:}" -t "${member%%:*}" "$group" || return ;; esac
  done
  for member in $have; do
    case " $* " in *" $member "*) continue ;; esac
    # Of an account that was deleted meanwhile only the name is left.
    dseditgroup -o edit -d "${member#*:}" -t "${member%%:*}" "$group" || strike_dead "$group" "${member#*:}" || return
  done
  name=$ACCESS; [ "$wanted" = on ] || name=$ACCESS-disabled
  [ "$group" = "$name" ] || dscl . -change "/Groups/$group" RecordName "$group" "$name" || return
  dscacheutil -flushcache  # the next login may come before it is noticed
}
strike_dead() {  # group name: and the numbers that nobody has
  dscl . -delete "/Groups/$1" GroupMembership "$2" || return
  for id in $(values "/Groups/$1" GroupMembers); do
    if found=$(dscl /Search -search /Users GeneratedUID "$id") && [ -z "$found" ]; then dscl . -delete "/Groups/$1" GroupMembers "$id"; fi
  done
}
clear_places() { rmdir /private/var/lib /private/var/cache /private/var/backups 2>/dev/null || true; }  # a Mac has none by itself
