# Linux's own of facts.sh: how Debian and Ubuntu are read.

DROP_INS='/etc/ssh/sshd_config.d/*.conf'
DROP_IN=/etc/ssh/sshd_config.d/00-labfab.conf

system() {
  say kernel "$(uname -s)"
  say machine "$(uname -m)"
  ( . /etc/os-release 2>/dev/null; say id "$ID"; say version "$VERSION_ID"; say name "$PRETTY_NAME"; say like "$ID_LIKE" )
  say boot_id "$(boot 2>/dev/null)"
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

account_facts() {  # account
  say "$1.password" "$(passwd -S "$1" 2>/dev/null | cut -d' ' -f2)"
  [ -e "/var/lib/systemd/linger/$1" ] && say "$1.linger" yes
}

sshd_facts() {  # and what it says of itself, in $every
  [ -d /run/sshd ] || mkdir -p -m 755 /run/sshd
  say socket "$(systemctl is-active ssh.socket 2>/dev/null)"
  every=$(/usr/sbin/sshd -T 2>/dev/null)
  printf '%s\n' "$every" | sed -n 's/^port \(.*\)/port.\1=yes/p'
  grep -iEn '^[[:space:]]*Port[[:space:]=]' /etc/ssh/sshd_config $DROP_INS 2>/dev/null | grep -v "^$DROP_IN:" | blob other_ports
  ss -Hltnp 2>/dev/null | sed -nE -e 's/^LISTEN +[0-9]+ +[0-9]+ +[^ ]*:([0-9]+) .*users:\(\("([^"]*)".*/listening.\1=\2/p;t' \
    -e 's/^LISTEN +[0-9]+ +[0-9]+ +[^ ]*:([0-9]+) .*/listening.\1=another program/p'
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

lab_service() {
  own_file unit "$home" .config/systemd/user/jupyter.service "$LAB_USER"
  [ -e "$home/.config/systemd/user/default.target.wants/jupyter.service" ] || return 0
  say service yes
  bus=/run/user/$(id -u "$LAB_USER")
  [ -d "$bus" ] && say state "$(as_account "$LAB_USER" env XDG_RUNTIME_DIR="$bus" systemctl --user is-active jupyter.service 2>/dev/null)"
}

lab_listener() {  # owner, pid and holder of where JupyterLab is to listen
  if [ -n "$LAB_SOCKET" ]; then
    path=$home/$LAB_SOCKET
    socket=$(ss -Hlxpe 2>/dev/null | awk -v path="$path" '$5 == path' | head -n 1)
    [ -n "$socket" ] && say socket_mode "$(mode_of "$path")" && socket="$socket uid:$(stat -c %u "$path")"
  else
    socket=$(ss -Hltnpe "sport = :$LAB_PORT" 2>/dev/null | head -n 1)
  fi
  [ -n "$socket" ] || return 0
  # The kernel tells whose a socket is even where it hides the process; root's carries no uid.
  uid=$(printf '%s' "$socket" | sed -nE 's/.* uid:([0-9]+).*/\1/p')
  owner=$(name_of "${uid:-0}")
  pid=$(printf '%s' "$socket" | sed -nE 's/.*pid=([0-9]+).*/\1/p')
  holder=$(printf '%s' "$socket" | sed -nE 's/.*users:\(\("([^"]*)".*/\1/p')
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

