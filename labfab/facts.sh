# Reads a Debian or Ubuntu host and changes nothing of it. Each section is a function that prints `key=value`
# lines; what may hold several lines is base64. Called with: USERS (accounts of interest), LAB_USER, PREFIX (name
# of Python's folder in LAB_USER's home), LAB_PORT, LAB_URL, LAB_SOCKET, ROOT_DIR, PUBLISH, then the names of the sections.

# An account names its files and programs as it likes: a newline in a name would begin a fact, or a section, of its own.
say() {
  case $1$2 in *[[:cntrl:]]*) set -- "$(printf %s "$1" | tr '[:cntrl:]' '[?*]')" "$(printf %s "$2" | tr '[:cntrl:]' '[?*]')" ;; esac
  printf '%s=%s\n' "$1" "$2"
}
blob() { printf '%s=' "$1"; base64 | tr -d '\n'; echo; }
home_of() { getent passwd "$1" | cut -d: -f6; }
file() {  # key path: what a put needs to know
  [ -e "$2" ] || return 0
  say "$1.stat" "$(stat -c '%a %U' "$2")"
  [ -f "$2" ] && blob "$1.text" <"$2"
}

# What lies below a home is read by its account: a link there could lead root to what the account may not see.
as_account() {  # account command...
  name=$1; shift
  if [ "$name" != root ] && [ "$(id -u)" = 0 ]; then runuser -u "$name" -- "$@"; else "$@"; fi
}
leads_away() {  # key home path account: tell of a link that leads to what is not the account's
  real=$(readlink -f "$2/$3")
  [ "$real" != "$(readlink -f "$2")/$3" ] && [ "$(stat -c %U "$real")" != "$4" ] && say "$1" "$real"
}
own_file() {  # key home path account
  [ -e "$2/$3" ] || return 0
  leads_away "$1.link" "$2" "$3" "$4" && return 0
  say "$1.stat" "$(stat -L -c '%a %U' "$2/$3")"
  [ -f "$2/$3" ] && as_account "$4" cat "$2/$3" 2>/dev/null | blob "$1.text"
}
own_folder() {  # key home path account
  [ -d "$2/$3" ] || return 0
  leads_away "$1_link" "$2" "$3" "$4" || say "$1_stat" "$(stat -L -c '%a %U' "$2/$3")"
}

# Where sshd_config has no Match block all accounts are alike; else each that may log in is of interest.
# An Include of another folder may bring one in.
MATCH=$(grep -ishE '^[[:space:]]*(Match|Include)[[:space:]]' /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*.conf |
  grep -v 'Include /etc/ssh/sshd_config.d/\*.conf$')
if [ -n "$MATCH" ]; then
  USERS="$USERS $(getent passwd | awk -F: '$3 >= 1000 && $3 < 60000 && $7 !~ /(nologin|false)$/ { print $1 }')"
  USERS=$(printf '%s\n' $USERS | sort -u)
fi

system() {
  say kernel "$(uname -s)"
  say machine "$(uname -m)"
  ( . /etc/os-release 2>/dev/null; say id "$ID"; say version "$VERSION_ID"; say name "$PRETTY_NAME"; say like "$ID_LIKE" )
  say boot_id "$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)"
  [ -e /run/reboot-required ] && say reboot_required yes
  [ -d /run/systemd/system ] && say systemd yes
  say login "${SUDO_USER:-$(id -un)}"
  command -v dpkg-query >/dev/null &&
    dpkg-query -W -f '${db:Status-Status} ${Package}\n' sudo ufw tmux curl openssl certbot python3-certbot-apache apache2 python3-venv ca-certificates rsync 2>/dev/null |
    while read -r status package; do [ "$status" = installed ] && say "package.$package" yes; done
}

