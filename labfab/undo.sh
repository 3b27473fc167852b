# The ways back of single changes, as the journal names them. Called with KEPT (what the journal kept for this change:
# the file itself, or KEPT.kept/ with / as % in the names) and FORCE (yes: also what was changed by hand since).
# `labfab-stays: …` tells why something is left as it is, `labfab-note: …` what one should know.

BACKUPS=/var/backups/labfab

stays() { echo "labfab-stays: $*"; exit 0; }
note() { echo "labfab-note: $*"; }
kept() { printf '%s.kept/%s' "$KEPT" "$(printf %s "$1" | tr / %)"; }
content() { if [ -L "$1" ]; then echo "$1.content"; else echo "$1"; fi; }
as_owner() { if [ "$owner" = root ] || [ "$owner" = UNKNOWN ]; then "$@"; else runuser -u "$owner" -- "$@"; fi; }

like() {  # copy path: with its mode and owner; a link could have been put there to lead root elsewhere
  if [ -L "$1" ] || [ -L "$2" ]; then return 0; fi
  owner=$(stat -c %U "$2")
  as_owner chmod "$(stat -c %a "$1")" "$2" && chown -h --reference "$1" "$2"
}

sum() {  # file: what tells one content from another
  if [ -L "$1" ]; then readlink "$1"
  elif [ -f "$1" ]; then sha256sum <"$1" | cut -d' ' -f1
  else echo none; fi
}

save() { mkdir -p -m 700 "$BACKUPS" && cp -a "$1" "$BACKUPS/$(basename "$1")-$(date +%Y%m%dT%H%M%S)"; }

# An account's file is written by that account: root could be led elsewhere by a link.
bring() {  # copy file [owner]: the copy takes the file's place
  owner=${3:-$(stat -c %U "$1")}
  if [ "$owner" = root ] || [ "$owner" = UNKNOWN ]; then
    rm -f "$2.labfab-new" && cp -a "$1" "$2.labfab-new" && mv -fT "$2.labfab-new" "$2"
  elif [ -L "$1" ]; then
    as_owner sh -c 'rm -f "$1.labfab-new"; ln -s "$2" "$1.labfab-new" && mv -fT "$1.labfab-new" "$1"' sh "$2" "$(readlink "$1")"
  else
    as_owner sh -c 'umask 077; rm -f "$1.labfab-new"; cat >"$1.labfab-new" && chmod "$2" "$1.labfab-new" &&
      mv -fT "$1.labfab-new" "$1"' sh "$2" "$(stat -c %a "$1")" <"$1"
  fi
}

file() {  # path sha256 command...: as it was; where somebody changed it since, the command instead
  path=$1 written=$2 now=$(sum "$1"); shift 2
  if [ "$now" = "$(sum "$KEPT")" ]; then
    [ ! -f "$KEPT" ] || like "$KEPT" "$path"
    return
  fi
  if [ "$now" != "$written" ]; then
    if [ -n "$*" ]; then "$@"; return; fi
    [ -n "$FORCE" ] || stays "$path was changed by hand since, so it is kept (--force takes it back all the same)"
    [ "$now" = none ] || { save "$path" && note "$path as you changed it is in $BACKUPS"; }
  fi
  if [ -e "$KEPT" ] || [ -L "$KEPT" ]; then bring "$KEPT" "$path"; else rm -f "$path"; fi
}

lines() {  # file line...: without these lines; exactly as it was where nothing else differs
  file=$1 real=$1; shift
  [ -f "$file" ] || return 0
  owner=$(stat -c %U "$file")
  if [ -L "$file" ]; then  # a dotfile that is kept elsewhere: that is what changes, and the link stays
    real=$(readlink -f "$file") owner=$(stat -c %U "$(dirname "$file")")
    [ "$(stat -c %U "$real")" = "$owner" ] || stays "$file leads to $real, which is not of $owner: take the lines of labfab out there"
  fi
  before=$KEPT; [ -e "$before" ] || [ -L "$before" ] || before=$(kept "$file")
  without "$real" "$@" && put_back "$before" "$file" "$real" "$owner"
  code=$?
  rm -f "$KEPT.new" "$KEPT.lines" "$KEPT.now"
  return $code
}

without() {  # file line...: KEPT.new is the file without them, read with no more rights than its account has
  from=$1; shift
  rm -f "$KEPT.new" "$KEPT.now" && printf '%s\n' "$@" >"$KEPT.lines" && as_owner cat "$from" >"$KEPT.now" || return 1
  grep -vxFf "$KEPT.lines" "$KEPT.now" >"$KEPT.new" || [ ! -s "$KEPT.new" ] || return 1
  chmod "$(stat -c %a "$from")" "$KEPT.new" && chown "$(stat -c %u:%g "$from")" "$KEPT.new"
}

