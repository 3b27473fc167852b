# macOS's own of facts.sh: how a Mac is read.

DROP_INS='/etc/ssh/sshd_config.d/*'
DROP_IN=/etc/ssh/sshd_config.d/000-labfab.conf

system() {
  say kernel "$(uname -s)"
  say machine "$(uname -m)"
  say id macos
  say version "$(sw_vers -productVersion)"
  say name "macOS $(sw_vers -productVersion)"
  say boot_id "$(boot 2>/dev/null)"
  say login "${SUDO_USER:-$(id -un)}"
  # Whether the login window offers "Other…", by which a hidden account could be typed.
  say others_shown "$(defaults read /Library/Preferences/com.apple.loginwindow SHOWOTHERUSERS_MANAGED 2>/dev/null)"
  programs
}

account_facts() {  # account
  [ -z "$(values "/Users/$1" AuthenticationAuthority)" ] || say "$1.password" P
  [ "$(values "/Users/$1" IsHidden)" != 1 ] || say "$1.hidden" yes
  ! grep -qsF "\"undo\": [\"account $1\"]" /var/lib/labfab/journal.jsonl || say "$1.ours" yes
  say "$1.linger" yes  # what runs is not ended with the login
}

# Apple's sshd listens where launchd has it listen: sshd_config's Port says nothing there.
sshd_facts() {  # and what it says of itself, in $every
  every=$(sshd_says)
  if loaded $REMOTE_LOGIN; then
    port=$(awk '$1 == "ssh" && $2 ~ /\/tcp$/ { print $2 + 0; exit }' /etc/services)
    say "port.$port" yes
    say remote_login "$port"
  fi
  if [ -e $OWN_PLIST ]; then
    file plist $OWN_PLIST
    loaded $OWN_SSHD && plutil -p $OWN_PLIST | sed -nE 's/.*"SockServiceName" => "([0-9]+)".*/port.\1=yes/p'
  fi
  lsof -nP -iTCP -sTCP:LISTEN 2>/dev/null | awk 'NR > 1 { count = split($9, part, ":"); print "listening." part[count] "=" $1 }' | sort -u
  say access "$(access_state)"
  access_members | while read -r member; do say "member.$member" yes; done
}

# The application firewall asks which programs may listen, not at which ports.
firewall() {
  case $(/usr/libexec/ApplicationFirewall/socketfilterfw --getglobalstate 2>/dev/null) in *nabled*) say active yes ;; esac
}

# softwareupdate asks Apple, which takes its time; so what it said is kept.
updates() {
  kept=/var/cache/labfab/softwareupdate
  say age $(( $(date +%s) - $(stat -f %m $kept 2>/dev/null || echo 0) ))
  # Also while it is about to be switched on, it waits for a password after a restart.
  [ "$(fdesetup status 2>/dev/null)" = 'FileVault is Off.' ] || say filevault yes
  [ ! -e $kept ] || blob listed <$kept
}

upgrades() {  # another macOS, as 26 is to 15, is nobody's to install but the owner's
  kept=/var/cache/labfab/softwareupdate
  [ -e $kept ] || return 0
  say pending "$(awk -v runs="$(sw_vers -productVersion)" '/^ *\* Label: / { count++ }
    /^[ \t]*Title: macOS .*, Version: [0-9]/ { sub(/.*, Version: /, ""); if (int($0) != int(runs)) count-- } END { print count + 0 }' $kept)"
}

power() { pmset -g 2>/dev/null | awk '$1 ~ /^(sleep|disksleep|womp|autorestart)$/ { print $1 "=" $2 }'; }  # a Mac may lack some

programs() (  # what comes from elsewhere: from Homebrew, python.org, or conda into the environment of JupyterLab
  home=$(home_of "$LAB_USER")
  PATH=/opt/homebrew/bin:/usr/local/bin:$PATH:$home/$PREFIX/bin
  ! command -v tmux >/dev/null || say package.tmux yes
  found=$(command -v python3)
  # Without the Command Line Tools Apple's python3 is an empty shell, which asks at the screen whether to install them.
  [ "$found" != /usr/bin/python3 ] || xcode-select -p >/dev/null 2>&1 || return 0
  # What Homebrew's owner may write is not for root to run.
  account=$LAB_USER; [ -n "$home" ] || account=nobody
  [ -z "$found" ] || as_account "$account" "$found" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && say package.python3 yes
  true
)

JUPYTER_PLIST=/Library/LaunchDaemons/org.labfab.jupyter.plist
lab_service() {
  file unit $JUPYTER_PLIST
  [ -e $JUPYTER_PLIST ] || return 0
  launchctl print-disabled system | grep -qE '"org.labfab.jupyter" => (disabled|true)' || say service yes
  say state "$(launchctl print system/org.labfab.jupyter 2>/dev/null | awk -F' = ' '$1 == "\tstate" { print $2; found = 1; exit }
    END { if (!found) print "inactive" }')"
}

lab_listener() {  # owner, pid and holder of where JupyterLab is to listen
  if [ -n "$LAB_SOCKET" ]; then
    path=$home/$LAB_SOCKET
    [ ! -S "$path" ] || say socket_mode "$(mode_of "$path")"
    set -- -U
  else
    path= ; set -- -iTCP:"$LAB_PORT" -sTCP:LISTEN
  fi
  # p, c, L and n begin the lines of a process's number, its name, its account and what it has open.
  found=$(lsof -nP "$@" -F pcLn 2>/dev/null | awk -v path="$path" '
    /^p/ { pid = substr($0, 2) } /^c/ { name = substr($0, 2) } /^L/ { account = substr($0, 2) }
    /^n/ && (path == "" || substr($0, 2) == path) { print pid "\t" account "\t" name; exit }')
  [ -n "$found" ] || return 0
  pid=$(printf '%s' "$found" | cut -f1) owner=$(printf '%s' "$found" | cut -f2) holder=$(printf '%s' "$found" | cut -f3)
}

acme() { :; }
proxy() { :; }
