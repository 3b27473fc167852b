# The sections of facts.sh that differ on Linux: how Debian and Ubuntu are read.

DROP_INS='/etc/ssh/sshd_config.d/*.conf'
DROP_IN=/etc/ssh/sshd_config.d/00-labfab.conf
PACKAGES='sudo ufw tmux curl openssl certbot python3-certbot-apache apache2 python3
  python3-distutils python3-pip-whl ca-certificates rsync iptables-persistent netfilter-persistent'

section_system() {
  fact kernel "$(uname -s)"
  fact machine "$(uname -m)"
  (
    # shellcheck disable=SC1091  # the host has it
    . /etc/os-release 2>/dev/null
    fact id "$ID"; fact version "$VERSION_ID"; fact name "$PRETTY_NAME"; fact like "$ID_LIKE"
  )
  fact boot_id "$(boot_id 2>/dev/null)"
  [ -e /run/reboot-required ] && fact reboot_required yes
  [ -d /run/systemd/system ] && fact systemd yes
  # Asking cloud-init takes half a second: do so only while its files do not say it is done.
  if [ -e /run/cloud-init/status.json ] && [ ! -e /run/cloud-init/result.json ]; then
    cloud-init status 2>/dev/null | grep -q running && fact settling yes
  fi
  fact login "${SUDO_USER:-$(id -un)}"
  # shellcheck disable=SC2086  # a list
  command -v dpkg-query >/dev/null &&
    dpkg-query -W -f '${db:Status-Status} ${Package}\n' $PACKAGES 2>/dev/null |
    while read -r status package; do [ "$status" = installed ] && fact "package.$package" yes; done
}

section_updates() {
  command -v apt-get >/dev/null || return 0
  stamp=0
  for seen in $(stat -c %Y /var/cache/labfab/updated \
    /var/lib/apt/periodic/update-success-stamp 2>/dev/null); do
    [ "$seen" -le "$stamp" ] || stamp=$seen
  done
  fact age $(( $(date +%s) - stamp ))
  for left in /var/lib/dpkg/updates/*; do [ ! -e "$left" ] || fact interrupted yes; done
  broken='half-installed|half-configured|unpacked|triggers-pending'
  grep -qE "^Status: .* ($broken)\$" /var/lib/dpkg/status && fact interrupted yes
  return 0
}

# The simulation takes 0.7 s, so its result is cached, with a checksum of what it depends on.
section_upgrades() {
  command -v apt-get >/dev/null || return 0
  cache=/var/cache/labfab
  made_from=$({
    echo "$APT_UPGRADE"
    stat -c '%n %Y %s' /var/lib/dpkg/status /var/lib/apt/lists/* /etc/apt/sources.list \
      /etc/apt/sources.list.d/* /etc/apt/preferences.d/* 2>/dev/null
  } | cksum)
  was=''
  [ ! -e $cache/verdict ] || read -r was <$cache/verdict
  if [ "$was" = "$made_from" ]; then
    sed 1d $cache/verdict
    return
  fi
  # shellcheck disable=SC2086  # its words
  if simulated=$(apt-get -s -o Debug::NoLocking=true $APT_UPGRADE 2>/dev/null); then
    # "Inst NAME [OLD] (NEW …)" is an upgrade, "Inst NAME (NEW …)" a new package.
    changes=$(printf '%s\n' "$simulated" | awk '
      $1 == "Inst" { kind = substr($3, 1, 1) == "[" ? "upgraded" : "new" }
      $1 == "Remv" { kind = "removed" }
      $1 == "Inst" || $1 == "Remv" { number++; names[kind] = names[kind] " " $2 }
      END {
        print "pending=" number + 0
        for (kind in names) print kind "=" substr(names[kind], 2)
      }')
    printf '%s\n' "$changes"
    mkdir -p $cache && printf '%s\n%s\n' "$made_from" "$changes" >$cache/verdict
  fi
}

section_power() { :; }  # servers do not sleep

account_facts() {  # ACCOUNT
  read -r _ state _ <<END
$(passwd -S "$1" 2>/dev/null)
END
  fact "$1.password" "$state"
  [ -e "/var/lib/systemd/linger/$1" ] && fact "$1.linger" yes
}

# ACCOUNT: where useradd would make its home.
new_home() {
  base=$(sed -n 's/^HOME=//p' /etc/default/useradd 2>/dev/null | tail -n 1)
  echo "${base:-/home}/$1"
}
# Jobs of at that belong to the number which useradd gives to the next account. Sets next.
jobs_of_next() {
  [ -d /var/spool/cron/atjobs ] || return 0
  next=$(people | awk -F: '$2 >= 1000 && $2 < 60000 && $2 > last { last = $2 }
    END { print last ? last + 1 : 1000 }')
  find /var/spool/cron/atjobs -maxdepth 1 -type f -uid "$next" 2>/dev/null
}
# ACCOUNT that is not there: a group of its name, with which useradd would make none; and keys that
# every new account gets. Sets skel.
new_account_facts() {
  ! getent group "$1" >/dev/null || fact "$1.left.group" yes
  skel=$(sed -n 's/^SKEL=//p' /etc/default/useradd 2>/dev/null | tail -n 1)
  skel=${skel:-/etc/skel}/.ssh/authorized_keys
  [ ! -s "$skel" ] || fact "$1.left.skel" "$skel"
}

# Whether the sudo that started this shell keeps its input: what it has open says so. Where it sends that
# to another machine, or a plugin takes it, only its settings do. Sets pid, above, seen, lines.
sudo_log_facts() {
  find_sudo_logs
  pid=$$ above=''
  while [ "${pid:-0}" -gt 1 ]; do
    above="$above /proc/$pid/fd"
    pid=$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$pid/status" 2>/dev/null)
  done
  # shellcheck disable=SC2086  # a list
  seen=$(find $above -maxdepth 1 \( -lname '*/stdin' -o -lname '*/ttyin' \) -printf '%l\n' \
    2>/dev/null | head -n 1)
  case $lines in
    *log_servers*log_[is]* | *log_[is]*log_servers* | *Plugin*) seen=${seen:-another place} ;;
  esac
  [ -z "$seen" ] || { fact sudoers.log "$seen"; fact sudoers.log_line "${lines%%"
"*}"; }
}

