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

GUARD=${GUARD:-/var/lib/labfab/guard}
REVERTED=${GUARD%/*}/reverted
JOURNAL=${GUARD%/*}/journal.jsonl
KEPT=3  # exit code of a revert that comes after the change was confirmed

arm() {  # ID
  set -e
  # On a full or read-only disk, half a window would look like a run that died.
  trap '[ $? -eq 0 ] || { stand_down || true; rm -rf "$GUARD"; }' EXIT
  # Reserves space for what a revert writes, in case the disk fills up meanwhile.
  head -c 524288 /dev/zero >"$GUARD/ballast"
  mkdir "$GUARD/before"
  # A home or a ~/.ssh may be a link. Save and restore where it led when the window opened.
  for path in $PATHS; do
    printf '%s/%s\n' "$(real "${path%/*}")" "${path##*/}"
  done >"$GUARD/paths"
  while read -r path; do
    [ -e "$path" ] || [ -L "$path" ] || continue
    mkdir -p "$GUARD/before${path%/*}"
    cp -a "$path" "$GUARD/before$path"
  done <"$GUARD/paths"
  for folder in $FOLDERS; do
    [ -d "$folder" ] || continue
    printf '%s %s %s\n' "$(mode_of -L "$folder")" "$(ids_of -L "$folder")" "$(real "$folder")"
  done >>"$GUARD/modes"
  save_state  # what is in no file
  printf '%s\n' "$RUN_SSHD" >"$GUARD/run-sshd"
  printf '%s\n%s\n%s\n' "$(( $(date +%s) + SECONDS_LEFT ))" "$WHY" "$1" >"$GUARD/armed"
  flush "$GUARD/armed"
  start_clock "$1"
}

disarm() {  # ID
  lock
  { is_window "$1" && mv "$GUARD/armed" "$GUARD/disarmed"; } 2>/dev/null ||
    { echo "the revert has begun already" >&2; exit 1; }
  # From here on a power cut must neither revert what was confirmed nor lose it.
  sync_paths
  flush "$GUARD"
  stop_waiting_revert
  stand_down
  rm -rf "$GUARD"
}

sync_paths() { while read -r path; do [ ! -e "$path" ] || flush "$path"; done <"$GUARD/paths"; }

lock() { command exec 8<"$GUARD" && wait_and_hold 8; } 2>/dev/null

# [ID]: succeeds if the window that is open has this id; without an id, always.
is_window() { [ -z "$1" ] || grep -qsx "$1" "$GUARD/armed" "$GUARD/reverting"; }

# [ID]: exits when there is nothing left to do, with the code that says whether this window was
# reverted.
exit_with_outcome() {
  [ -z "$1" ] || [ "$(sed -n 4p "$REVERTED" 2>/dev/null)" = "$1" ] || exit $KEPT
  exit 0
}

# PATH: restores it, or removes it if it did not exist. Fails if it cannot. Sets failed.
put_back() {
  [ "$(real "${1%/*}")" = "${1%/*}" ] || return 1  # somebody has put a link in the way
  # Remove what is new first: that frees space.
  failed=$(find "$1" -depth 2>/dev/null | while IFS= read -r now; do
    [ -e "$GUARD/before$now" ] || [ -L "$GUARD/before$now" ] || rm -rf "$now" || echo "$now"
  done)
  failed=$failed$(find "$GUARD/before$1" 2>/dev/null | while IFS= read -r was; do
    put_one "$was" "${was#"$GUARD/before"}" || echo "$was"
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
    rm -f "$new" && cp -a "$1" "$new" && take_name "$new" "$2" && return
    rm -f "$new" "$2"  # no space for two copies
    cp -a "$1" "$2"
    return
  fi
  chown "$(ids_of "$1")" "$2" && chmod "$(mode_of "$1")" "$2"
}

same() {  # COPY ORIGINAL: compares kind, mode, owner and content
  [ "$(kind_and_ids "$1")" = "$(kind_and_ids "$2" 2>/dev/null)" ] || return
  if [ -L "$1" ]; then [ "$(readlink "$1")" = "$(readlink "$2")" ]
  elif [ ! -d "$1" ]; then cmp -s "$1" "$2"
  fi
}

# CAUSE [ID]: restores everything; with an id, only if that window is open. Sets broken.
revert() {
  [ -d "$GUARD" ] || exit_with_outcome "$2"
  lock
  is_window "$2" || exit_with_outcome "$2"
  # A revert that was cut off by a power cut or a full disk starts again.
  mv "$GUARD/armed" "$GUARD/reverting" 2>/dev/null || [ -e "$GUARD/reverting" ] ||
    { clear_up; exit_with_outcome "$2"; }
  rm -f "$GUARD/ballast"
  broken=
  restore_state
  restore_modes
  # Only what could not be restored is tried again: the rest may have changed since, rightly.
  while read -r path; do
    put_back "$path" || { broken=yes; echo "$path"; }
  done <"$GUARD/paths" >"$GUARD/left"
  sync_paths
  mv "$GUARD/left" "$GUARD/paths"
  prepare_sshd
  sh "$GUARD/run-sshd" >/dev/null 2>&1
  if [ -n "$broken" ] && [ "$1" != boot ]; then
    echo "not everything could be put back, it is tried again at the next boot" >&2
    exit 1
  fi
  # Leave the copies for a person to look at.
  [ -z "$broken" ] || { rm -rf "$GUARD.left" && cp -a "$GUARD" "$GUARD.left"; }
  mark_undone
  printf '%s\n%s\n%s\n' "$(date +%s)" "$1" "$(sed -n 2,3p "$GUARD/reverting")" >"$REVERTED"
  flush /etc
  clear_up
}

restore_modes() {  # of FOLDERS. Sets broken on failure.
  [ -e "$GUARD/modes" ] || return 0
  while read -r mode owner folder; do
    [ ! -L "$folder" ] && mkdir -p "$folder" && chown -h "$owner" "$folder" &&
      chmod "$mode" "$folder" || broken=yes
  done <"$GUARD/modes"
}

# Marks the changes of this window as undone in the journal; other changes of that time stay.
# Sets window, numbers.
mark_undone() {
  window=$(sed -n 3p "$GUARD/reverting")
  numbers=$(grep -F "\"window\": \"$window\"" "$JOURNAL" 2>/dev/null |
    sed -nE 's/.*"number": "([^"]+)".*/\1/p')
  for number in $numbers; do
    printf '{"undone": "%s", "time": %s}\n' "$number" "$(date +%s)" >>"$JOURNAL"
  done
}

clear_up() { stand_down; rm -rf "$GUARD"; }

case $1 in arm | disarm | revert | watch) "$@" ;; esac
