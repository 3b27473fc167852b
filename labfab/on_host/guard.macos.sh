# The parts of guard.sh that differ on macOS: the deadline (launchd), Remote Login with its list of
# accounts, and our own job for sshd.

REVERT=org.labfab.revert
REVERT_PLIST=/Library/LaunchDaemons/$REVERT.plist
PLIST_DTD=http://www.apple.com/DTDs/PropertyList-1.0.dtd

start_clock() {  # ID
  boot_id >"$GUARD/boot"
  cat >"$REVERT_PLIST" <<PLIST
<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "$PLIST_DTD">
<plist version="1.0"><dict>
  <key>Label</key><string>$REVERT</string>
  <key>ProgramArguments</key><array>
    <string>/bin/sh</string><string>$GUARD/guard.sh</string>
    <string>watch</string><string>$1</string>
  </array>
  <key>RunAtLoad</key><true/>
</dict></plist>
PLIST
  chmod 644 "$REVERT_PLIST"
  chown root:wheel "$REVERT_PLIST"
  flush "$REVERT_PLIST"
  load_daemon "$REVERT" "$REVERT_PLIST"
}

# ID: waits for the deadline and reverts. After a reboot the deadline has passed.
# Sets watching, deadline.
watch() {
  watching=yes  # the job removes itself from launchd last, unless a new window needs it
  trap '[ -e "$REVERT_PLIST" ] || launchctl bootout "system/$REVERT"' EXIT
  if [ "$(cat "$GUARD/boot")" != "$(boot_id)" ]; then revert boot; exit; fi
  # A revert that was requested moves the file, and may die half-way: then this one starts it again.
  deadline=$(cat "$GUARD/armed" "$GUARD/reverting" 2>/dev/null | sed -n 1p)
  # One second at a time: a sleep does not count the time that the Mac sleeps.
  while [ -d "$GUARD" ] && [ "$(date +%s)" -lt "$deadline" ]; do sleep 1; done
  [ ! -d "$GUARD" ] || revert deadline "$1"
}

stop_waiting_revert() { :; }  # remove_timer ends the watch even while it waits for the lock

remove_timer() {
  rm -f "$REVERT_PLIST"
  [ -n "$watching" ] || unload_daemon "$REVERT"
}

save_state() {
  { access_state; access_members; } >"$GUARD/access"
  ! loaded "$REMOTE_LOGIN" || touch "$GUARD/remote-login"
  ! loaded "$OWN_SSHD" || touch "$GUARD/own-sshd"
}

# Runs before the files are put back. Sets reload; sets broken on failure.
restore_state() {
  # shellcheck disable=SC2046  # a word a line
  set_access $(cat "$GUARD/access") || broken=yes
  if [ -e "$GUARD/remote-login" ]; then
    loaded "$REMOTE_LOGIN" || load_daemon "$REMOTE_LOGIN" "$REMOTE_PLIST" || broken=yes
  elif loaded "$REMOTE_LOGIN"; then
    launchctl disable "system/$REMOTE_LOGIN"
    unload_daemon "$REMOTE_LOGIN" || broken=yes
  fi
  reload=
  if ! loaded "$OWN_SSHD" || ! cmp -s "$GUARD/before$OWN_PLIST" "$OWN_PLIST"; then reload=yes; fi
}

# Runs once the files are back, before sshd starts. Reads reload, sets broken on failure.
reload_state() {
  if [ ! -e "$GUARD/own-sshd" ]; then
    unload_daemon "$OWN_SSHD" || broken=yes
  elif [ -n "$reload" ]; then
    # shellcheck disable=SC2034  # guard.sh reads it
    load_daemon "$OWN_SSHD" "$OWN_PLIST" || broken=yes
  fi
}