# The simulation costs 0.7 s, so its verdict is kept together with what it was made from.
updates() {
  command -v apt-get >/dev/null || return 0
  cache=/var/cache/labfab
  stamp=$(stat -c %Y $cache/updated /var/lib/apt/periodic/update-success-stamp 2>/dev/null | sort -n | tail -n 1)
  say age $(( $(date +%s) - ${stamp:-0} ))
  [ -n "$(ls -A /var/lib/dpkg/updates 2>/dev/null)" ] && say interrupted yes
  grep -qE '^Status: .* (half-installed|half-configured|unpacked|triggers-pending)$' /var/lib/dpkg/status && say interrupted yes
  made_from=$(stat -c '%n %Y %s' /var/lib/dpkg/status /var/lib/apt/lists/* /etc/apt/sources.list \
    /etc/apt/sources.list.d/* /etc/apt/preferences.d/* 2>/dev/null | cksum)
  if [ "$(sed -n 1p $cache/verdict 2>/dev/null)" = "$made_from" ]; then
    say pending "$(sed -n 2p $cache/verdict)"
    return
  fi
  if simulated=$(apt-get -s -o Debug::NoLocking=true --auto-remove dist-upgrade 2>/dev/null); then
    pending=$(printf '%s\n' "$simulated" | grep -cE '^(Inst|Remv) ')
    say pending "$pending"
    mkdir -p $cache && printf '%s\n%s\n' "$made_from" "$pending" >$cache/verdict
  fi
}

accounts() {
  for user in $USERS; do
    line=$(getent passwd "$user") || continue
    home=$(printf '%s' "$line" | cut -d: -f6)
    say "$user.uid" "$(id -u "$user")"
    say "$user.home" "$home"
    say "$user.shell" "$(printf '%s' "$line" | cut -d: -f7)"
    say "$user.groups" "$(id -Gn "$user")"
    say "$user.password" "$(passwd -S "$user" 2>/dev/null | cut -d' ' -f2)"
    [ -e "/var/lib/systemd/linger/$user" ] && say "$user.linger" yes
    [ -d "$home" ] && say "$user.home_stat" "$(stat -L -c '%a %U' "$home")"
    own_folder "$user.ssh" "$home" .ssh "$user"
    own_file "$user.keys" "$home" .ssh/authorized_keys "$user"
  done
  file sudoers /etc/sudoers.d/90-labfab
}

SSHD_OPTIONS='passwordauthentication|kbdinteractiveauthentication|permitemptypasswords|permitrootlogin|pubkeyauthentication|allowtcpforwarding'

ssh() {
  [ -x /usr/sbin/sshd ] || return 0
  [ -d /run/sshd ] || mkdir -p -m 755 /run/sshd
  say socket "$(systemctl is-active ssh.socket 2>/dev/null)"
  every=$(/usr/sbin/sshd -T 2>/dev/null)
  printf '%s\n' "$every" | sed -n 's/^port \(.*\)/port.\1=yes/p'
  for user in $USERS; do
    # Each call costs 80 ms; without a Match block they would all say the same.
    own=$every
    [ -z "$MATCH" ] || own=$(/usr/sbin/sshd -T -C "user=$user,host=h,addr=192.0.2.1" 2>/dev/null)
    printf '%s\n' "$own" | sed -nE "s/^($SSHD_OPTIONS) (.*)/$user.\1=\2/p"
  done
  file main /etc/ssh/sshd_config
  file drop_in /etc/ssh/sshd_config.d/00-labfab.conf
  grep -iEn '^[[:space:]]*Port[[:space:]=]' /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*.conf 2>/dev/null |
    grep -v '^/etc/ssh/sshd_config.d/00-labfab.conf:' | blob other_ports
  ss -Hltnp 2>/dev/null | sed -nE -e 's/^LISTEN +[0-9]+ +[0-9]+ +[^ ]*:([0-9]+) .*users:\(\("([^"]*)".*/listening.\1=\2/p;t' \
    -e 's/^LISTEN +[0-9]+ +[0-9]+ +[^ ]*:([0-9]+) .*/listening.\1=another program/p'
}

guard() {
  folder=/var/lib/labfab
  [ -e $folder/guard/armed ] && say armed "$(sed -n 2p $folder/guard/armed)"
  [ -e $folder/guard/reverting ] && say armed "$(sed -n 2p $folder/guard/reverting)"
  [ -e $folder/reverted ] || return 0
  say reverted "$(sed -n 3p $folder/reverted)"
  say reverted_by "$(sed -n 2p $folder/reverted)"
  say reverted_at "$(date -d "@$(sed -n 1p $folder/reverted)" '+%Y-%m-%d %H:%M:%S')"
}

# Which TCP ports each rule of ufw opens to everybody, as the words that delete it; where it opens several at once: none.
# A rule reads: ### tuple ### action protocol port to port from [profile -] in [comment=hex]
RULES='
$2 == "tuple" && $4 ~ /^(allow|limit)(_|$)/ && $5 ~ /^(tcp|any)$/ && $6 ~ /^[0-9,]+$/ && $7 $8 $9 == "0.0.0.0/0any0.0.0.0/0" {
  end = $11 == "-" ? 12 : 10
  if ($end != "in") next
  action = $4; sub(/_/, " ", action)
  what = $11 == "-" ? $10 : $6 ($5 == "any" ? "" : "/" $5)
  count = split($6, ports, ",")
  for (i = 1; i <= count; i++) rules[ports[i]] = rules[ports[i]] ";" (count > 1 ? "" : action " " what " " $(end + 1))
}
END { for (port in rules) print "allowed." port "=" substr(rules[port], 2) }'

firewall() {
  command -v ufw >/dev/null || return 0
  status=$(LC_ALL=C ufw status verbose 2>/dev/null)
  case $status in *"Status: active"*) say active yes ;; esac
  say incoming "$(printf '%s\n' "$status" | sed -nE 's/^Default: ([a-z]+) \(incoming\).*/\1/p')"
  # While ufw is off it shows no rules, so they are read where it keeps them.
  awk "$RULES" /etc/ufw/user.rules 2>/dev/null
  return 0
}