# fail2ban's jail for sshd: which ports it closes. Its files are read in this order, the last wins.
# shellcheck disable=SC2016  # awk's
JAIL='
/^[ \t]*\[/ { gsub(/[][ \t\r]/, ""); section = $0; next }
/^[ \t]*(enabled|port)[ \t]*[=:]/ && section ~ /^(DEFAULT|sshd)$/ {
  name = $0; sub(/[ \t]*[=:].*/, "", name); gsub(/[ \t]/, "", name)
  value = $0; sub(/^[^=:]*[=:][ \t]*/, "", value); sub(/[ \t\r]*$/, "", value)
  found[section, name] = value; seen[section, name] = 1
}
function last(name) { return seen["sshd", name] ? found["sshd", name] : found["DEFAULT", name] }
END { if (tolower(last("enabled")) ~ /^(true|yes|on|1)$/) print last("port") }'
jail_facts() {
  [ -d /etc/fail2ban ] && command -v fail2ban-client >/dev/null || return 0
  ports=$(cd /etc/fail2ban && for part in jail.conf jail.d/*.conf jail.local jail.d/*.local; do
    [ ! -f "$part" ] || { cat "$part"; echo; }
  done | awk "$JAIL")
  [ -z "$ports" ] || fact jail "$ports"
}

# The state of ssh.socket and ssh.service, as `systemctl show` prints it, one unit a paragraph.
# shellcheck disable=SC2016  # awk's
UNITS='
function told() {
  if (id == "ssh.socket") printf "socket=%s\n%s", state, ports
  if (id ~ /^ssh\./ && enabled ~ /^(enabled|generated)$/) print "boots." substr(id, 5) "=yes"
  id = state = ports = enabled = ""
}
/^UnitFileState=/ { enabled = substr($0, 15) }
/^Id=/ { id = substr($0, 4) }
/^ActiveState=/ { state = substr($0, 13) }
/^Listen=.*\(Stream\)/ {
  sub(/ \(Stream\).*/, ""); sub(/.*[:=]/, ""); ports = ports "socket_port." $0 "=yes\n"
}
/^$/ { told() }
END { told() }'
# How this login came in, as its connection says: the address and port that called, the address and
# port here. sudo drops it from the environment, a process above has it. Sets pid, door.
door=''
find_door() {
  [ -z "$door" ] || return 0
  pid=$$ door=${SSH_CONNECTION-}
  for _ in 1 2 3 4 5 6; do
    if [ -n "$door" ] || [ "${pid:-0}" -le 1 ]; then break; fi
    door=$(tr '\0' '\n' <"/proc/$pid/environ" | sed -n 's/^SSH_CONNECTION=//p' | head -n 1)
    pid=$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$pid/status")
  done 2>/dev/null
  case $door in *[!0-9A-Fa-f.:\ ]*) door='' ;; esac
}
login_facts() {
  find_door
  case ${door##* } in '' | *[!0-9]*) ;; *) fact login_port "${door##* }" ;; esac
  here=${door% *}
  case ${here##* } in '' | *[!0-9a-fA-F:.]*) ;; *) fact login_address "${here##* }" ;; esac
}

# Sets every: what sshd reports about itself.
sshd_facts() {
  jail_facts
  login_facts
  [ -d /run/sshd ] || mkdir -p -m 755 /run/sshd
  systemctl show ssh.socket ssh.service -p Id -p ActiveState -p UnitFileState -p Listen \
    2>/dev/null | awk "$UNITS"
  [ ! -e /etc/ssh/sshd_not_to_be_run ] || fact shut yes
  for generator in /etc /usr/local/lib /usr/lib /lib; do
    [ ! -x $generator/systemd/system-generators/sshd-socket-generator ] || fact generator yes
  done
  file streams /etc/systemd/system/ssh.socket.d/labfab.conf
  # A ListenAddress with a port of its own overrides Port; so does another file of ssh.socket.
  # shellcheck disable=SC2086  # a pattern of file names
  others=$({
    grep -iHEn '^[[:space:]]*(Port[[:space:]=]|ListenAddress[[:space:]=]+"?(\[.*\]|[^][:space:]:]+):[0-9])' \
      /etc/ssh/sshd_config $DROP_INS
    [ ! -e /etc/systemd/system/sockets.target.wants/ssh.socket ] ||
      grep -HEn '^[[:space:]]*ListenStream[[:space:]]*=[[:space:]]*[^[:space:]]' \
        /etc/systemd/system/ssh.socket /etc/systemd/system/ssh.socket.d/*.conf
  } 2>/dev/null | grep -vE "^($DROP_IN|/etc/systemd/system/ssh\.socket\.d/labfab\.conf):")
  [ -z "$others" ] || echo "$others" | base64_fact other_ports
  read -r first </proc/sys/net/ipv4/ip_unprivileged_port_start && fact first_unprivileged "$first"
  every=$(sshd_says root)
  sshd_option listenaddress
  while read -r address _; do
    case ${address##*:} in '' | *[!0-9]*) ;; *) fact "port.${address##*:}" yes ;; esac
  done <<END
$values
END
  file restarts /etc/systemd/system/ssh.service.d/labfab.conf
  sockets
  while read -r _ port uid pid; do
    [ -n "$port" ] || continue
    name_program "$pid" "$uid"
    fact "listening.$port" "$program"
  done <<END
$SOCKETS
END
}

# Which TCP ports each rule of ufw opens to everybody, as the words that delete the rule; empty if
# the rule opens several ports. A rule is one line:
# ### tuple ### action protocol port to port from [profile -] in [comment=hex]
RULES='
$2 == "tuple" && $4 ~ /^(allow|limit)(_|$)/ && $5 ~ /^(tcp|any)$/ && $6 ~ /^[0-9,]+$/ &&
$7 $8 $9 == "0.0.0.0/0any0.0.0.0/0" {
  end = $11 == "-" ? 12 : 10
  if ($end != "in") next
  action = $4; sub(/_/, " ", action)
  what = $11 == "-" ? $10 : $6 ($5 == "any" ? "" : "/" $5)
  count = split($6, ports, ",")
  words = count > 1 ? "" : action " " what " " $(end + 1)
  if (action ~ /^limit/) for (i = 1; i <= count; i++) print "limited." ports[i] "=yes"
  for (i = 1; i <= count; i++) rules[ports[i]] = rules[ports[i]] ";" words
}
END { for (port in rules) print "allowed." port "=" substr(rules[port], 2) }'

# The same for UDP, without the words.
# shellcheck disable=SC2016  # awk's
UDP_RULES='
$2 == "tuple" && $4 ~ /^(allow|limit)(_|$)/ && $5 ~ /^(udp|any)$/ && $6 ~ /^[0-9,]+$/ &&
$7 $8 $9 == "0.0.0.0/0any0.0.0.0/0" && ($10 == "in" || $12 == "in") {
  count = split($6, ports, ",")
  for (i = 1; i <= count; i++) print "allowed_udp." ports[i] "=yes"
}'
# Rules that let in or refuse some senders at a port, as the words that write them, in their order;
# and ranges of ports that are open to everybody.
# shellcheck disable=SC2016  # awk's
PARTIAL_RULES='
$2 != "tuple" || $4 !~ /^(allow|limit|deny|reject)(_|$)/ || $5 !~ /^(tcp|udp|any)$/ || $8 != "any" {
  next
}
{
  end = $11 == "-" ? 12 : 10; way = $end
  action = log_ = $4; sub(/_.*/, "", action); if (!sub(/^[a-z]*_/, "", log_)) log_ = ""
  everybody = $7 $9 ~ /^(0\.0\.0\.0\/0|::\/0)+$/ && way == "in" && action ~ /^(allow|limit)$/
  count = split($6, ports, ",")
  for (i = 1; i <= count; i++) if (everybody && ports[i] ~ /^[0-9]+:[0-9]+$/) {
    if ($5 != "udp") print "range." ports[i] "=yes"
    if ($5 != "tcp") print "range_udp." ports[i] "=yes"
  }
  if (everybody || $5 == "udp" || way !~ /^in(_[^!]*)?$/ || $6 !~ /^[0-9,]+$/) next
  words = action (way == "in" ? "" : " in on " substr(way, 4)) (log_ == "" ? "" : " " log_)
  if (end == 10 && $5 != "any") words = words " proto " $5
  words = words " from " any($9) " to " any($7) (end == 12 ? " app " $10 : " port " $6)
  for (i = 1; i <= count; i++) if (!seen[ports[i], words]++)
    rules[ports[i]] = rules[ports[i]] ";" words " " $(end + 1)
}
function any(address) { return address ~ /^(0\.0\.0\.0|::)\/0$/ ? "any" : address }
END { for (port in rules) print "partial." port "=" substr(rules[port], 2) }'
# KIND SOCKETS: what listens on other addresses than loopback.
reachable() {
  while read -r address port uid pid; do
    case $address in
      '' | 127.* | '[0000:0000:0000:0000:0000:0000:0000:0001]') continue ;;
      '[0000:0000:0000:0000:0000:FFFF:7F'*) continue ;;
    esac
    name_program "$pid" "$uid"
    fact "$1.$port" "$program"
  done <<END
$2
END
}

# Reports what `ufw status` would, without starting its Python: whether its chains are loaded, and
# its settings.
section_firewall() {
  sockets
  reachable open "$SOCKETS"
  reachable open_udp "$UDP"
  refuses=
  if command -v ufw >/dev/null; then ufw_facts; fi
  if [ -z "$refuses" ]; then
    other_firewalls
    traffic
  fi
}

# Sets refuses: whether it is on and refuses what no rule lets in.
ufw_facts() {
  iptables -S ufw-user-input >/dev/null 2>&1 && refuses=yes && fact active yes
  policies=$(grep '^DEFAULT_[A-Z]*_POLICY=' /etc/default/ufw 2>/dev/null)
  for line in $policies; do
    case $line in
      *DROP*) policy=deny ;; *REJECT*) policy=reject ;; *ACCEPT*) policy=allow ;; *) continue ;;
    esac
    case $line in
      DEFAULT_INPUT_*) fact incoming "$policy"; [ "$policy" != allow ] || refuses= ;;
      DEFAULT_FORWARD_*) fact forward "$policy" ;;
    esac
  done
  # ufw shows no rules while it is off, so read them from its file.
  awk "$RULES" /etc/ufw/user.rules 2>/dev/null
  awk "$UDP_RULES" /etc/ufw/user.rules 2>/dev/null
  cat /etc/ufw/user.rules /etc/ufw/user6.rules 2>/dev/null | awk "$PARTIAL_RULES"
}

