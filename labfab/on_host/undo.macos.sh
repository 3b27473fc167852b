# macOS's own of undo.sh: accounts, the login window, jobs of launchd.

from_skeleton() {  # file of a home, as it was made: of what all have, or what those of a language have
  for folder in "/Library/User Template" "/System/Library/User Template"; do
    for part in "$folder"/Non_localized "$folder"/*.lproj; do ! cmp -s "$1" "$part/$1" || return 0; done
  done
  return 1
}

old_backups() { :; }  # nothing keeps copies beside the directory
end_logins() { :; }  # the kill that follows ends them

works() {  # account: its programs but for those that macOS starts for whoever logs in
  ps -o comm= -u "$1" | grep -vE '^(/System/|/usr/libexec/|/usr/sbin/|sshd|sftp-server)' | sort -u
}

elsewhere() {  # account home: a file of it that is not in its home, nor where things do not last
  data=/System/Volumes/Data  # the system's own volume holds nobody's files
  [ -d "$data" ] || data=
  # Where macOS lets nobody look who came in over SSH, nothing is found; what it makes anew by itself counts for nothing.
  find "${data:-/}" -xdev \( -path "$data/.Spotlight-V100" -o -path "$data/.fseventsd" -o -path "$data/Volumes" \
    -o -path "$data/Users/*/Library/CloudStorage" -o -path "$data/private/var/folders" -o -path "$data/private/var/db" -o -path "$data/private/tmp" \
    -o -path "$data/private/var/tmp" -o -path "$data/private/var/run" -o -path "$data/private/var/lib/labfab" -o -path "$data/private$BACKUPS" \
    -o -path "$data$2" \) -prune -o -user "$1" -print 2>/dev/null | head -n 1
}

delete_account() {  # sysadminctl ends with 0 also where it did nothing
  said=$(sysadminctl -deleteUser "$1" -keepHome 2>&1)
  there "$1" || return 0
  said="$said $(dscl . -delete "/Users/$1" 2>&1)"
  there "$1" || return 0
  case $said in
    *-14120*) stays "the account $1: macOS keeps who comes in over SSH from its accounts: in System Settings > General > Sharing > Remote Login (i) switch 'Allow full disk access for remote users' on" ;;
  esac
  echo "$said" >&2
  return 1
}

shown() { [ -z "$(values "/Users/$1" IsHidden)" ] || dscl . -delete "/Users/$1" IsHidden; }  # account: by the login window

LOGIN_WINDOW=/Library/Preferences/com.apple.loginwindow
others_shown() {  # value of before; empty: none
  case $1 in
    '') defaults delete $LOGIN_WINDOW SHOWOTHERUSERS_MANAGED 2>/dev/null ;;
    0) defaults write $LOGIN_WINDOW SHOWOTHERUSERS_MANAGED -bool FALSE ;;
    *) defaults write $LOGIN_WINDOW SHOWOTHERUSERS_MANAGED -bool TRUE ;;
  esac
  if [ ! -e "$(kept $LOGIN_WINDOW.plist)" ] && [ -z "$(defaults read $LOGIN_WINDOW 2>/dev/null | tr -d '{}[:space:]')" ]; then
    rm -f $LOGIN_WINDOW.plist
  fi
}

restore_daemon() { restore "$2" && load_daemon "$1" "$2"; }  # label plist

service() { unload_daemon org.labfab.jupyter; }  # verb account: of JupyterLab's job, whose file goes by itself

power() {  # as `pmset -g custom` told of it, for each kind of supply
  [ -e "$KEPT.pmset" ] || return 0
  awk '/^Battery Power:/ { flag = "-b" } /^AC Power:/ { flag = "-c" } /^UPS Power:/ { flag = "-u" }
    flag && $1 ~ /^(sleep|disksleep|womp|autorestart)$/ { print flag, $1, $2 }' "$KEPT.pmset" |
    while read -r flag name value; do pmset "$flag" "$name" "$value" || exit; done
}