put_back() {  # before file real owner: what KEPT.new holds, or the file of before where that says the same
  same=$(content "$1")
  if [ -e "$same" ] && [ "$(cat "$same")" = "$(cat "$KEPT.new")" ]; then
    [ "$2" != "$3" ] || same=$1
    bring "$same" "$3" "$4"
  elif [ "$2" = "$3" ] && [ ! -e "$same" ] && [ ! -s "$KEPT.new" ]; then as_owner rm -f "$2"
  else bring "$KEPT.new" "$3" "$4"; fi
}

restore() { bring "$(kept "$1")" "$1"; }
mode() { [ ! -e "$1" ] || like "$(kept "$1")" "$1"; }

folder() {  # path: gone if it was not there and is empty, else with its mode and owner of before
  [ -d "$1" ] || return 0
  if [ -d "$(kept "$1")" ]; then like "$(kept "$1")" "$1"
  else rmdir "$1" 2>/dev/null || note "$1 stays, for something is in it"; fi
}

added() {  # folder: what somebody made in it, for an installation alone has neither
  [ -d "$1" ] && [ ! -L "$1" ] || return 0
  if [ -n "$(find "$1/envs" -mindepth 1 -maxdepth 1 ! -name '.conda_envs_dir_test' 2>/dev/null)" ]; then echo environments
  elif find "$1" \( -name '*.egg-link' -o -name '__editable__*' \) -print | grep -q . ||
    find "$1" -name direct_url.json -exec grep -lE '"editable": *true' {} + | grep -q .; then echo 'editable installs'; fi
}

tree() {  # path: gone with all that is in it, unless it was there before; moved where somebody made something in it
  if [ -e "$(kept "$1")" ] || [ -L "$(kept "$1")" ]; then note "$1 was there before and stays"; return; fi
  found=$(added "$1")
  if [ -z "$found" ]; then rm -rf "$1"; return; fi
  place=$BACKUPS/$(basename "$1")-$(date +%Y%m%dT%H%M%S)
  mkdir -p -m 700 "$BACKUPS" && mv -T "$1" "$place" && note "$1 has $found that labfab did not make: it is now $place on the host"
}

# Certificates -----------------------------------------------------------------------------------

next_key() {  # folder: what was made there and not used
  [ -d "$1" ] || return 0
  owner=$(stat -c %U "$1")
  as_owner rm -f "$1/next-key.pem" "$1/next-cert.pem" "$1/next-ca.pem"
}

certificate() {  # folder sha256: key, certificate and CA of before; with the certificate, its key was replaced
  [ -d "$1" ] || return 0
  now=$(sum "$1/cert.pem")
  if [ "$now" != "$2" ] && [ "$now" != "$(sum "$(kept "$1/cert.pem")")" ]; then
    [ -n "$FORCE" ] || stays "$1/cert.pem was changed by hand since, so it is kept (--force takes it back all the same)"
    for name in key cert ca; do [ ! -e "$1/$name.pem" ] || save "$1/$name.pem"; done
    note "the files in $1 as you changed them are in $BACKUPS"
  fi
  for name in key cert ca; do
    owner=$(stat -c %U "$1")
    if [ -e "$(kept "$1/$name.pem")" ]; then bring "$(kept "$1/$name.pem")" "$1/$name.pem"; else as_owner rm -f "$1/$name.pem"; fi
  done
  [ "$1" != /etc/labfab/tls ] || ! systemctl -q is-active apache2 || systemctl reload apache2 ||
    note "Apache did not take the certificate of before: see systemctl status apache2"
}

handed() {  # folder: key, certificate and CA of before, as the account writes them
  [ -d "$1" ] || return 0
  for name in key cert ca; do
    owner=$(stat -c %U "$1")
    if [ -e "$(kept "$1/$name.pem")" ]; then bring "$(kept "$1/$name.pem")" "$1/$name.pem"; else as_owner rm -f "$1/$name.pem"; fi
  done
}

LETSENCRYPT=/etc/letsencrypt

