# The parts of undo.sh that differ on macOS: accounts, the login window, jobs of launchd.
# Its functions are words of the journal too: do not rename them.

# The folders that a new home is made from: one part for everybody and one for each language.
skeletons() {
  for folder in "/Library/User Template" "/System/Library/User Template"; do
    printf '%s\n' "$folder"/Non_localized "$folder"/*.lproj
  done
}

old_backups() { :; }  # nothing keeps copies of the directory's records
end_logins() { :; }  # the kill that follows ends them
IS_LOCKED="stays, with /usr/bin/false as its shell"
# ACCOUNT. Where macOS forbids that, it forbids to delete the account too, and says so then.
lock_account() { dscl . -create "/Users/$1" UserShell /usr/bin/false || :; }

# ACCOUNT: its programs, without those that macOS starts for everybody who logs in.
works() {
  # shellcheck disable=SC2009  # macOS' pgrep prints no command names
  ps -o comm= -u "$1" | grep -vE '^(/System/|/usr/libexec/|/usr/sbin/|sshd|sftp-server)' | sort -u
}

# ACCOUNT HOME: its files that are neither in its home nor in a temporary folder. Leaves out
# what macOS creates by itself. Finds nothing where macOS blocks a login over SSH. Sets data.
elsewhere() {
  data=/System/Volumes/Data  # the system's own volume has no files of accounts
  [ -d "$data" ] || data=
  # A line break in a name is shown as `?`: it must not begin another name.
  # shellcheck disable=SC2016  # another shell expands it
  relay 600 8388608 sh -c 'find "$@" -print0 -prune 2>/dev/null | tr "\n\000" "?\n"' sh \
    "${data:-/}" -xdev \( -path "$data/.Spotlight-V100" -o -path "$data/.fseventsd" \
    -o -path "$data/Volumes" -o -path "$data/Users/*/Library/CloudStorage" \
    -o -path "$data/private/var/folders" -o -path "$data/private/var/db" \
    -o -path "$data/private/tmp" -o -path "$data/private/var/tmp" \
    -o -path "$data/private/var/run" -o -path "$data/private/var/lib/labfab" \
    -o -path "$data/private$BACKUPS" -o -path "$data$2" \) -prune \
    -o -user "$1" </dev/null
}

# ACCOUNT. sysadminctl exits with 0 even if it did nothing. Sets said, settings.
delete_account() {
  said=$(sysadminctl -deleteUser "$1" -keepHome 2>&1)
  account_exists "$1" || return 0
  said="$said $(dscl . -delete "/Users/$1" 2>&1)"
  account_exists "$1" || return 0
  settings='System Settings > General > Sharing > Remote Login (i)'
  case $said in
    *-14120*)
      stays "the account $1: macOS does not let a login over SSH delete accounts: in $settings" \
        "turn on 'Allow full disk access for remote users'"
      ;;
  esac
  echo "$said" >&2
  return 1
}

shown() {  # ACCOUNT: the login window shows it again
  [ -z "$(values "/Users/$1" IsHidden)" ] || dscl . -delete "/Users/$1" IsHidden
}

LOGIN_WINDOW=/Library/Preferences/com.apple.loginwindow
others_shown() {  # VALUE to restore; empty: none
  case $1 in
    '') defaults delete $LOGIN_WINDOW SHOWOTHERUSERS_MANAGED 2>/dev/null ;;
    0) defaults write $LOGIN_WINDOW SHOWOTHERUSERS_MANAGED -bool FALSE ;;
    *) defaults write $LOGIN_WINDOW SHOWOTHERUSERS_MANAGED -bool TRUE ;;
  esac
  if [ ! -e "$(kept $LOGIN_WINDOW.plist)" ] &&
    [ -z "$(defaults read $LOGIN_WINDOW 2>/dev/null | tr -d '{}[:space:]')" ]; then
    rm -f $LOGIN_WINDOW.plist
  fi
}

restore_daemon() { restore "$2" && load_daemon "$1" "$2"; }  # LABEL PLIST

# VERB ACCOUNT, which systemd needs: ends JupyterLab's job. Its plist has a way back of its own.
service() { unload_daemon org.labfab.jupyter; }

power() {  # restores what `pmset -g custom` reported for each kind of supply
  [ -e "$KEPT.pmset" ] || return 0
  awk '
    /^Battery Power:/ { flag = "-b" }
    /^AC Power:/ { flag = "-c" }
    /^UPS Power:/ { flag = "-u" }
    flag && $1 ~ /^(sleep|disksleep|womp|autorestart)$/ { print flag, $1, $2 }' "$KEPT.pmset" |
    while read -r flag name value; do pmset "$flag" "$name" "$value" || exit; done
}