python() {
  home=$(home_of "$LAB_USER")
  [ -n "$home" ] || return 0
  [ -e "$home/.cache/labfab/$PREFIX.unfinished" ] && say unfinished yes
  [ -e "$home/.cache/labfab/$PREFIX.packages" ] && say half yes
  [ -f "$home/.bashrc" ] && grep -qs 'conda initialize' "$home/.bashrc" && say shell.conda yes
  [ -f "$home/.profile" ] && grep -qs "HOME/$PREFIX/bin" "$home/.profile" && say shell.venv yes
  [ -d "$home/$PREFIX" ] || return 0
  prefix=$home/$PREFIX
  say prefix "$prefix"
  [ -x "$prefix/bin/python" ] && say python yes
  [ -x "$prefix/bin/conda" ] && say conda yes
  [ -x "$prefix/bin/jupyter-lab" ] && say lab yes
  for info in "$prefix"/lib/python3*/site-packages/*.dist-info; do
    name=${info##*/}; name=${name%.dist-info}
    case $name in *-*) say "version.${name%-*}" "${name##*-}" ;; esac
  done
}

jupyter() {
  home=$(home_of "$LAB_USER")
  [ -n "$home" ] || return 0
  own_file config "$home" .jupyter/jupyter_server_config.json "$LAB_USER"
  own_folder folder "$home" .jupyter "$LAB_USER"
  for name in jupyter_server_config.py jupyter_notebook_config.py jupyter_notebook_config.json jupyter_lab_config.py; do
    [ -e "$home/.jupyter/$name" ] && say "other.$name" yes
  done
  case $ROOT_DIR in /*) root=$ROOT_DIR ;; *) root=$home/$ROOT_DIR ;; esac
  [ -d "$root" ] && say root_dir "$(stat -c '%U' "$root")"
  return 0
}

newer_than() { [ -n "$2" ] && [ -n "$(find "$1" -newer "/proc/$2/cmdline" 2>/dev/null)" ]; }

lab() {
  getent passwd "$LAB_USER" >/dev/null || return 0
  home=$(home_of "$LAB_USER")
  own_file unit "$home" .config/systemd/user/jupyter.service "$LAB_USER"
  if [ -e "$home/.config/systemd/user/default.target.wants/jupyter.service" ]; then
    say service yes
    bus=/run/user/$(id -u "$LAB_USER")
    [ -d "$bus" ] && say state "$(as_account "$LAB_USER" env XDG_RUNTIME_DIR="$bus" systemctl --user is-active jupyter.service 2>/dev/null)"
  fi
  command -v tmux >/dev/null && runuser -u "$LAB_USER" -- tmux has-session -t =jupyter 2>/dev/null && say session yes
  if [ -n "$LAB_SOCKET" ]; then
    path=$home/$LAB_SOCKET
    socket=$(ss -Hlxpe 2>/dev/null | awk -v path="$path" '$5 == path' | head -n 1)
    [ -n "$socket" ] && say socket_mode "$(stat -c %a "$path")" && socket="$socket uid:$(stat -c %u "$path")"
  else
    socket=$(ss -Hltnpe "sport = :$LAB_PORT" 2>/dev/null | head -n 1)
  fi
  config=$home/.jupyter/jupyter_server_config.json
  if [ -z "$socket" ]; then  # it may listen elsewhere, by a configuration of before
    pid=$(runuser -u "$LAB_USER" -- tmux list-panes -t =jupyter -F '#{pane_pid}' 2>/dev/null | head -n 1)
    newer_than "$config" "$pid" && say stale yes
    return 0
  fi
  # The kernel tells whose a socket is even where it hides the process; root's carries no uid.
  uid=$(printf '%s' "$socket" | sed -nE 's/.* uid:([0-9]+).*/\1/p')
  say owner "$(getent passwd "${uid:-0}" | cut -d: -f1)"
  pid=$(printf '%s' "$socket" | sed -nE 's/.*pid=([0-9]+).*/\1/p')
  say pid "$pid"
  say holder "$(printf '%s' "$socket" | sed -nE 's/.*users:\(\("([^"]*)".*/\1/p')"
  [ -n "$pid" ] && say since "$(ps -o lstart= -p "$pid" 2>/dev/null)"
  newer_than "$config" "$pid" && say stale yes
  say api "$(curl -sk -m 5 ${LAB_SOCKET:+--unix-socket "$path"} "${LAB_URL}api" 2>/dev/null | sed -nE 's/.*"version": *"([^"]*)".*/\1/p')"
}

# The certificate that JupyterLab or Apache serves. Of its private key only mode and owner are told.
https() {
  case $PUBLISH in
    https) base=$(home_of "$LAB_USER") tls=.jupyter/tls account=$LAB_USER other=/etc/labfab/tls ;;
    apache) base=/etc/labfab tls=tls account=root other=$(home_of "$LAB_USER")/.jupyter/tls ;;
    *) return 0 ;;
  esac
  [ -e "$other/key.pem" ] && say elsewhere yes
  [ -n "$base" ] && [ -d "$base/$tls" ] || return 0
  own_folder folder "$base" "$tls" "$account"
  own_file cert "$base" "$tls/cert.pem" "$account"
  own_file ca "$base" "$tls/ca.pem" "$account"
  [ -e "$base/$tls/key.pem" ] || return 0
  say key "$(stat -c '%a %U' "$base/$tls/key.pem")"
  public=$(as_account "$account" openssl pkey -in "$base/$tls/key.pem" -passin pass: -pubout 2>/dev/null)
  [ -n "$public" ] && [ "$public" = "$(as_account "$account" openssl x509 -in "$base/$tls/cert.pem" -noout -pubkey 2>/dev/null)" ] &&
    say pair yes
}

# Which certbot is there, and what it keeps under the name labfab. Root's PATH over SSH need not have /snap/bin.
acme() {
  program=$(PATH=$PATH:/snap/bin command -v certbot) && say program "$program"
  command -v snap >/dev/null && say snap yes
  file hook /etc/letsencrypt/renewal-hooks/deploy/labfab
  file renewal /etc/letsencrypt/renewal/labfab.conf
  file lineage /etc/letsencrypt/live/labfab/fullchain.pem
  for unit in /etc/systemd/system/timers.target.wants/*certbot*.timer; do
    [ -e "$unit" ] && say "renews.${unit##*/}" yes
  done
  return 0
}

# What Apache serves: apache.sh is sent along only where Apache is to publish JupyterLab. Elsewhere: whether it still does.
proxy() {
  if [ "$PUBLISH" = apache ]; then apache_facts
  elif [ -e /etc/apache2/sites-enabled/zz-labfab.conf ]; then say enabled yes; fi
}

for section in "$@"; do
  echo "[$section]"
  $section
done
true
