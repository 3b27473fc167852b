# macOS's own of guard.sh: who looks at the clock, Remote Login with its list of accounts, and our job for sshd.

REVERT=org.labfab.revert
REVERT_PLIST=/Library/LaunchDaemons/$REVERT.plist

start_clock() {  # id
  boot >"$GUARD/boot"
  cat >"$REVERT_PLIST" <<PLIST
<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><dict>
  <key>Label</key><string>$REVERT</string>
  <key>ProgramArguments</key><array>
    <string>/bin/sh</string><string>$GUARD/guard.sh</string><string>watch</string><string>$1</string>
  </array>
  <key>RunAtLoad</key><true/>
</dict></plist>
PLIST
  chmod 644 "$REVERT_PLIST"
  chown root:wheel "$REVERT_PLIST"
  flush "$REVERT_PLIST"
  load_daemon "$REVERT" "$REVERT_PLIST"
}

watch() {  # id: in the boot of the change until the deadline; a later boot is one at once
  watching=yes  # so the job takes itself out of launchd last of all, unless it is wanted again
  trap '[ -e "$REVERT_PLIST" ] || launchctl bootout "system/$REVERT"' EXIT
  if [ "$(cat "$GUARD/boot")" != "$(boot)" ]; then revert boot; exit; fi
  # A revert that somebody asked for has moved the file, and may die half-way: it is begun again then.
  deadline=$(cat "$GUARD/armed" "$GUARD/reverting" 2>/dev/null | sed -n 1p)
  # In steps of a second: a Mac that sleeps does not count a longer one on.
  while [ -d "$GUARD" ] && [ "$(date +%s)" -lt "$deadline" ]; do sleep 1; done
  [ ! -d "$GUARD" ] || revert deadline "$1"
}

send_away() { :; }  # standing down ends the watch, also while it waits for the lock

stand_down() {
  rm -f "$REVERT_PLIST"
  [ -n "$watching" ] || unload_daemon "$REVERT"
}

note_rest() {
  { access_state; access_members; } >"$GUARD/access"
  ! loaded $REMOTE_LOGIN || touch "$GUARD/remote-login"
  ! loaded $OWN_SSHD || touch "$GUARD/own-sshd"
}

rest_before() {  # the files are put back after it
  set_access $(cat "$GUARD/access") || broken=yes
  if [ -e "$GUARD/remote-login" ]; then
    loaded $REMOTE_LOGIN || load_daemon $REMOTE_LOGIN $REMOTE_PLIST || broken=yes
  elif loaded $REMOTE_LOGIN; then
    launchctl disable "system/$REMOTE_LOGIN"; unload_daemon $REMOTE_LOGIN || broken=yes
  fi
  reload=
  if ! loaded $OWN_SSHD || ! cmp -s "$GUARD/before$OWN_PLIST" $OWN_PLIST; then reload=yes; fi
}

ready_for_sshd() {
  if [ ! -e "$GUARD/own-sshd" ]; then unload_daemon $OWN_SSHD || broken=yes
  elif [ -n "$reload" ]; then load_daemon $OWN_SSHD $OWN_PLIST || broken=yes
  fi
}