# Units that load rules, whoever wrote these.
LOADERS='firewalld nftables netfilter-persistent shorewall shorewall6 ferm firehol
  arno-iptables-firewall csf lfd'
# shellcheck disable=SC2016  # awk's
IN_FORCE='
function told() { if (on) print "loads." id "=yes"; on = 0 }
/^Id=/ { id = substr($0, 4); sub(/\.service$/, "", id) }
/^ActiveState=(active|activating|reloading)$/ || /^UnitFileState=enabled/ { on = 1 }
/^$/ { told() }
END { told() }'
# What Debian has in nftables.conf refuses nothing.
STOCK='(#.*|flush ruleset|table inet filter \{|chain (input|forward|output) \{|\}|'
STOCK="$STOCK"'type filter hook (input|forward|output) priority (filter|0); *(policy accept;)?)?'
# What else filters packets here: units that load rules, and the rules of the kernel (4: IPv4, 6: IPv6,
# n: nftables).
other_firewalls() {
  # shellcheck disable=SC2046,SC2086  # lists
  systemctl show $(printf '%s.service ' $LOADERS) -p Id -p ActiveState -p UnitFileState \
    2>/dev/null | awk "$IN_FORCE"
  ! grep -qsvxE "[[:space:]]*${STOCK}[[:space:]]*" /etc/nftables.conf || fact nftables_conf yes
  rules=$({
    iptables-save | sed -n '/^[-*:]/s/^/4 /p'
    ip6tables-save | sed -n '/^[-*:]/s/^/6 /p'
    if [ -s /proc/net/ip_tables_names ]; then
      iptables-legacy-save | sed -n '/^[-*:]/s/^/4 /p'
    fi
    nft -t list ruleset | sed 's/^/n /'
  } 2>/dev/null | head -c 131072)
  [ -z "$rules" ] || printf '%s\n' "$rules" | base64_fact rules
}

