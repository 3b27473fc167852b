# The parts of undo.sh that differ on Linux: accounts, packages, ufw, systemd, Let's Encrypt.
# Its functions are words of the journal too: do not rename them.

skeletons() { echo /etc/skel; }  # the folders that a new home is made from

# useradd and the like keep a copy of each file they change.
old_backups() {
  for name in passwd shadow group gshadow subuid subgid; do
    if [ -e "$(kept "/etc/$name-")" ]; then install_copy "$(kept "/etc/$name-")" "/etc/$name-"
    else rm -f "/etc/$name-"; fi
  done
}

group() {  # ACCOUNT GROUP
  ! account_exists "$1" || gpasswd --delete "$1" "$2" >/dev/null || return 1
  old_backups
}

# ACCOUNT: restores the password field, even a locked or empty one. Sets line, changed.
password() {
  line=$(grep "^$1:" "$(kept /etc/shadow)")
  if account_exists "$1" && [ -n "$line" ]; then
    changed=$(printf %s "$line" | cut -d: -f3)
    printf '%s:%s\n' "$1" "$(printf %s "$line" | cut -d: -f2)" | chpasswd -e &&
      chage -d "${changed:--1}" "$1" || return 1
  fi
  old_backups
}

linger() { [ ! -e "/var/lib/systemd/linger/$1" ] || loginctl disable-linger "$1"; }  # ACCOUNT

end_logins() { loginctl terminate-user "$1" 2>/dev/null; }
IS_LOCKED="stays, locked (usermod --expiredate '' NAME opens it again)"
# ACCOUNT: lets nobody log in, and neither cron nor at start anything.
lock_account() { usermod --expiredate 1 "$1" && linger "$1"; }
# ACCOUNT. Sets said.
delete_account() { said=$(userdel "$1" 2>&1) || stays "the account $1: $said; it $IS_LOCKED"; }

# ACCOUNT: its programs, without those that a login starts.
works() {
  brought='systemd|\(sd-pam\)|dbus-daemon|dbus-broker.*|sshd.*|sftp-server|(ssh|gpg)-agent'
  # shellcheck disable=SC2009  # pgrep prints the whole command line
  ps -o comm= -u "$1" | grep -vxE "$brought" | sort -u
}

# ACCOUNT HOME: its files that are neither in its home nor in a temporary folder. Fails if that takes
# too long, or is too much. A line break in a name is shown as `?`: it must not begin another name.
# shellcheck disable=SC2016  # another shell expands it
elsewhere() {
  relay 600 8388608 sh -c 'find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run \
    -o -path /tmp -o -path /var/tmp -o -path /var/lib/labfab -o -path "$1" -o -path "$2" \) -prune \
    -o -user "$3" -print0 -prune 2>/dev/null | tr "\n\000" "?\n"' sh "$BACKUPS" "$2" "$1" </dev/null
}

# VERB ACCOUNT: systemctl VERB for JupyterLab's unit.
service() {
  ! account_exists "$2" || run_within 60 65536 "$2" env XDG_RUNTIME_DIR="/run/user/$(id -u "$2")" \
    systemctl --user "$1" jupyter.service </dev/null || :
}

LETSENCRYPT=/etc/letsencrypt

