# The host's half of a guarded change: arm, disarm, revert (run/guard.py has the other half).
#
# While a change is not confirmed, this script lies in $GUARD, after the words and guard.linux.sh
# or guard.macos.sh. A revert restores the files byte for byte and reloads sshd and ufw. It runs at
# the deadline, at the next boot, or when labfab requests it. Whoever moves the file `armed` away
# first wins, under one lock, so a revert and a disarm never run together. Each window has an id, so
# a late revert leaves the next window alone.
#
# arm ID needs these variables: PATHS (files and folders) and FOLDERS (only mode and owner are
# restored), both without blanks; ACCOUNTS (their password and sudo are restored, on Linux);
# RUN_SSHD (the command that makes sshd listen as its files say); SECONDS_LEFT; WHY. $GUARD/armed has
# the deadline, WHY and the ID, one a line; $GUARD/before/ has the copies.
#
# What lies below a home is read and restored as its account, within limits (words.sh), and after
# sshd is as before: nothing that an account puts there may keep others out. What cannot be restored
# there is told, and tried no further.

GUARD=${GUARD:-/var/lib/labfab/guard}
REVERTED=${GUARD%/*}/reverted
JOURNAL=${GUARD%/*}/journal.jsonl
CONFIRMED=3  # exit code of a revert that comes after the change was confirmed

arm() {  # ID
  set -e
  # On a full or read-only disk, half a window would look like a run that died.
  trap '[ $? -eq 0 ] || { remove_timer || true; rm -rf "$GUARD"; }' EXIT
  # Reserves space for what a revert writes, in case the disk fills up meanwhile.
  head -c 524288 /dev/zero >"$GUARD/ballast"
  mkdir "$GUARD/before"
  : >"$GUARD/paths"; : >"$GUARD/theirs"
  : >"$GUARD/modes"; : >"$GUARD/modes-theirs"
  for path in $PATHS; do keep_path "$path" || exit; done
  for folder in $FOLDERS; do note_mode "$folder" || exit; done
  save_state  # what is in no file
  printf '%s\n' "$RUN_SSHD" >"$GUARD/run-sshd"
  printf '%s\n%s\n%s\n' "$(( $(date +%s) + SECONDS_LEFT ))" "$WHY" "$1" >"$GUARD/armed"
  flush "$GUARD/armed"
  start_clock "$1"
}

# PATH: keeps what is there, and its name without the links that root made on its way: in `paths`
# what is root's, in `theirs` what is an account's. Sets list.
keep_path() {
  locate "$1" || return 0
  list=theirs
  case $keeper in
    root)
      list=paths
      if [ -e "$place" ] || [ -L "$place" ]; then
        mkdir -p "$GUARD/before${place%/*}" && keep_tree "$place" || return
      fi
      ;;
    *)
      mkdir -p "$GUARD/before${place%/*}" && set -- "$place" "$GUARD/before$place" &&
        keep_theirs "$1" "$2" anything || return
      rm -f "$2.content"
      # Neither a file nor a link to one: labfab writes nothing there.
      if [ -d "$2" ] || [ -e "$2.unread" ]; then rm -rf "$2" "$2.unread"; return; fi
      ;;
  esac
  printf '%s\n' "$place" >>"$GUARD/$list"
}
# FOLDER: notes its mode and owner, in `modes` or `modes-theirs`. A home may be a link that root made.
# Its name is root's, but it may be a file system of the account's, which does not answer.
# Sets list.
note_mode() {
  locate "$1" follow || return 0
  list=modes-theirs
  if [ "$keeper" = root ]; then
    list=modes
    read -r kind mode ids <<END
$(relay 5 4096 sh -c "$LOOK" sh "$place" follow </dev/null 2>/dev/null)
END
  else look "$place" "$GUARD/look" follow || return; fi
  [ "$kind" = folder ] || return 0
  printf '%s %s %s\n' "$mode" "${ids:-0:0}" "$place" >>"$GUARD/$list"
}
theirs_in() {  # PATH: folders there in which an account can write. Root does not work in them.
  find "$1" -type d \( ! -user "$(id -u)" -o -perm -020 -o -perm -002 \) -print 2>/dev/null
}
ours_in() {  # PATH: everything else there, and the names of those folders
  find "$1" -print -type d \( ! -user "$(id -u)" -o -perm -020 -o -perm -002 \) -prune 2>/dev/null
}
keep_tree() {  # PATH
  if [ -z "$(theirs_in "$1")" ]; then cp -a "$1" "$GUARD/before$1"; return; fi
  ours_in "$1" | while IFS= read -r now; do put_one "$now" "$GUARD/before$now" || exit; done
}

disarm() {  # ID
  lock
  { window_matches "$1" && mv "$GUARD/armed" "$GUARD/disarmed"; } 2>/dev/null ||
    { echo "the revert has begun already" >&2; exit 1; }
  # From here on a power cut must neither revert what was confirmed nor lose it.
  sync_paths paths; sync_paths theirs
  flush "$GUARD"
  stop_waiting_revert
  remove_timer
  rm -rf "$GUARD"
}

sync_paths() { while read -r path; do sync_path "$path"; done <"$GUARD/$1"; }  # LIST
sync_path() {  # PATH
  locate "$1" || return 0
  if [ "$keeper" = root ]; then [ ! -e "$1" ] || flush "$1"
  else
    briefly sh -c '[ ! -d "$1" ] || sync -f "$1" || sync' sh "${1%/*}" </dev/null >/dev/null 2>&1
  fi
}
# COMMAND...: runs it as the keeper. A revert has to end before labfab gives up on it.
briefly() { as_within 5 8388608 "$keeper" "$@"; }

lock() { command exec 8<"$GUARD" && wait_and_hold 8; } 2>/dev/null

# [ID]: succeeds if the window that is open has this id; without an id, always.
window_matches() { [ -z "$1" ] || grep -qsx "$1" "$GUARD/armed" "$GUARD/reverting"; }

# [ID]: exits when there is nothing left to do, with the code that says whether this window was
# reverted.
exit_with_outcome() {
  [ -z "$1" ] || [ "$(sed -n 4p "$REVERTED" 2>/dev/null)" = "$1" ] || exit $CONFIRMED
  exit 0
}

# PATH of root's: restores it, or removes it if it did not exist. Fails if it cannot. Sets failed,
# theirs.
restore_path() {
  # Remove what is new first: that frees space.
  failed=$(ours_in "$1" | while IFS= read -r now; do
    [ -e "$GUARD/before$now" ] || [ -L "$GUARD/before$now" ] || rm -rf "$now" || echo "$now"
  done)
  theirs=$(theirs_in "$1")
  failed=$failed$(find "$GUARD/before$1" 2>/dev/null | while IFS= read -r was; do
    now=${was#"$GUARD/before"}
    [ -z "$theirs" ] || { locate "$now"; [ "$keeper" = root ]; } || continue
    put_one "$was" "$now" || echo "$was"
  done)
  [ -z "$failed" ]
}

# COPY ORIGINAL: writes only if they differ, so that a full disk or a mount in between does no harm.
# Sets new.
put_one() {
  same "$1" "$2" && return
  if [ -d "$1" ] && [ ! -L "$1" ]; then
    [ -d "$2" ] && [ ! -L "$2" ] || { rm -rf "$2" && mkdir -p "$2"; } || return
  elif [ -L "$1" ] || [ -L "$2" ] || ! cmp -s "$1" "$2"; then
    [ ! -d "$2" ] || [ -L "$2" ] || rm -rf "$2"
    new=$(new_name "$2")
    rm -f "$new" && cp -a "$1" "$new" && rename_over "$new" "$2" && return
    rm -f "$new" "$2"  # no space for two copies
    cp -a "$1" "$2"
    return
  fi
  chown "$(ids_of "$1")" "$2" && chmod "$(mode_of "$1")" "$2"
}

same() {  # COPY ORIGINAL: compares kind, mode, owner and content
  [ "$(kind_and_ids "$1")" = "$(kind_and_ids "$2" 2>/dev/null)" ] || return
  if [ -L "$1" ]; then [ "$(readlink "$1")" = "$(readlink "$2")" ]
  elif [ -f "$1" ]; then cmp -s "$1" "$2"
  fi
}

# What an account runs, with PATH MODE GROUP: succeeds if the file there has the content that is on
# its input.
# shellcheck disable=SC2016  # the account's shell expands it
SAME='[ ! -L "$1" ] && [ -f "$1" ] && cmp -s - "$1" || exit
  chgrp "$3" "$1" 2>/dev/null; chmod "$2" "$1"'
# PATH of an account's: restores it, or removes it if it did not exist. Fails if it cannot.
# Sets keeper, place, found.
put_back_theirs() {
  locate "$1" && [ "$keeper" != root ] || return
  set -- "$1" "$GUARD/before$1"
  if [ -L "$2" ]; then briefly sh -c "$LINK" sh "$1" "$(readlink "$2")" </dev/null
  elif [ -f "$2" ]; then
    may_become_theirs "$2" && write_back "$1" "$2" "$(mode_of "$2")" "$(group_of "$2")"
  elif [ ! -e "$2" ]; then briefly rm -f "$1" </dev/null; fi && { sync_path "$1" || :; }
} 2>/dev/null
write_back() {  # PATH COPY MODE GROUP
  briefly sh -c "$SAME" sh "$1" "$3" "$4" <"$2" && return
  [ $? != 124 ] || return  # it takes too long: so would the rest
  briefly sh -c "$WRITE" sh "$1" "$3" "$4" <"$2" && return
  [ $? != 124 ] || return
  briefly rm -f "$1.labfab-new" "$1" </dev/null  # no space for two copies
  briefly sh -c "$WRITE" sh "$1" "$3" "$4" <"$2" && return
  briefly rm -f "$1.labfab-new" </dev/null
  return 1
}

# Runs what makes sshd listen. If that fails, its last words are kept, for labfab too. Sets said,
# words.
start_sshd() {
  words='' said=$GUARD/said
  { true >"$said"; } 2>/dev/null || said=/dev/null  # a disk that takes nothing must not keep sshd down
  # shellcheck source=/dev/null
  (. "$GUARD/run-sshd") </dev/null >"$said" 2>&1 && return
  words=$(tail -n 1 "$said" 2>/dev/null)
  words=${words:-it ended with an error}
  printf 'labfab-sshd: %s\n' "$words"
}

# CAUSE [ID]: restores everything; with an id, only if that window is open. Sets broken.
revert() {
  [ -d "$GUARD" ] || exit_with_outcome "$2"
  lock
  window_matches "$2" || exit_with_outcome "$2"
  # A revert that was cut off by a power cut or a full disk starts again.
  mv "$GUARD/armed" "$GUARD/reverting" 2>/dev/null || [ -e "$GUARD/reverting" ] ||
    { clear_up; exit_with_outcome "$2"; }
  rm -f "$GUARD/ballast"
  broken=
  restore_state
  true >"$GUARD/lost"
  restore_modes ours  # what is in them is restored next
  # Only what could not be restored is tried again: the rest may have changed since, rightly.
  while read -r path; do
    locate "$path"
    # Where it is another's by now, or elsewhere, somebody put something in the way.
    if [ "$keeper:$place" != "root:$path" ] || ! restore_path "$path"; then
      broken=yes
      printf '%s\n' "$path"
    fi
  done <"$GUARD/paths" >"$GUARD/left"
  sync_paths paths
  mv "$GUARD/left" "$GUARD/paths"
  reload_state
  start_sshd
  restore_modes homes
  restore_theirs
  if [ -n "$broken" ] && [ "$1" != boot ]; then
    echo "not everything could be put back, it is tried again at the next boot" >&2
    exit 1
  fi
  # Leave the copies for a person to look at.
  if [ -n "$broken" ] || [ -s "$GUARD/lost" ]; then
    rm -rf "$GUARD.left" && cp -a "$GUARD" "$GUARD.left"
  fi
  mark_undone
  printf '%s\n%s\n%s\n' "$(date +%s)" "$1" "$(sed -n 2,3p "$GUARD/reverting")" >"$REVERTED"
  cat "$GUARD/lost" >>"$REVERTED"
  [ -z "$words" ] || printf 'sshd: %s\n' "$words" >>"$REVERTED"
  flush /etc
  clear_up
}

# ours|homes: restores mode and owner of those of root's FOLDERS that root owned, or an account. What
# an account has by now, it restores later. Sets broken on failure, unless it is an account's home that fails.
restore_modes() {
  while read -r mode ids folder; do
    case $1:$ids in ours:0:* | homes:[1-9]*) ;; *) continue ;; esac
    locate "$folder"
    if [ "$keeper" != root ]; then
      printf '%s %s %s\n' "$mode" "$ids" "$folder" >>"$GUARD/modes-theirs"
    elif [ "$place" != "$folder" ] || ! restore_mode "$folder"; then
      case $ids in 0:*) broken=yes ;; *) printf '%s\n' "$folder" >>"$GUARD/lost" ;; esac
    fi
  done <"$GUARD/modes"
}
# shellcheck disable=SC2016  # the inner shell expands it
restore_mode() {  # FOLDER of root's; reads mode, ids
  relay 5 65536 sh -c '
    [ ! -L "$1" ] && { [ -d "$1" ] || mkdir "$1"; } && chown -h "$2" "$1" && chmod "$3" "$1"' \
    sh "$1" "$ids" "$mode" </dev/null
}

# Restores what belongs to accounts. What that fails for is named in $GUARD/lost, and for labfab.
restore_theirs() {
  while read -r mode _ folder; do
    # shellcheck disable=SC2016  # the account's shell expands it
    locate "$folder" && [ "$keeper" != root ] &&
      briefly sh -c '[ -e "$1" ] || mkdir "$1"; [ -d "$1" ] && chmod "$2" "$1"' \
        sh "$folder" "$mode" </dev/null 2>/dev/null || printf '%s\n' "$folder" >>"$GUARD/lost"
  done <"$GUARD/modes-theirs"
  while read -r path; do
    put_back_theirs "$path" || printf '%s\n' "$path" >>"$GUARD/lost"
  done <"$GUARD/theirs"
  sed 's/^/labfab-lost: /' "$GUARD/lost"
}

# Marks the changes of this window as undone in the journal; other changes of that time stay.
# Sets window, numbers.
mark_undone() {
  window=$(sed -n 3p "$GUARD/reverting")
  numbers=$(grep -F "\"window\": \"$window\"" "$JOURNAL" 2>/dev/null |
    sed -nE 's/.*"number": "([^"]+)".*/\1/p')
  [ -z "$numbers" ] || end_torn_line "$JOURNAL"
  for number in $numbers; do
    printf '{"undone": "%s", "time": %s}\n' "$number" "$(date +%s)" >>"$JOURNAL"
  done
}

clear_up() { remove_timer; rm -rf "$GUARD"; }

case $1 in arm | disarm | revert | watch) "$@" ;; esac
