# Apache on the host: read what it serves, switch our site on, take that back. Sent only where it is needed: before
# facts.sh with PUBLISH=apache, before the change that switches the site on, and after undo.sh for what that change did.

OUR_SITE=/etc/apache2/sites-available/zz-labfab.conf
ENABLED_SITE=/etc/apache2/sites-enabled/zz-labfab.conf

# For each site ADDRESS:PORT, the name that Apache takes, file:line and the names that are written there, tab by tab.
# Apache lists the other names of a site only where several share its address, so they are read from its file.
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
/^[^ ]+:[0-9*]+ +[^ ]+ \(.*:[0-9]+\)$/ { address = $1; name = $2; sub(/^[^(]*/, ""); tell(address, name, $0); next }
/^ +port [0-9*]+ namevhost / { name = $4; sub(/^[^(]*/, ""); tell(at, name, $0) }'

apache_facts() {  # the section proxy of facts.sh
  [ -x /usr/sbin/apache2ctl ] || return 0
  file site $OUR_SITE
  [ -e $ENABLED_SITE ] && say enabled yes
  systemctl is-active -q apache2 && say running yes
  systemctl is-enabled -q apache2 2>/dev/null && say boots yes
  say version "$(/usr/sbin/apache2 -v | sed -nE 's,.*Apache/([0-9.]+).*,\1,p')"
  if ! found=$(LC_ALL=C apache2ctl -t -D DUMP_MODULES -D DUMP_VHOSTS -D DUMP_INCLUDES 2>&1); then
    LC_ALL=C apache2ctl -t 2>&1 | words | blob fault
    return 0
  fi
  printf '%s\n' "$found" | sed -nE 's/^ ([a-z0-9_]+)_module \((shared|static)\)$/module.\1=yes/p'
  printf '%s\n' "$found" | awk "$SITES"
  files=$(printf '%s\n' "$found" | sed -nE 's/^ *\((\*|[0-9]+)\) (.*)/\2/p' | grep -vxF $ENABLED_SITE)
  in_files -q '^[[:space:]]*Listen[[:space:]]+([^[:space:]]*:)?443([[:space:]]|$)' && say listens yes
  hands=$(in_files -n "^[[:space:]]*[^#[:space:]].*(localhost|127\.0\.0\.1|\[::1\]):$LAB_PORT([^0-9]|\$)" | head -n 1 | cut -d: -f1,2)
  [ -n "$hands" ] && say hands_on "$hands"
  [ -e $ENABLED_SITE ] && serves && say serves yes
  return 0
}

in_files() { printf '%s\n' "$files" | tr '\n' '\0' | xargs -0 grep -siE "$@" /dev/null; }

words() {  # what Apache says, but for when, and for what it always says
  grep -vE '^(AH00558|Action |The Apache error log|Syntax OK)' | sed -E 's/^(\[[^]]*\] )+//'
}

serves() {  # whether Apache shows the certificate that is there now, and read our site since it was written
  cert=/etc/labfab/tls/cert.pem
  [ -z "$(find $OUR_SITE $cert -newer /run/apache2/apache2.pid 2>&1)" ] || return 1
  name=$(sed -nE 's/^ *ServerName +(.*)/\1/p' $OUR_SITE)
  case $name in \[*) sni=-noservername ;; *[!0-9.]*) sni="-servername $name" ;; *) sni=-noservername ;; esac  # an address has none
  shown=$(timeout 5 openssl s_client -connect 127.0.0.1:443 $sni </dev/null 2>/dev/null | openssl x509 -outform DER 2>/dev/null | sha256sum)
  [ "$shown" = "$(openssl x509 -in $cert -outform DER 2>/dev/null | sha256sum)" ]
}

# With a configuration that passes its test Apache may still end at a reload: no certificate in the file, no such address
# to listen on. Then all its sites are down, so it is made to run as before at once.
site_on() {  # module...
  said=$({ [ $# = 0 ] || a2enmod -q "$@"; } 2>&1 && a2ensite -q zz-labfab 2>&1 && apache2ctl -t 2>&1) || site_back "$@"
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

site_back() {  # module...: without our site and these modules, and Apache up
  { a2dissite -q -p zz-labfab; [ $# = 0 ] || a2dismod -q -p -f "$@"; } >/dev/null 2>&1
  systemctl reset-failed apache2 2>/dev/null
  systemctl reload-or-restart apache2 || said="$said
and Apache does not start again: see systemctl status apache2 there"
  printf '%s\n' "${said:-Apache does not show the certificate at 443}" | words >&2
  exit 1
}

# The ways back, for undo.sh --------------------------------------------------------------------------

apache_site() {  # module...: our site is off, and so are these modules unless somebody uses one meanwhile
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
  said=$(apache2ctl -t 2>&1) && systemctl reload apache2 || { printf '%s\n' "$said" | words >&2; return 1; }
}

who_needs() {  # module: a file that came after our change and uses it
  case $1 in
    ssl) directives=SSL ;;
    proxy*) directives='Proxy|RewriteRule|<Proxy' ;;
    headers) directives='Header|RequestHeader' ;;
    *) return ;;
  esac
  for conf in /etc/apache2/sites-enabled/* /etc/apache2/conf-enabled/* /etc/apache2/apache2.conf; do
    [ -n "$(find "$conf" -newer "$KEPT.kept"; find -L "$conf" -newer "$KEPT.kept")" ] || continue
    if grep -qsiE "^[[:space:]]*($directives)" "$conf"; then echo "$conf"; return; fi
  done
}

apache_service() {  # running boots: as it was before, each yes or nothing
  [ -x /usr/sbin/apache2ctl ] || return 0
  [ -n "$1" ] || systemctl stop apache2
  [ -n "$2" ] || systemctl disable -q apache2 2>/dev/null
}