# Removes our certificate, and what else certbot made on the way if no other certificate uses it.
# Sets said.
lineage() {
  if [ -e "$LETSENCRYPT/renewal/labfab.conf" ] && command -v certbot >/dev/null; then
    said=$(certbot delete -n --cert-name labfab 2>&1) || { echo "$said" >&2; return 1; }
  fi
  rm -rf "$LETSENCRYPT/live/labfab" "$LETSENCRYPT/archive/labfab" \
    "$LETSENCRYPT/renewal/labfab.conf"
  [ -e "$KEPT.letsencrypt" ] || return 0
  for conf in "$LETSENCRYPT"/renewal/*.conf; do
    [ ! -e "$conf" ] || grep -qxF "$conf" "$KEPT.letsencrypt" || return 0
  done
  find "$LETSENCRYPT" -depth 2>/dev/null | grep -vxFf "$KEPT.letsencrypt" |
    while read -r path; do
      if [ -d "$path" ] && [ ! -L "$path" ]; then rmdir "$path" 2>/dev/null; continue; fi
      case ${path#"$LETSENCRYPT"/} in
        accounts/* | csr/* | keys/* | live/README) rm -f "$path" ;;
        options-ssl-apache.conf | ssl-dhparams.pem | .updated-*) rm -f "$path" ;;
      esac
    done
}

# Removes certbot. A purge deletes all of /etc/letsencrypt, so what is not ours is put back.
certbot_packages() {
  for conf in "$LETSENCRYPT"/renewal/*.conf; do
    [ ! -e "$conf" ] || grep -qx "installed certbot" "$KEPT.packages" ||
      stays "the package certbot: it renews $(basename "$conf" .conf)"
  done
  rm -rf "$KEPT.aside" && { [ ! -d "$LETSENCRYPT" ] || cp -a "$LETSENCRYPT" "$KEPT.aside"; } ||
    return 1
  rm -f "$KEPT.aside/cli.ini"
  find "$KEPT.aside" -depth -type d -empty -delete 2>/dev/null
  trap put_letsencrypt_back EXIT
  packages
}

put_letsencrypt_back() {
  [ -d "$KEPT.aside" ] || return 0
  mkdir -p "$LETSENCRYPT" && cp -an "$KEPT.aside/." "$LETSENCRYPT/"
  rm -rf "$KEPT.aside"
}
certbot_snap() { ! command -v snap >/dev/null || snap remove --purge certbot; }
# The file of the unit follows; what ran before stays in use until then.
reload_units() { systemctl daemon-reload; }
timer_off() {  # UNIT
  [ ! -e "/etc/systemd/system/timers.target.wants/$1" ] || systemctl disable -q --now "$1"
}

# Packages ---------------------------------------------------------------------------------------

status() { dpkg-query -W -f '${db:Status-Status}\n' "$1" 2>/dev/null | head -n 1; }  # PACKAGE

# OPTION PACKAGE...: waits while another apt is at work. Sets said.
dpkg_now() {
  for _ in $(seq 60); do
    said=$(DEBIAN_FRONTEND=noninteractive SUDO_FORCE_REMOVE=yes dpkg "$@" 2>&1) && return
    printf '%s' "$said" | grep -q 'lock' || break
    sleep 5
  done
  printf '%s\n' "$said" | tail -n 3 >&2
}

# Removes the packages that the installation added, unless other packages need them.
# Sets new, old (packages that had been removed except for their configuration), left.
packages() {
  [ -e "$KEPT.packages" ] && [ -e "$KEPT.debs" ] || return 0
  new='' old=''
  # shellcheck disable=SC2013  # names of packages have no blanks
  for name in $(sed 's,.*/,,; s,_.*,,' "$KEPT.debs" | sort -u); do
    case $(status "$name") in not-installed | '') continue ;; esac
    if grep -qxF "config-files $name" "$KEPT.packages"; then old="$old $name"
    elif ! grep -qxF "installed $name" "$KEPT.packages"; then new="$new $name"; fi
  done
  case "$new " in
    *' apache2 '*)
      [ -n "$FORCE" ] || [ -z "$(sites)" ] ||
        stays "Apache: it serves $(sites) by now (--force removes it all the same)"
      ;;
  esac
  # shellcheck disable=SC2086  # a list
  [ -z "$old" ] || dpkg_now --remove $old
  # shellcheck disable=SC2086  # a list
  [ -z "$new" ] || dpkg_now --purge $new
  left=$(for name in $new $old; do
    [ "$(status "$name")" != installed ] || printf ' %s' "$name"
  done)
  [ -z "$left" ] || stays "the packages$left: other packages need them"
}

sites() {  # the sites that somebody else has enabled, on one line
  # shellcheck disable=SC2010  # the names are only shown
  ls /etc/apache2/sites-enabled 2>/dev/null |
    grep -vxE '(000-default|default-ssl|zz-labfab)\.conf' | xargs
}

# FILE: restores fail2ban's jail, or removes it if it is new.
jail() {
  if [ -e "$(kept "$1")" ]; then restore "$1"; else rm -f "$1"; fi
  ! fail2ban-client ping >/dev/null 2>&1 || fail2ban-client reload sshd >/dev/null || :
}

firewall() {
  command -v ufw >/dev/null || return 0
  ufw "$@" && restore_no_rules /etc/ufw /usr/share/ufw/iptables
}

# FOLDER STOCK: ufw writes its files of rules in its own words with the first rule, and leaves them
# so when there is no rule any more. Sets file, copy.
restore_no_rules() {
  for file in user.rules user6.rules; do
    copy=$(kept "$1/$file")
    if cmp -s "$copy" "$2/$file" && ! grep -q '^### tuple' "$1/$file"; then
      install_copy "$copy" "$1/$file"
    fi
  done
}

firewall_off() {
  firewall --force disable
  [ ! -e "$(kept /etc/default/ufw)" ] || ! command -v ufw >/dev/null ||
    install_copy "$(kept /etc/default/ufw)" /etc/default/ufw
}