# Whether this host forwards packets, between how many interfaces; and if this login came in through a
# tunnel that ends here, which one.
traffic() {
  forwards=$(cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding 2>/dev/null)
  interfaces=0
  for place in /sys/class/net/*/flags; do
    read -r flags <"$place" && [ $((flags & 9)) != 1 ] || interfaces=$((interfaces + 1))
  done 2>/dev/null  # up, and not loopback
  case $forwards in *1*) fact forwards "$interfaces" ;; esac
  find_door
  [ -n "$door" ] || return 0
  # shellcheck disable=SC2086  # four words
  set -- $door
  fact login_from "$1"
  through=$(ip -o addr show to "$3" | sed -n 's/^[0-9]*: *\([^ @]*\).*/\1/p' | head -n 1)
  is_tunnel "$through" || through=$(interface_to "$1")
  # What leads to everybody is no tunnel that others call.
  if is_tunnel "$through" && [ "$through" != "$(interface_to default)" ]; then
    fact tunnel "$through"
    [ -e "/sys/class/net/$through/tun_flags" ] || return 0
    for place in $(find /proc/[0-9]*/fd -lname /dev/net/tun -printf '%h\n' | sort -u); do
      place=${place#/proc/}
      name_program "${place%/fd}" 0
      fact "tunnel_program.$program" yes
    done
  fi
} 2>/dev/null
interface_to() {  # ADDRESS or default
  if [ "$1" = default ]; then ip -o route show default; else ip -o route get "$1"; fi |
    sed -n 's/.* dev \([^ ]*\).*/\1/p' | head -n 1
}
# INTERFACE: the kernel says what it is: tun and tap have tun_flags, 512 is PPP, the rest are tunnels
# between addresses, and 65534 is without any: WireGuard, xfrm.
is_tunnel() {
  [ -n "$1" ] && [ -e "/sys/class/net/$1/type" ] || return
  [ ! -e "/sys/class/net/$1/tun_flags" ] || return 0
  read -r type <"/sys/class/net/$1/type"
  case $type in 512 | 768 | 769 | 776 | 778 | 823 | 65534) ;; *) return 1 ;; esac
}

