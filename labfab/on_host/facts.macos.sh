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
}

account_facts() {  # account
  [ -z "$(values "/Users/$1" AuthenticationAuthority)" ] || say "$1.password" P
  [ "$(values "/Users/$1" IsHidden)" != 1 ] || say "$1.hidden" yes
  say "$1.linger" yes  # what runs is not ended with the login
}

# Apple's sshd listens where launchd has it listen: sshd_config's Port says nothing there.
sshd_facts() {  # and what it says of itself, in $every
  every=$(/usr/sbin/sshd -T 2>/dev/null)
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

acme() { :; }
proxy() { :; }
