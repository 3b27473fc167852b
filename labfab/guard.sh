# The host's half of a guarded change: arm, disarm, revert. Lies in $GUARD while a change is not confirmed.
#
# A revert puts the files below back byte for byte and makes sshd and ufw read them. It runs at the deadline, at the
# next boot, or when labfab asks for it; whoever moves `armed` away first wins, under one lock, so a revert and a
# disarm never meet. arm wants: PATHS (files and folders) and FOLDERS (whose mode and owner count) without spaces,
# RUN_SSHD (a command that makes sshd listen as its files say), SECONDS_LEFT and WHY.

GUARD=${GUARD:-/var/lib/labfab/guard}
UNIT=/etc/systemd/system/labfab-revert.service
WANTS=/etc/systemd/system/multi-user.target.wants

systemd() { [ -d /run/systemd/system ]; }

arm() {
  set -e
  # A way back that is half-made, on a full or read-only disk, would look like a run that died.
  trap '[ $? -eq 0 ] || { stand_down || true; rm -rf "$GUARD"; }' EXIT
  # Room for the copies of a revert, should the disk fill up meanwhile.
  head -c 524288 /dev/zero >"$GUARD/ballast"
  mkdir "$GUARD/before"
  printf '%s\n' $PATHS >"$GUARD/paths"
  for path in $PATHS; do
    [ -e "$path" ] || continue
    mkdir -p "$GUARD/before${path%/*}"
    cp -a "$path" "$GUARD/before$path"
  done
  for folder in $FOLDERS; do
    [ ! -d "$folder" ] || stat -c '%a %u:%g %n' "$folder" >>"$GUARD/modes"
  done
  if command -v ufw >/dev/null && LC_ALL=C ufw status | grep -q 'Status: active'; then touch "$GUARD/ufw-active"; fi
  printf '%s\n' "$RUN_SSHD" >"$GUARD/run-sshd"
  printf '%s\n%s\n' "$(( $(date +%s) + SECONDS_LEFT ))" "$WHY" >"$GUARD/armed"
  sync -f "$GUARD/armed"
  if systemd; then
    mkdir -p "$WANTS"
    cat >"$UNIT" <<UNIT
[Unit]
Description=labfab: take back a change to access that no fresh login confirmed
After=local-fs.target network.target ssh.service ssh.socket ufw.service
[Service]
Type=oneshot
ExecStart=/bin/sh $GUARD/guard.sh revert boot
[Install]
WantedBy=multi-user.target
UNIT
    ln -sf "$UNIT" "$WANTS/${UNIT##*/}"
    sync -f "$UNIT"
    # By default a timer may be a minute late.
    systemd-run --quiet --unit=labfab-deadline --on-active="$SECONDS_LEFT" --timer-property=AccuracySec=100ms \
      /bin/sh "$GUARD/guard.sh" revert deadline
  else
    setsid sh -c "sleep $SECONDS_LEFT; exec sh $GUARD/guard.sh revert deadline" >/dev/null 2>&1 9>&- &
  fi
}

stand_down() {
  rm -f "$UNIT" "$WANTS/${UNIT##*/}"
  systemd || return 0
  systemctl stop labfab-deadline.timer 2>/dev/null
  systemctl reset-failed labfab-deadline.service labfab-deadline.timer 2>/dev/null
  return 0
}

disarm() {
  exec 8>"$GUARD/lock" && flock 8
  mv "$GUARD/armed" "$GUARD/disarmed" 2>/dev/null || { echo "the revert has begun already" >&2; exit 1; }
  stand_down
  rm -rf "$GUARD"
  ! systemctl is-active -q labfab-deadline.timer 2>/dev/null
}

put_back() {  # path: as it was, or gone
  if [ ! -e "$GUARD/before$1" ]; then
    rm -rf "$1"
  elif [ -d "$GUARD/before$1" ]; then
    diff -r --no-dereference "$GUARD/before$1" "$1" >/dev/null 2>&1 && [ -z "$(changed_modes "$1")" ] && return 0
    rm -rf "$1.labfab-old" "$1.labfab-new"
    cp -a "$GUARD/before$1" "$1.labfab-new" || { rm -rf "$1.labfab-new"; mv "$GUARD/before$1" "$1.labfab-new"; }
    mv "$1" "$1.labfab-old"; mv "$1.labfab-new" "$1"; rm -rf "$1.labfab-old"
  else
    cp -a "$GUARD/before$1" "$1.labfab-new" || { rm -f "$1.labfab-new"; mv "$GUARD/before$1" "$1.labfab-new"; }
    mv -f "$1.labfab-new" "$1"
  fi
}

changed_modes() {  # folder: whether anything in it has another mode or owner than before
  list() { ( cd "$1" && find . -exec stat -c '%n %a %u:%g' {} + | sort ); }
  [ "$(list "$1" 2>&1)" = "$(list "$GUARD/before$1")" ] || echo yes
}

revert() {
  [ -d "$GUARD" ] || exit 0
  exec 8>"$GUARD/lock" && flock 8
  # A revert that was cut off by a power cut is begun again at boot.
  mv "$GUARD/armed" "$GUARD/reverting" 2>/dev/null || [ -e "$GUARD/reverting" ] || exit 0
  rm -f "$GUARD/ballast"
  command -v ufw >/dev/null && [ ! -e "$GUARD/ufw-active" ] && ufw --force disable >/dev/null 2>&1
  while read -r path; do put_back "$path"; done <"$GUARD/paths"
  [ -e "$GUARD/modes" ] && while read -r mode owner folder; do
    [ -d "$folder" ] && chmod "$mode" "$folder" && chown "$owner" "$folder"
  done <"$GUARD/modes"
  [ -e "$GUARD/ufw-active" ] && ufw reload >/dev/null 2>&1
  sh "$GUARD/run-sshd" >/dev/null 2>&1
  printf '%s\n%s\n%s\n' "$(date +%s)" "$1" "$(sed -n 2p "$GUARD/reverting")" >/var/lib/labfab/reverted
  stand_down
  rm -rf "$GUARD"
}

case $1 in arm | disarm | revert) "$@" ;; esac