# Reads home.
lab_service() {
  wants=.config/systemd/user/default.target.wants
  seen=$(at_home "$LAB_USER" "$home" file unit .config/systemd/user/jupyter.service \
    there service "$wants/jupyter.service")
  printf '%s\n' "$seen"
  case "
$seen" in *"
service="*) ;; *) return 0 ;; esac
  bus=/run/user/$(id -u "$LAB_USER")
  [ -d "$bus" ] && fact state "$(as_account "$LAB_USER" env XDG_RUNTIME_DIR="$bus" \
    systemctl --user is-active jupyter.service 2>/dev/null)"
}

# Who listens where JupyterLab should, and would get what is sent to 127.0.0.1. Reads home. Sets
# owner, pid, holder; they stay empty if nobody listens.
lab_listener() {
  found=
  if [ -n "$LAB_SOCKET" ]; then unix_listener; else tcp_listener; fi
  [ -n "$found" ] || return 0
  uid=${found% *} pid=${found#* }
  owner=$(name_of "$uid")
  [ -n "$pid" ] || return 0
  name_program "$pid" 0
  holder=$program
}
ANY_OF_BOTH=0000:0000:0000:0000:0000:0000:0000:0000
ANY_MAPPED=0000:0000:0000:0000:0000:FFFF:0000:0000
MAPPED_LOOPBACK=0000:0000:0000:0000:0000:FFFF:7F00:0001
tcp_listener() {  # reads LAB_PORT; sets found: uid and pid
  sockets
  # The kernel prefers the exact address, then any of IPv4, then any of both.
  for address in 127.0.0.1 "[$MAPPED_LOOPBACK]" 0.0.0.0 "[$ANY_MAPPED]" "[$ANY_OF_BOTH]"; do
    while read -r place port uid pid; do
      [ "$place $port" != "$address $LAB_PORT" ] || found="$uid $pid"
    done <<END
$SOCKETS
END
    [ -z "$found" ] || return 0
  done
}
# The path lies in the home of JupyterLab's account: only a socket of that account is taken for
# its own. Reads home, LAB_SOCKET, LAB_USER; sets found: uid and pid.
unix_listener() {
  path=$home/$LAB_SOCKET
  seen=$(as_account "$LAB_USER" stat -c '%a %u %F' "$path" 2>/dev/null)
  case $seen in *[!0-9]*' socket') ;; *) return 0 ;; esac
  read -r socket_mode found _ <<END
