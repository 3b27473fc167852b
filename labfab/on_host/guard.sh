# The host's half of a guarded change: arm, disarm, revert. Lies in $GUARD while a change is not confirmed, after the words
# and guard.linux.sh or guard.macos.sh.
#
# A revert puts the files below back byte for byte and makes sshd and ufw read them. It runs at the deadline, at the
# next boot, or when labfab asks for it; whoever moves `armed` away first wins, under one lock, so a revert and a
# disarm never meet. Each window has an id, so that what is late from one window leaves the next one alone.
# arm ID wants: PATHS (files and folders) and FOLDERS (whose mode and owner count) without spaces, RUN_SSHD (a command
# that makes sshd listen as its files say), SECONDS_LEFT and WHY.

GUARD=${GUARD:-/var/lib/labfab/guard}
REVERTED=${GUARD%/*}/reverted
JOURNAL=${GUARD%/*}/journal.jsonl
KEPT=3 # exit code of a revert that comes after the change was confirmed

arm() {  # id
  set -e
  # A way back that is half-made, on a full or read-only disk, would look like a run that died.
  trap '[ $? -eq 0 ] || { stand_down || true; rm -rf "$GUARD"; }' EXIT
  # Room for what a revert writes, should the disk fill up meanwhile.
  head -c 524288 /dev/zero >"$GUARD/ballast"
  mkdir "$GUARD/before"
  # A home or a ~/.ssh may be a link: what counts, and is put back, is where it led when the window opened.
  for path in $PATHS; do printf '%s/%s\n' "$(real "${path%/*}")" "${path##*/}"; done >"$GUARD/paths"
  for path in $(cat "$GUARD/paths"); do
    [ -e "$path" ] || [ -L "$path" ] || continue
    mkdir -p "$GUARD/before${path%/*}"
    cp -a "$path" "$GUARD/before$path"
  done
  for folder in $FOLDERS; do
    [ ! -d "$folder" ] || printf '%s %s %s\n' "$(mode_of -L "$folder")" "$(ids_of -L "$folder")" "$(real "$folder")" >>"$GUARD/modes"
  done
  note_rest  # what no file tells
  printf '%s\n' "$RUN_SSHD" >"$GUARD/run-sshd"
  printf '%s\n%s\n%s\n' "$(( $(date +%s) + SECONDS_LEFT ))" "$WHY" "$1" >"$GUARD/armed"
  flush "$GUARD/armed"
  start_clock "$1"
}

disarm() {  # id
  lock
  { mine "$1" && mv "$GUARD/armed" "$GUARD/disarmed"; } 2>/dev/null || { echo "the revert has begun already" >&2; exit 1; }
  # A power cut from here on must not bring back what was confirmed, nor lose it.
  sync_paths
  flush "$GUARD"
  send_away
  stand_down
  rm -rf "$GUARD"
}

sync_paths() { while read -r path; do [ ! -e "$path" ] || flush "$path"; done <"$GUARD/paths"; }

lock() { command exec 8<"$GUARD" && wait_and_hold 8; } 2>/dev/null

mine() { [ -z "$1" ] || grep -qsx "$1" "$GUARD/armed" "$GUARD/reverting"; }  # id

outcome() {  # id: end, and tell whether this window was taken back, when there is nothing left to do
  [ -z "$1" ] || [ "$(sed -n 4p "$REVERTED" 2>/dev/null)" = "$1" ] || exit $KEPT
  exit 0
}

put_back() {  # path: as it was, or gone; fails where that cannot be done
  [ "$(real "${1%/*}")" = "${1%/*}" ] || return 1 # somebody has put a link in the way
  # What came since goes first, which makes room.
  failed=$(find "$1" -depth 2>/dev/null | while IFS= read -r now; do
    [ -e "$GUARD/before$now" ] || [ -L "$GUARD/before$now" ] || rm -rf "$now" || echo "$now"
  done)
  failed=$failed$(find "$GUARD/before$1" 2>/dev/null | while IFS= read -r was; do
    put_one "$was" "${was#"$GUARD/before"}" || echo "$was"
  done)
  [ -z "$failed" ]
}

put_one() {  # copy, original: touched only where they differ, so that a full disk or a mount in between does no harm
  same "$1" "$2" && return
  if [ -d "$1" ] && [ ! -L "$1" ]; then
    [ -d "$2" ] && [ ! -L "$2" ] || { rm -rf "$2" && mkdir -p "$2"; } || return
  elif [ -L "$1" ] || [ -L "$2" ] || ! cmp -s "$1" "$2"; then
    [ ! -d "$2" ] || [ -L "$2" ] || rm -rf "$2"
    new=$(new_name "$2")
    rm -f "$new" && cp -a "$1" "$new" && take_name "$new" "$2" && return
    rm -f "$new" "$2"  # no room for two
    cp -a "$1" "$2"
    return
  fi
  chown "$(ids_of "$1")" "$2" && chmod "$(mode_of "$1")" "$2"
}

same() {  # copy, original: kind, mode, owner and content
  [ "$(kind_and_ids "$1")" = "$(kind_and_ids "$2" 2>/dev/null)" ] || return
  if [ -L "$1" ]; then [ "$(readlink "$1")" = "$(readlink "$2")" ]
  elif [ ! -d "$1" ]; then cmp -s "$1" "$2"
  fi
}

revert() {  # cause, id where only that window is meant
  [ -d "$GUARD" ] || outcome "$2"
  lock
  mine "$2" || outcome "$2"
  # A revert that was cut off, by a power cut or a full disk, is begun again.
  mv "$GUARD/armed" "$GUARD/reverting" 2>/dev/null || [ -e "$GUARD/reverting" ] || { clear_up; outcome "$2"; }
  rm -f "$GUARD/ballast"
  broken=
  rest_before
  [ ! -e "$GUARD/modes" ] || while read -r mode owner folder; do
    [ ! -L "$folder" ] && mkdir -p "$folder" && chown -h "$owner" "$folder" && chmod "$mode" "$folder" || broken=yes
  done <"$GUARD/modes"
  # Only what could not be put back is tried again: the rest may be changed by then, and rightly.
  while read -r path; do put_back "$path" || { broken=yes; echo "$path"; }; done <"$GUARD/paths" >"$GUARD/left"
  sync_paths
  mv "$GUARD/left" "$GUARD/paths"
  ready_for_sshd
  sh "$GUARD/run-sshd" >/dev/null 2>&1
  if [ -n "$broken" ] && [ "$1" != boot ]; then
    echo "not everything could be put back, it is tried again at the next boot" >&2
    exit 1
  fi
  [ -z "$broken" ] || { rm -rf "$GUARD.left" && cp -a "$GUARD" "$GUARD.left"; } # for a person to look at
  strike_out
  printf '%s\n%s\n%s\n' "$(date +%s)" "$1" "$(sed -n 2,3p "$GUARD/reverting")" >"$REVERTED"
  flush /etc
  clear_up
}

strike_out() {  # the changes of this window from the journal; what was done beside it stays
  numbers=$(grep -F "\"window\": \"$(sed -n 3p "$GUARD/reverting")\"" "$JOURNAL" 2>/dev/null | sed -nE 's/.*"number": "([^"]+)".*/\1/p')
  for number in $numbers; do printf '{"undone": "%s", "time": %s}\n' "$number" "$(date +%s)" >>"$JOURNAL"; done
}

clear_up() { stand_down; rm -rf "$GUARD"; }

case $1 in arm | disarm | revert | watch) "$@" ;; esac