lineage() {  # certbot's certificate for us, and what else it made on the way, unless others came to use it
  if [ -e $LETSENCRYPT/renewal/labfab.conf ] && command -v certbot >/dev/null; then
    said=$(certbot delete -n --cert-name labfab 2>&1) || { echo "$said" >&2; return 1; }
  fi
  rm -rf $LETSENCRYPT/live/labfab $LETSENCRYPT/archive/labfab $LETSENCRYPT/renewal/labfab.conf
  [ -e "$KEPT.letsencrypt" ] || return 0
  for conf in $LETSENCRYPT/renewal/*.conf; do
    [ ! -e "$conf" ] || grep -qxF "$conf" "$KEPT.letsencrypt" || return 0
  done
  find $LETSENCRYPT -depth 2>/dev/null | grep -vxFf "$KEPT.letsencrypt" | while read -r path; do
    if [ -d "$path" ] && [ ! -L "$path" ]; then rmdir "$path" 2>/dev/null; continue; fi
    case $path in
      $LETSENCRYPT/accounts/* | $LETSENCRYPT/csr/* | $LETSENCRYPT/keys/* | $LETSENCRYPT/live/README) rm -f "$path" ;;
      $LETSENCRYPT/options-ssl-apache.conf | $LETSENCRYPT/ssl-dhparams.pem | $LETSENCRYPT/.updated-*) rm -f "$path" ;;
    esac
  done
}

certbot_packages() {  # to purge certbot is to lose all of /etc/letsencrypt, so what is not ours is put back
  for conf in $LETSENCRYPT/renewal/*.conf; do
    [ ! -e "$conf" ] || grep -qx "installed certbot" "$KEPT.packages" || stays "the package certbot: it renews $(basename "$conf" .conf)"
  done
  rm -rf "$KEPT.aside" && { [ ! -d $LETSENCRYPT ] || cp -a $LETSENCRYPT "$KEPT.aside"; } || return 1
  rm -f "$KEPT.aside/cli.ini"
  find "$KEPT.aside" -depth -type d -empty -delete 2>/dev/null
  trap put_letsencrypt_back EXIT
  packages
}

put_letsencrypt_back() { [ ! -d "$KEPT.aside" ] || { mkdir -p $LETSENCRYPT && cp -an "$KEPT.aside/." $LETSENCRYPT/; rm -rf "$KEPT.aside"; }; }
certbot_snap() { ! command -v snap >/dev/null || snap remove --purge certbot; }
timer_off() { [ ! -e "/etc/systemd/system/timers.target.wants/$1" ] || systemctl disable -q --now "$1"; }

conda_shell() {  # account folder
  [ ! -x "$(home_of "$1")/$2/bin/conda" ] || runuser -u "$1" -- "$(home_of "$1")/$2/bin/conda" init -q --reverse bash
  was=$(kept "$(home_of "$1")/.bashrc") now=$(home_of "$1")/.bashrc
  [ -L "$now" ] || [ -L "$was" ] || [ ! -e "$was" ] || [ "$(cat "$was")" != "$(cat "$now")" ] || bring "$was" "$now"
}

# Packages ---------------------------------------------------------------------------------------

status() { dpkg-query -W -f '${db:Status-Status}\n' "$1" 2>/dev/null | head -n 1; }

dpkg_now() {  # option package...: waits while another apt works
  for _ in $(seq 60); do
    said=$(DEBIAN_FRONTEND=noninteractive SUDO_FORCE_REMOVE=yes dpkg "$@" 2>&1) && return
    printf '%s' "$said" | grep -q 'lock' || break
    sleep 5
  done
  printf '%s\n' "$said" | tail -n 3 >&2
}

packages() {  # remove those that the installation added, as far as nothing else needs them
  [ -e "$KEPT.packages" ] && [ -e "$KEPT.debs" ] || return 0
  new='' old=''  # old ones had been removed before, but for their configuration
  for name in $(sed 's,.*/,,; s,_.*,,' "$KEPT.debs" | sort -u); do
    case $(status "$name") in not-installed | '') continue ;; esac
    if grep -qxF "config-files $name" "$KEPT.packages"; then old="$old $name"
    elif ! grep -qxF "installed $name" "$KEPT.packages"; then new="$new $name"; fi
  done
  case "$new " in *' apache2 '*) [ -n "$FORCE" ] || [ -z "$(sites)" ] || stays "Apache: it serves $(sites) by now (--force removes it all the same)" ;; esac
  [ -z "$old" ] || dpkg_now --remove $old
  [ -z "$new" ] || dpkg_now --purge $new
  left=$(for name in $new $old; do [ "$(status "$name")" != installed ] || printf ' %s' "$name"; done)
  [ -z "$left" ] || stays "the packages$left: other packages need them"
}

sites() { ls /etc/apache2/sites-enabled 2>/dev/null | grep -vxE '(000-default|default-ssl|zz-labfab)\.conf' | xargs; }  # of somebody

firewall() { command -v ufw >/dev/null || return 0; ufw "$@"; }

