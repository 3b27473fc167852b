# The parts of guard.sh that differ on Linux: the deadline (systemd) and the firewall (ufw).

UNIT=/etc/systemd/system/labfab-revert.service
WANTS=/etc/systemd/system/multi-user.target.wants

systemd() { [ -d /run/systemd/system ]; }

start_clock() {  # ID
  if systemd; then
    mkdir -p "$WANTS"
    cat >"$UNIT" <<UNIT
[Unit]
Description=labfab: take back a change to access that no fresh login confirmed
After=local-fs.target remote-fs.target nss-user-lookup.target network.target ssh.service ssh.socket ufw.service
[Service]
Type=oneshot
ExecStart=/bin/sh $GUARD/guard.sh revert boot
[Install]
WantedBy=multi-user.target
UNIT
    ln -sf "$UNIT" "$WANTS/${UNIT##*/}"
    flush "$UNIT"
    # The deadline of the window before may have come just as it was disarmed, and still be loaded.
    start_timer "$1" 2>/dev/null || { forget_timer; start_timer "$1"; }
  else
    setsid sh -c "sleep $SECONDS_LEFT; exec sh $GUARD/guard.sh revert deadline $1" \
      >/dev/null 2>&1 &
  fi
}

start_timer() {  # ID: by default a timer may be a minute late
  systemd-run --quiet --unit=labfab-deadline --on-active="$SECONDS_LEFT" \
    --timer-property=AccuracySec=100ms /bin/sh "$GUARD/guard.sh" revert deadline "$1"
}
forget_timer() {
  systemctl stop labfab-deadline.timer labfab-deadline.service 2>/dev/null || :
  systemctl reset-failed labfab-deadline.service labfab-deadline.timer 2>/dev/null || :
}

# Stops a revert that is waiting for the lock.
stop_waiting_revert() { systemd && systemctl stop labfab-deadline.service 2>/dev/null; }

remove_timer() {
  rm -f "$UNIT" "$WANTS/${UNIT##*/}"
  systemd || return 0
  systemctl stop labfab-deadline.timer 2>/dev/null
  systemctl reset-failed labfab-deadline.service labfab-deadline.timer 2>/dev/null
  # If systemd has booted or reloaded since, it still remembers the unit.
  systemctl list-units --all --plain --no-legend "${UNIT##*/}" | grep -q . &&
    systemctl daemon-reload
  return 0
}

ufw_active() { command -v ufw >/dev/null && LC_ALL=C ufw status | grep -q 'Status: active'; }

ufw_changed() { ! diff -r --no-dereference "$GUARD/before/etc/ufw" /etc/ufw >/dev/null 2>&1; }

save_state() {
  if ufw_active; then touch "$GUARD/ufw-active"; fi
  save_accounts
}

# Whether each of ACCOUNTS is in the group sudo, and its password. The files themselves are not kept:
# a package may add accounts of its own meanwhile.
save_accounts() {
  for account in ${ACCOUNTS-}; do
    id -u "$account" >/dev/null 2>&1 || continue
    printf '%s:%s:%s\n' "$account" "$(admin "$account")" \
      "$(getent shadow "$account" | cut -d: -f2,3)"
  done >"$GUARD/accounts"
}
admin() { case " $(id -Gn "$1") " in *' sudo '*) echo yes ;; esac; }  # ACCOUNT

# Sets account, may, hash, changed; sets broken on failure.
restore_accounts() {
  [ -e "$GUARD/accounts" ] || return 0
  while IFS=: read -r account may hash changed; do
    id -u "$account" >/dev/null 2>&1 || continue
    if [ -z "$may" ] && [ -n "$(admin "$account")" ]; then
      gpasswd --delete "$account" sudo >/dev/null || broken=yes
    fi
    [ "$(getent shadow "$account" | cut -d: -f2)" != "$hash" ] || continue
    printf '%s:%s\n' "$account" "$hash" | chpasswd -e &&
      chage -d "${changed:--1}" "$account" || broken=yes
  done <"$GUARD/accounts"
}

# Runs before the firewall's files are put back. Sets reload.
restore_state() {
  restore_accounts
  reload=
  grep -qx /etc/ufw "$GUARD/paths" || return 0
  if [ -e "$GUARD/ufw-active" ]; then
    if ufw_changed || ! ufw_active; then reload=yes; fi
  elif ufw_changed || ufw_active; then
    ufw --force disable >/dev/null 2>&1
  fi
}

# Runs once the files are back, before sshd starts. Reads reload.
reload_state() {
  [ -z "$reload" ] || ufw reload >/dev/null 2>&1
  # sshd -t requires this folder. With ssh.socket, only the first login creates it.
  install -d -m 755 -o root -g root /run/sshd
}

