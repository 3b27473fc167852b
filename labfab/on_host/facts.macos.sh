# The sections of facts.sh that differ on macOS: how a Mac is read.

# shellcheck disable=SC2034  # facts.sh uses them
{
  DROP_INS='/etc/ssh/sshd_config.d/*'
  DROP_IN=/etc/ssh/sshd_config.d/000-labfab.conf
}

section_system() {
  fact kernel "$(uname -s)"
  fact machine "$(uname -m)"
  fact id macos
  fact version "$(sw_vers -productVersion)"
  fact name "macOS $(sw_vers -productVersion)"
  fact boot_id "$(boot_id 2>/dev/null)"
  fact login "${SUDO_USER:-$(id -un)}"
  # Whether the login window offers "Other…", where a hidden account could be typed.
  window=/Library/Preferences/com.apple.loginwindow
  fact others_shown "$(defaults read $window SHOWOTHERUSERS_MANAGED 2>/dev/null)"
  programs
}

account_facts() {  # ACCOUNT
  [ -z "$(values "/Users/$1" AuthenticationAuthority)" ] || fact "$1.password" P
  [ "$(values "/Users/$1" IsHidden)" != 1 ] || fact "$1.hidden" yes
  fact "$1.linger" yes  # programs survive the login that started them
}

new_home() { echo "/Users/$1"; }  # ACCOUNT: where a new one has its home
jobs_of_next() { :; }
new_account_facts() { :; }  # a Mac's groups and templates give nothing to a new account

sudo_log_facts() {  # whether sudo keeps what is typed, by its settings. Sets lines.
  find_sudo_logs
  case $lines in
    *log_in* | *log_std* | *LOG_IN* | *Plugin*)
      fact sudoers.log /var/log/sudo-io
      fact sudoers.log_line "${lines%%"
"*}"
      ;;
  esac
}

# Apple's sshd listens where launchd lets it; Port in sshd_config has no effect.
# Sets every: what sshd reports about itself.
sshd_facts() {
  every=$(sshd_says root)
  if loaded "$REMOTE_LOGIN"; then
    port=$(awk '$1 == "ssh" && $2 ~ /\/tcp$/ { print $2 + 0; exit }' /etc/services)
    fact "port.$port" yes
    fact remote_login "$port"
  fi
  if [ -e "$OWN_PLIST" ]; then
    file plist "$OWN_PLIST"
    loaded "$OWN_SSHD" &&
      plutil -p "$OWN_PLIST" | sed -nE 's/.*"SockServiceName" => "([0-9]+)".*/port.\1=yes/p'
  fi
  lsof -nP -iTCP -sTCP:LISTEN 2>/dev/null |
    awk 'NR > 1 { count = split($9, part, ":"); print "listening." part[count] "=" $1 }' | sort -u
  fact access "$(access_state)"
  access_members | while read -r member; do fact "member.$member" yes; done
}

# The application firewall decides which programs may listen, not on which ports.
section_firewall() {
  state=$(/usr/libexec/ApplicationFirewall/socketfilterfw --getglobalstate 2>/dev/null)
  case $state in *nabled*) fact active yes ;; esac
}

# softwareupdate asks Apple, which is slow, so its answer is cached.
section_updates() {
  cache=/var/cache/labfab/softwareupdate
  fact age $(( $(date +%s) - $(stat -f %m $cache 2>/dev/null || echo 0) ))
  # Even while FileVault is being switched on, a restart waits for a password.
  [ "$(fdesetup status 2>/dev/null)" = 'FileVault is Off.' ] || fact filevault yes
  [ ! -e $cache ] || base64_fact listed <$cache
}

# A new major version of macOS does not count: only the owner installs that.
section_upgrades() {
  cache=/var/cache/labfab/softwareupdate
  [ -e $cache ] || return 0
  fact pending "$(awk -v runs="$(sw_vers -productVersion)" '
    /^ *\* Label: / { count++ }
    /^[ \t]*Title: macOS .*, Version: [0-9]/ {
      sub(/.*, Version: /, ""); if (int($0) != int(runs)) count--
    }
    END { print count + 0 }' $cache)"
}