firewall_off() {
  firewall --force disable
  [ ! -e "$(kept /etc/default/ufw)" ] || ! command -v ufw >/dev/null || bring "$(kept /etc/default/ufw)" /etc/default/ufw
}

# Accounts ---------------------------------------------------------------------------------------

there() { getent passwd "$1" >/dev/null; }
home_of() { getent passwd "$1" | cut -d: -f6; }

old_backups() {  # useradd and its kin keep a copy of each of their files
  for name in passwd shadow group gshadow subuid subgid; do
    if [ -e "$(kept "/etc/$name-")" ]; then bring "$(kept "/etc/$name-")" "/etc/$name-"; else rm -f "/etc/$name-"; fi
  done
}

group() { ! there "$1" || gpasswd --delete "$1" "$2" >/dev/null || return 1; old_backups; }

password() {  # account: the field of before, be it locked or empty
  line=$(grep "^$1:" "$(kept /etc/shadow)")
  if there "$1" && [ -n "$line" ]; then
    changed=$(printf %s "$line" | cut -d: -f3)
    printf '%s:%s\n' "$1" "$(printf %s "$line" | cut -d: -f2)" | chpasswd -e && chage -d "${changed:--1}" "$1" || return 1
  fi
  old_backups
}

linger() { [ ! -e "/var/lib/systemd/linger/$1" ] || loginctl disable-linger "$1"; }

session() {  # account log: end JupyterLab's session
  ! there "$1" || ! command -v tmux >/dev/null || runuser -u "$1" -- tmux kill-session -t =jupyter 2>/dev/null
  [ -e "$(kept "$2")" ] || rm -f "$2"
}

jobs() {  # account: end its notebooks that run; what they wrote is the account's, and stays
  there "$1" || return 0
  pkill -TERM -u "$1" -f '/\.local/share/labfab/job\.py [0-9]+$'
  wait_for_end pgrep -u "$1" -f '/\.local/share/labfab/job\.py [0-9]+$'
}

service() {  # verb account: of JupyterLab's unit
  ! there "$2" || runuser -u "$2" -- env XDG_RUNTIME_DIR="/run/user/$(id -u "$2")" systemctl --user "$1" jupyter.service || :
}

works() {  # account: its programs but for those that a login brings along
  ps -o comm= -u "$1" | grep -vxE 'systemd|\(sd-pam\)|dbus-daemon|dbus-broker.*|sshd.*|sftp-server|(ssh|gpg)-agent' | sort -u
}

wait_for_end() { for _ in $(seq 25); do [ -n "$("$@")" ] || return 0; sleep 0.2; done; }

elsewhere() {  # account home: a file of it that is not in its home, nor where things do not last
  find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /var/tmp -o -path /var/lib/labfab \
    -o -path "$BACKUPS" -o -path "$2" \) -prune -o -user "$1" -print -quit 2>/dev/null
}

holds_data() {  # home: whether there is more than came with the account and programs write by themselves
  [ -d "$1" ] && cd "$1" && find . \( -path ./.cache -o -path ./.local/state -o -path ./.local/share/jupyter/runtime \
    -o -path ./.local/share/jupyter/nbsignatures.db -o -path ./.local/share/jupyter/notebook_secret -o -path ./.jupyter/lab.log \
    -o -path ./.jupyter/migrated -o -path ./.sudo_as_admin_successful \) -prune -o ! -type d -print |
    while read -r name; do cmp -s "$name" "/etc/skel/$name" || echo "$name"; done | grep -q .
}

account() {  # name: gone when nothing of it is left; a home with data is moved, never deleted
  if there "$1"; then
    home=$(home_of "$1") uid=$(id -u "$1")
    wait_for_end works "$1"
    busy=$(works "$1" | tr '\n' ' ')
    [ -z "$busy" ] || [ -n "$FORCE" ] || stays "the account $1 still runs ${busy% }: end that, or --force"
    other=$(elsewhere "$1" "$home")
    [ -z "$other" ] || stays "the account $1 owns $other: move such files or give them to somebody else"
    loginctl terminate-user "$1" 2>/dev/null; pkill -KILL -u "$1"
    wait_for_end ps -o pid= -u "$1"
    if [ -d "$(kept "$home")" ]; then note "$home was there before and stays"
    elif holds_data "$home"; then
      place=$BACKUPS/$1-$(date +%Y%m%dT%H%M%S)
      mkdir -p -m 700 "$BACKUPS" && mv "$home" "$place" && note "$home is now $place on the host" || return 1
    else rm -rf "$home"; fi
    rm -rf "/tmp/tmux-$uid"
    userdel "$1" || return 1
  fi
  old_backups
}
