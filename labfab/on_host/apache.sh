# Apache: read what it serves, enable our site, and take that back.
#
# Sent only where it is needed: before facts.sh if PUBLISH is apache, before the change that enables
# the site, and after undo.sh for the ways back of that change.

OUR_SITE=/etc/apache2/sites-available/zz-labfab.conf
ENABLED_SITE=/etc/apache2/sites-enabled/zz-labfab.conf

# One fact for each site: ADDRESS:PORT, the name that Apache uses, file:line, and all names in the
# site's file, separated by tabs. Apache lists the other names of a site only if several sites share
# its address, so they are read from the file.
SITES='
function tell(address, name, place,  file, from, line, n, words, i, names) {
  gsub(/^\(|\)$/, "", place)
  file = place; sub(/:[0-9]+$/, "", file); from = place; sub(/.*:/, "", from)
  while ((getline line < file) > 0) {
    if (++n < from) continue
    if (tolower(line) ~ /<\/virtualhost/) break
    if (tolower(line) !~ /^[ \t]*server(name|alias)[ \t]/) continue
    gsub(/"/, "", line); i = split(line, words)
    for (; i > 1; i--) names = names " " words[i]
  }
  close(file)
  printf "vhost.%d=%s\t%s\t%s\t%s\n", count++, address, name, place, names
}
/ is a NameVirtualHost$/ { at = $1; next }
/^[^ ]+:[0-9*]+ +[^ ]+ \(.*:[0-9]+\)$/ {
  address = $1; name = $2; sub(/^[^(]*/, ""); tell(address, name, $0); next
}
/^ +port [0-9*]+ namevhost / { name = $4; sub(/^[^(]*/, ""); tell(at, name, $0) }'

# The section proxy of facts.sh. Sets files.
apache_facts() {
  [ -x /usr/sbin/apache2ctl ] || return 0
  file site $OUR_SITE
  [ -e $ENABLED_SITE ] && fact enabled yes
  systemctl is-active -q apache2 && fact running yes
  systemctl is-enabled -q apache2 2>/dev/null && fact boots yes
  fact version "$(/usr/sbin/apache2 -v | sed -nE 's,.*Apache/([0-9.]+).*,\1,p')"
  if ! found=$(LC_ALL=C apache2ctl -t -D DUMP_MODULES -D DUMP_VHOSTS -D DUMP_INCLUDES 2>&1); then
    LC_ALL=C apache2ctl -t 2>&1 | messages | base64_fact fault
    return 0
  fi
  printf '%s\n' "$found" | sed -nE 's/^ ([a-z0-9_]+)_module \((shared|static)\)$/module.\1=yes/p'
  printf '%s\n' "$found" | awk "$SITES"
  files=$(printf '%s\n' "$found" | sed -nE 's/^ *\((\*|[0-9]+)\) (.*)/\2/p' |
    grep -vxF $ENABLED_SITE)
  in_files -q '^[[:space:]]*Listen[[:space:]]+([^[:space:]]*:)?443([[:space:]]|$)' &&
    fact listens yes
  to_lab="(localhost|127\.0\.0\.1|\[::1\]):$LAB_PORT([^0-9]|\$)"
  hands=$(in_files -n "^[[:space:]]*[^#[:space:]].*$to_lab" | head -n 1 | cut -d: -f1,2)
  [ -n "$hands" ] && fact hands_on "$hands"
  [ -e $ENABLED_SITE ] && serves && fact serves yes
  return 0
}

# ARGUMENTS of grep: searches Apache's configuration. Reads files.
in_files() { printf '%s\n' "$files" | tr '\n' '\0' | xargs -0 grep -siE "$@" /dev/null; }

messages() {  # a filter: what Apache says, without the time and what it always says
  grep -vE '^(AH00558|Action |The Apache error log|Syntax OK)' | sed -E 's/^(\[[^]]*\] )+//'
}

# Succeeds if Apache serves the certificate that is on disk and has read our site since the site was
# last written.
serves() {
  cert=/etc/labfab/tls/cert.pem
  [ -z "$(find $OUR_SITE $cert -newer /run/apache2/apache2.pid 2>&1)" ] || return 1
  name=$(sed -nE 's/^ *ServerName +(.*)/\1/p' $OUR_SITE)
  case $name in  # SNI has no addresses
    \[*) set -- -noservername ;;
    *[!0-9.]*) set -- -servername "$name" ;;
    *) set -- -noservername ;;
  esac
  shown=$(timeout 5 openssl s_client -connect 127.0.0.1:443 "$@" </dev/null 2>/dev/null |
    openssl x509 -outform DER 2>/dev/null | sha256sum)
  [ "$shown" = "$(openssl x509 -in $cert -outform DER 2>/dev/null | sha256sum)" ]
}

# MODULE...: enables them and our site, and waits until Apache serves it.
# Apache may end at a reload even though its configuration passes the test: a file without a
# certificate, an address that the host does not have. Then all its sites are down, so our site is
# disabled immediately. Sets said, before.
site_on() {
  said=$({ [ $# = 0 ] || a2enmod -q "$@"; } 2>&1 && a2ensite -q zz-labfab 2>&1 &&
    apache2ctl -t 2>&1) || site_back "$@"
  log=/var/log/apache2/error.log
  before=$(cat $log 2>/dev/null | wc -l)
  systemctl reload-or-restart apache2
  for _ in $(seq 50); do
    ! serves || return 0
    systemctl is-active -q apache2 || break
    sleep 0.2
  done
  said=$(tail -n +$((before + 1)) $log | grep -E ':(emerg|alert|crit|error)\]|could not bind')
  site_back "$@"
}

# MODULE...: disables our site and these modules, restarts Apache, says why, and exits. Reads said.
site_back() {
  { a2dissite -q -p zz-labfab; [ $# = 0 ] || a2dismod -q -p -f "$@"; } >/dev/null 2>&1
  systemctl reset-failed apache2 2>/dev/null
  systemctl reload-or-restart apache2 || said="$said
and Apache does not start again: see systemctl status apache2 there"
  printf '%s\n' "${said:-Apache does not show the certificate at 443}" | messages >&2
  exit 1
}

# The ways back, for undo.sh: words of the journal, do not rename them -----------------------------

# MODULE...: disables our site, and these modules unless somebody uses them meanwhile.
# Sets needs, said.
apache_site() {
  [ -x /usr/sbin/a2dissite ] || return 0
  a2dissite -q -p zz-labfab >/dev/null 2>&1
  for module in "$@"; do
    [ -e "/etc/apache2/mods-enabled/$module.load" ] || continue
    needs=$(who_needs "$module")
    if [ -z "$needs" ] && a2dismod -q -p "$module" >/dev/null 2>&1; then continue; fi
    note "Apache's module $module stays: ${needs:-another module} needs it"
  done
  rm -f /var/log/apache2/labfab-access.log*
  systemctl is-active -q apache2 || return 0
  if said=$(apache2ctl -t 2>&1) && systemctl reload apache2; then return 0; fi
  printf '%s\n' "$said" | messages >&2
  return 1
}

# MODULE: a file that is newer than our change and uses the module. Sets directives.
who_needs() {
  case $1 in
    ssl) directives=SSL ;;
    proxy*) directives='Proxy|RewriteRule|<Proxy' ;;
    headers) directives='Header|RequestHeader' ;;
    *) return ;;
  esac
  for conf in /etc/apache2/sites-enabled/* /etc/apache2/conf-enabled/* /etc/apache2/apache2.conf; do
    newer=$(find "$conf" -newer "$KEPT.kept"; find -L "$conf" -newer "$KEPT.kept")
    [ -n "$newer" ] || continue
    if grep -qsiE "^[[:space:]]*($directives)" "$conf"; then echo "$conf"; return; fi
  done
}

# RUNNING BOOTS, as Apache was before, each yes or empty.
apache_service() {
  [ -x /usr/sbin/apache2ctl ] || return 0
  [ -n "$1" ] || systemctl stop apache2
  [ -n "$2" ] || systemctl disable -q apache2 2>/dev/null
}