$seen
END
  case $socket_mode$found in *[!0-9]*) found=; return 0 ;; esac
  inodes=$(awk -v path="$path" '$4 == "00010000" && $8 == path { print $7 }' /proc/net/unix)
  holders=$(for inode in $inodes; do
    find /proc/[0-9]*/fd -lname "socket:\[$inode\]" -uid "$found" -printf '%h\n'
  done 2>/dev/null | sort -u -t / -k 3n)
  [ -n "$inodes" ] || { found=; return 0; }  # nobody listens there
  fact socket_mode "$socket_mode"
  holders=${holders#/proc/}
  found="$found ${holders%%/*}"
}

# Which certbot is installed, and what it keeps under the name labfab. Over SSH, root's PATH may
# lack /snap/bin.
section_acme() {
  program=$(PATH=$PATH:/snap/bin command -v certbot) && fact program "$program"
  command -v snap >/dev/null && fact snap yes
  file hook /etc/letsencrypt/renewal-hooks/deploy/labfab
  file renewal /etc/letsencrypt/renewal/labfab.conf
  file service /etc/systemd/system/labfab-certbot.service
  file lineage /etc/letsencrypt/live/labfab/fullchain.pem
  for unit in /etc/systemd/system/timers.target.wants/*certbot*.timer; do
    [ -e "$unit" ] && fact "renews.${unit##*/}" yes
  done
  return 0
}

# What Apache serves. apache.sh is only sent if Apache is to publish JupyterLab; otherwise report
# whether our site is still enabled.
section_proxy() {
  if [ "$PUBLISH" = apache ]; then apache_facts
  elif [ -e /etc/apache2/sites-enabled/zz-labfab.conf ]; then fact enabled yes; fi
}