section_power() {  # a Mac may lack some of these
  pmset -g 2>/dev/null | awk '$1 ~ /^(sleep|disksleep|womp|autorestart)$/ { print $1 "=" $2 }'
}

# Programs that do not come with macOS: from Homebrew, from python.org, or from conda in the
# environment of JupyterLab.
programs() (
  PATH=/opt/homebrew/bin:/usr/local/bin:$PATH own=''
  [ -z "$LAB_HOME" ] || own=$(at_home "$LAB_USER" "$LAB_HOME" program tmux "$PREFIX/bin/tmux" \
    program python3 "$PREFIX/bin/python3")
  case $(command -v tmux)$own in /* | *tmux=yes*) fact package.tmux yes ;; esac
  found=$(command -v python3)
  case $own in *python3=yes*) found=${found:-$LAB_HOME/$PREFIX/bin/python3} ;; esac
  # Without the Command Line Tools, Apple's python3 only opens a window that offers to install them.
  [ "$found" != /usr/bin/python3 ] || xcode-select -p >/dev/null 2>&1 || return 0
  # Root must not run what the owner of Homebrew can change.
  account=$LAB_USER; [ -n "$LAB_HOME" ] || account=nobody
  new_enough='import sys; sys.exit(sys.version_info < (3, 10))'
  [ -z "$found" ] || as_account "$account" "$found" -c "$new_enough" >/dev/null 2>&1 &&
    fact package.python3 yes
  true
)

JUPYTER_PLIST=/Library/LaunchDaemons/org.labfab.jupyter.plist
lab_service() {
  file unit $JUPYTER_PLIST
  [ -e $JUPYTER_PLIST ] || return 0
  launchctl print-disabled system | grep -qE '"org.labfab.jupyter" => (disabled|true)' ||
    fact service yes
  fact state "$(launchctl print system/org.labfab.jupyter 2>/dev/null |
    awk -F' = ' '$1 == "\tstate" { print $2; found = 1; exit }
      END { if (!found) print "inactive" }')"
}

# Who listens where JupyterLab should. Reads home. Sets owner, pid, holder; they stay empty if
# nobody listens.
lab_listener() {
  if [ -n "$LAB_SOCKET" ]; then
    path=$home/$LAB_SOCKET
    seen=$(as_account "$LAB_USER" stat -f '%HT %Lp' "$path" 2>/dev/null)
    case ${seen#Socket } in "$seen" | *[!0-7]*) ;; *) fact socket_mode "${seen#Socket }" ;; esac
    set -- -U
  else
    path=
    set -- -iTCP:"$LAB_PORT" -sTCP:LISTEN
  fi
  # p, c, L and n start the lines with a process's number, name, account and open files. What is
  # sent to 127.0.0.1 goes to the exact address, then to any of IPv4 or of both.
  found=$(lsof -nP "$@" -F pcLn 2>/dev/null | awk -v path="$path" -v port="$LAB_PORT" '
    /^p/ { pid = substr($0, 2) } /^c/ { name = substr($0, 2) } /^L/ { account = substr($0, 2) }
    /^n/ {
      place = substr($0, 2); rank = 0
      if (path != "") {
        sub(/ type=[A-Z]+( \([A-Z]+\))?$/, "", place)  # some versions of lsof add it
        rank = place == path
      }
      else if (place == "127.0.0.1:" port) rank = 2
      else if (place == "*:" port) rank = 1
      if (rank > best) { best = rank; found = pid "\t" account "\t" name }
    }
    END { if (best) print found }')
  [ -n "$found" ] || return 0
  pid=$(printf '%s' "$found" | cut -f1)
  owner=$(printf '%s' "$found" | cut -f2)
  holder=$(printf '%s' "$found" | cut -f3)
}

section_acme() { :; }
section_proxy() { :; }
