# Reads a host and changes nothing. Follows facts.linux.sh or facts.macos.sh, which define the rest.
#
# Called with the names of the sections, and with these variables set: USERS (accounts of interest),
# LAB_USER, PREFIX (the folder of Python in LAB_USER's home), LAB_PORT, LAB_URL, LAB_SOCKET,
# ROOT_DIR, PUBLISH, APT_UPGRADE (what apt would be asked to do). A section NAME is a function section_NAME that prints key=value lines; what may
# have several lines is base64.

# KEY PATH: what a put() has to know about a file.
file() {
  [ -e "$2" ] || return 0
  fact "$1.stat" "$(mode_and_owner "$2")"
  [ -f "$2" ] && base64_fact "$1.text" <"$2"
}

# Lets through what answers the questions about a home, and no more: an account can change what its own
# program says. A file whose text did not come is cut.
# shellcheck disable=SC2016  # awk's
ANSWERS='
BEGIN {
  for (i = 2; i < ARGC; i += 3) { kind[ARGV[i + 1]] = ARGV[i]; path[ARGV[i + 1]] = ARGV[i + 2] }
  home = ARGV[1]; ARGC = 1
}
function is_stat(value) { return value ~ /^[0-7][0-7]?[0-7]?[0-7]? [^ ]+$/ }
function says(wanted, about, end) {  # whether it is such a fact, of a path of this kind
  asked = substr(key, 1, length(key) - length(end))
  return kind[asked] == wanted && key == asked end && about
}
{
  at = index($0, "="); key = substr($0, 1, at - 1); value = substr($0, at + 1)
  if (says("file", is_stat(value), ".stat")) half[asked] = 1
  else if (says("file", value ~ /^[A-Za-z0-9+\/]*=*$/, ".text")) delete half[asked]
  else if (says("prefix", value == "yes", "")) {
    $0 = key "=" home "/" path[key]; sub(/\/$/, "")
  } else if (!(says("file", 1, ".link") || says("file", value == "yes", ".cut") ||
    says("folder", is_stat(value), "_stat") || says("folder", 1, "_link") ||
    says("owned", value ~ /^[^ ]+$/, "") || says("owned", value ~ /^[0-7]+$/, "_mode") ||
    says("place", is_stat(value), "") || says("there", value == "yes", "") ||
    says("program", value == "yes", "") || ("version" in kind && key ~ /^version\../))) next
  print
}
END { for (asked in half) print asked ".cut=yes" }'
# ACCOUNT HOME, then KIND KEY PATH for each path: the facts about them (at_home.pl), as the account sees
# them. A file system of its own may never answer root, and a link there may lead root astray.
at_home() {
  who=$1; shift
  as_account "$who" perl -e "$AT_HOME" "$who" "$@" </dev/null 2>/dev/null | awk "$ANSWERS" "$@"
}

# HOME: succeeds if a web server has files there, by its settings.
has_sites() {
  grep -qRsF "$1/" /etc/apache2/sites-enabled /etc/nginx/sites-enabled /etc/nginx/conf.d \
    /etc/caddy /etc/lighttpd
}
# ACCOUNT: the programs that a rule lets it become root by. Sets found, said.
rules() {
  found=''
  if [ "$OUR_UID" = 0 ]; then
    said=$(relay 5 1048576 sudo -n -l -U "$1" 2>/dev/null)
    case $?:$said in
      *' may run the following '*) found=sudo ;;
      124:*) found='sudo(no-answer)' ;;  # its rules may come from a directory
    esac
  fi
  [ -e /etc/doas.conf ] && awk -v name="$1" -v groups=" $(id -Gn "$1") " '
    $1 == "permit" {
      for (i = 2; i <= NF && $i ~ /^(nopass|nolog|persist|keepenv)$/; i++);
      if ($i == "setenv") while (i < NF && $i !~ /\}/) i++
      who = $i ~ /\}/ ? $(i + 1) : $i
      if (who == name || (who ~ /^:/ && index(groups, " " substr(who, 2) " "))) yes = 1
    }
    END { exit !yes }' /etc/doas.conf 2>/dev/null && found="$found doas"
  [ -z "$found" ] || fact "$1.rules" "$found"
}

# What the kernel says of a path that nobody may have an account for: its kind and whose it is. Nothing
# for an empty folder that only root can write to, such as a mount point. sudo leaves a mark in homes.
# shellcheck disable=SC2016  # the inner shell expands it
LEFT='
if [ -L "$1" ]; then echo "link $(readlink "$1")"; exit; fi
[ -e "$1" ] || exit 0
whose=$(stat -c "%u %U %a" "$1" 2>/dev/null || stat -f "%u %Su %Lp" "$1") || exit
[ -d "$1" ] || { echo "file $whose"; exit; }
case $whose in
  "0 "*[2367]? | "0 "*[2367]) ;;
  "0 "*) ls -A "$1" | grep -qvxE "lost\+found|\.sudo_as_admin_successful" || exit 0 ;;
esac
echo "folder $whose"'
# ACCOUNT that is not there: what is left of one with this name, and would be a new one'"'"'s: its home,
# jobs that would run as it, a group, rules. Sets place, seen.
leftovers() {
  place=$(new_home "$1")
  fact "$1.left.home" "$place"
  seen=$(relay 5 4096 sh -c "$LEFT" sh "$place" </dev/null 2>/dev/null) || seen=silent
  [ -z "$seen" ] || fact "$1.left.seen" "$seen"
  number=0
  for place in /var/spool/cron/crontabs/"$1" /var/spool/cron/"$1" /var/at/tabs/"$1" \
    /usr/lib/cron/tabs/"$1" $(jobs_of_next); do
    [ -f "$place" ] || continue
    number=$((number + 1))
    fact "$1.left.jobs.$number" "$place"
  done
  seen=$(grep -rsnE "^[^#]*(^|[[:space:],=%])$1([[:space:],=]|\$)" /etc/sudoers /etc/sudoers.d \
    /etc/doas.conf | head -n 1)
  [ -z "$seen" ] || fact "$1.left.rule" "$seen"
  new_account_facts "$1"
}

section_accounts() {
  for user in $USERS; do
    read_account "$user"
    home=$entry_home
    [ -n "$home" ] || { leftovers "$user"; continue; }
    fact "$user.uid" "$entry_uid"
    fact "$user.home" "$home"
    fact "$user.shell" "$entry_shell"
    case $entry_shell in
      */nologin | */false | */sync | */halt | */shutdown) fact "$user.service" yes ;;
      *) [ "$entry_uid" -ge "$FIRST_UID" ] || fact "$user.service" yes ;;
    esac
    fact "$user.groups" "$(id -Gn "$user")"
    account_facts "$user"
    journaled "$user" "$home"
    [ "$user" != "$LAB_USER" ] || [ "$LAB_USER" = "${USERS%% *}" ] || rules "$user"
    # The home comes last: without an answer to all, it does not count as one that answers.
    seen=$(at_home "$user" "$home" folder "$user.ssh" .ssh \
      file "$user.keys" .ssh/authorized_keys \
      there "$user.lab" .jupyter/jupyter_server_config.json \
      there "$user.serves" public_html/ there "$user.serves" Sites/ place "$user.home_stat" "$home/")
    printf '%s\n' "$seen"
    case $seen in
      *"$user.home_stat="*00' '*) ;;
      *"$user.home_stat="*) has_sites "$home" && fact "$user.serves" yes ;;
    esac
  done
  file sudoers /etc/sudoers.d/90-labfab
  [ -z "${SUDO_USER-}" ] || sudo_log_facts
}
# Lines that let sudo keep what is typed, or hand it on. Sets lines.
SUDO_LOGS='^[^#]*(log_(input|stdin|servers)|LOG_INPUT)|^Plugin[[:space:]]+[^[:space:]]*_io[[:space:]]'
find_sudo_logs() {
  lines=$(grep -rsnE "$SUDO_LOGS" /etc/sudoers /etc/sudoers.d /etc/sudo.conf |
    grep -vE 'sudoers_io|![[:space:]]*log_(input|stdin)|NOLOG_INPUT' | head -n 20)
}

# Without a Match block in sshd_config all accounts are treated alike. With one, every account that
# may log in is of interest. An Include of another folder may contain a Match block.
USUAL='Include /etc/ssh/(sshd_config\.d/\*(\.conf)?|crypto\.conf)$'
# shellcheck disable=SC2086  # a pattern of file names
MATCH=$(grep -ishE '^[[:space:]]*(Match|Include)[[:space:]]' /etc/ssh/sshd_config $DROP_INS |
  grep -vE "$USUAL")
if [ -n "$MATCH" ]; then
  USERS="$USERS $(people | awk -F: -v first="$FIRST_UID" \
    '$2 >= first && $2 < 60000 && $4 !~ /(nologin|false)$/ { print $1 }')"
  # shellcheck disable=SC2086  # a list
  USERS=$(printf '%s\n' $USERS | sort -u)
fi
# Options of sshd that may differ between accounts; those with several values have a line for each.
SSHD_OPTIONS='passwordauthentication|kbdinteractiveauthentication|permitemptypasswords'
SSHD_OPTIONS="$SSHD_OPTIONS|permitrootlogin|pubkeyauthentication|allowtcpforwarding"
SSHD_OPTIONS="$SSHD_OPTIONS|authorizedkeysfile|gssapiauthentication|trustedusercakeys|revokedkeys"
SSHD_OPTIONS="$SSHD_OPTIONS|authorizedkeyscommand"
SSHD_LISTS='allowusers|allowgroups|denyusers|denygroups'
# What holds for everybody.
SERVER_OPTIONS='kexalgorithms|macs|ciphers|hostkeyalgorithms|logingracetime|maxauthtries'
SERVER_OPTIONS="$SERVER_OPTIONS|maxstartups|persourcemaxstartups|persourcepenalties|hostkey"
SERVER_OPTIONS="$SERVER_OPTIONS|listenaddress|strictmodes"
# ACCOUNT: option and value as sshd -T prints them, one pair a line. Without the port, a Match block
# with LocalPort is an error; with one, the door that lets in more counts.
sshd_says() {
  case $MATCH in
    *[Ll][Oo][Cc][Aa][Ll][Pp][Oo][Rr][Tt]*)
      for lport in $(asked_sshd "$1" 22 | sed -n 's/^listenaddress [^ ]*:\([0-9]*\).*/\1/p' |
        sort -u); do asked_sshd "$1" "$lport"; done | awk '
        /^listenaddress|^hostkey/ { if (!seen[$0]++) print; next }
        { list = $1 ~ /^(allow|deny)(users|groups)$/; name = list ? $0 : $1 }
        !(name in found) { order[++count] = name; found[name] = $0; next }
        $2 != "no" && $1 ~ /authentication$|^permit/ { found[name] = $0 }
        END { for (i = 1; i <= count; i++) print found[order[i]] }'
      ;;
    *) asked_sshd "$1" 22 ;;
  esac
}
# OPTION: what sshd says of it, one value a line. Reads every. Sets values.
sshd_option() {
  values=''
  while read -r name value; do
    [ "$name" != "$1" ] || values="$values$value
"
  done <<END
$every
END
}
asked_sshd() {  # ACCOUNT PORT
  /usr/sbin/sshd -T -C "user=$1,host=h,addr=192.0.2.1,laddr=192.0.2.2,lport=$2" 2>/dev/null |
    grep -E "^($SSHD_OPTIONS|$SSHD_LISTS|$SERVER_OPTIONS) "
}

# ACCOUNT: each file besides ~/.ssh/authorized_keys in which sshd looks for its keys, read as that
# account, as sshd does. Reads every. Sets whose, home, number, keeper, place, found.
key_files() {
  whose=$1
  read_account "$whose"
  home=$entry_home number=0
  [ -n "$home" ] || { left_keys; return 0; }
  set --
  set -f
  sshd_option authorizedkeysfile
  for file in $values; do
    file=$(key_file "$whose" "$file")
    number=$((number + 1))
    if [ "$number" -gt 9 ] || [ "$file" = none ]; then continue; fi
    fact "$whose.key_file.$number.path" "$file"
    case $whose:$file in
      *:"$home/.ssh/authorized_keys") continue ;;
      root:"$home"/*) ;;
      root:*)
        locate "$file" follow || continue
        if [ "$keeper" != root ]; then
          at_home "$keeper" "$home" file "$whose.key_file.$number" "$file"
          continue
        fi
        ;;
    esac
    set -- "$@" file "$whose.key_file.$number" "$file"
  done
  set +f
  [ $# = 0 ] || at_home "$whose" "$home" "$@"
}
# Files outside of its home in which sshd would look for the keys of an account that is not there yet.
# Reads every, whose. Sets number.
left_keys() {
  set -f
  sshd_option authorizedkeysfile
  for file in $values; do
    case $file in /*) file=$(key_file "$whose" "$file") ;; *) continue ;; esac
    relay 5 4096 test -s "$file" </dev/null || continue
    number=$((number + 1))
    fact "$whose.left_keys.$number" "$file"
  done
  set +f
}
# ACCOUNT: which keys of those files RevokedKeys names: a list of keys, or a file of ssh-keygen -k.
# Reads every.
revoked_keys() {
  sshd_option revokedkeys
  list=${values%?}
  [ -f "$list" ] || return 0
  read_account "$1"
  sshd_option authorizedkeysfile
  names=$(set -f; for file in $values; do
    key_file "$1" "$file"
  done)
  # shellcheck disable=SC2086  # a list
  (set -f; as_account "$1" cat $names </dev/null 2>/dev/null) |
    grep -oE '(ssh|ecdsa|sk)-[^ ,]+ +AAAA[^ ]+' | head -n 100 |
    while read -r kind key; do
      number=$((number + 1))
      grep -aqF -- "$key" "$list" ||
        { echo "$kind $key" | ssh-keygen -Q -f "$list" /dev/stdin 2>/dev/null |
          grep -q REVOKED; } || continue
      fact "revoked.$1.$number" "$key"
    done
}
key_file() {  # ACCOUNT NAME: the path, with sshd's tokens replaced. Reads entry_home, entry_uid.
  case $2 in none) echo none; return ;; esac
  printf '%s\n' "$2" | awk -v user="$1" -v home="$entry_home" -v uid="$entry_uid" '{
    for (i = 1; i <= length($0); i++) {
      one = substr($0, i, 1)
      if (one == "%") {
        one = substr($0, ++i, 1)
        one = one == "h" ? home : one == "u" ? user : one == "U" ? uid : one
      }
      path = path one
    }
    print path ~ /^\// ? path : home "/" path
  }'
}

# Accounts that somebody can log in to with a password and with nothing else: a login shell, a hash
# that is not locked, no key. Read only while sshd takes passwords.
# $1: its AuthorizedKeysFile. Reads every.
passwords_without_keys() {
  case $every$MATCH in
    *'passwordauthentication yes'* | *'kbdinteractiveauthentication yes'* | *[Mm]atch*) ;;
    *) return 0 ;;
  esac
  [ -r /etc/shadow ] || return 0
  people | awk -F: -v today="$(($(date +%s) / 86400))" '
    NR == FNR {
      if (length($2) >= 13 && $2 !~ /^[!*]/ && ($8 == "" || $8 > today)) usable[$1] = 1
      next
    }
    $1 in usable && $4 !~ /\/(nologin|false|sync|halt|shutdown)$/ { print $1 }' /etc/shadow - |
    head -n 200 | while read -r user; do
      read_account "$user"
      names=$(set -f; for file in $1; do key_file "$user" "$file"; done)
      # shellcheck disable=SC2086  # a list
      (set -f; as_account "$user" grep -qsE '^[^#]*(ssh|ecdsa|sk)-[^ ]+ +AAAA' $names </dev/null) ||
        fact "password_only.$user" "$(id -Gn "$user")"
    done
}

section_ssh() {
  [ -x /usr/sbin/sshd ] || return 0
  sshd_facts
  [ -n "$every" ] || fact problem "$(/usr/sbin/sshd -T 2>&1 | tail -n 1 | cut -c 1-300)"
  perl -e "$SSHD_LINES" /etc/ssh/sshd_config "$DROP_IN" | base64_fact lines
  sshd_option authorizedkeysfile
  passwords_without_keys "$values"
  for user in $USERS; do
    # Each call takes 80 ms. Without a Match block all answers would be the same.
    [ -z "$MATCH" ] || every=$(sshd_says "$user")
    number=0
    while read -r option value; do
      case $option in
        listenaddress | '') ;;
        kexalgorithms | macs | ciphers | hostkeyalgorithms | logingracetime | maxauthtries | \
          maxstartups | persourcemaxstartups | persourcepenalties | strictmodes)
          [ "$user" != root ] || fact "sshd.$option" "$value"
          ;;
        hostkey)
          [ "$user" != root ] || [ ! -f "$value.pub" ] || ! read -r kind key _ <"$value.pub" ||
            fact "host_key.$kind" "$key"
          ;;
        allow* | deny*)
          case $option in
            allowtcpforwarding) fact "$user.$option" "$value" ;;
            *) number=$((number + 1)); fact "$user.$option.$number" "$value" ;;
          esac
          ;;
        *) fact "$user.$option" "$value" ;;
      esac
    done <<END
$every
END
    key_files "$user"
    revoked_keys "$user"
  done
  file main /etc/ssh/sshd_config
  file drop_in "$DROP_IN"
}

section_guard() {
  folder=/var/lib/labfab
  [ -e $folder/guard/armed ] && fact armed "$(sed -n 2p $folder/guard/armed)"
  [ -e $folder/guard/reverting ] && fact armed "$(sed -n 2p $folder/guard/reverting)"
  [ -e $folder/reverted ] || return 0
  # What accounts kept it from restoring, and what sshd said if it did not come up.
  lost=$(sed -n '5,$p' $folder/reverted | grep -v '^sshd: ' | tr '\n' ' ')
  fact sshd "$(sed -n '5,$s/^sshd: //p' $folder/reverted)"
  fact reverted "$(sed -n 3p $folder/reverted)${lost:+ (all but ${lost}see $folder/guard.left)}"
  fact reverted_by "$(sed -n 2p $folder/reverted)"
  fact reverted_at "$(local_time "$(sed -n 1p $folder/reverted)")"
}

section_python() {
  home=$LAB_HOME
  [ -n "$home" ] || return 0
  case $(shell_of "$LAB_USER") in
    *zsh) startup=.zshrc profile=.zprofile ;;
    *) startup=.bashrc profile=.profile ;;
  esac
  marks=$(as_account "$LAB_USER" grep -soHE -D skip "conda initialize|HOME/$PREFIX/bin" \
    "$home/$startup" "$home/$profile")
  case $marks in *"/$startup:conda initialize"*) fact shell.conda yes ;; esac
  case $marks in *"/$profile:HOME/$PREFIX/bin"*) fact shell.venv yes ;; esac
  at_home "$LAB_USER" "$home" there unfinished ".cache/labfab/$PREFIX.unfinished" \
    there half ".cache/labfab/$PREFIX.packages" prefix prefix "$PREFIX/" \
    program python "$PREFIX/bin/python" program conda "$PREFIX/bin/conda" \
    program lab "$PREFIX/bin/jupyter-lab" dists version "$PREFIX"
}

section_jupyter() {
  home=$LAB_HOME
  [ -n "$home" ] || return 0
  set -- file config .jupyter/jupyter_server_config.json folder folder .jupyter \
    file login "$PREFIX/etc/jupyter/jupyter_server_config.py" owned root_dir "$ROOT_DIR/"
  for name in jupyter_server_config.py jupyter_notebook_config.py jupyter_notebook_config.json \
    jupyter_lab_config.py; do
    set -- "$@" there "other.$name" ".jupyter/$name"
  done
  at_home "$LAB_USER" "$home" "$@"
}

# Whose a socket is says nothing if others may put theirs in its place. Reads home.
# shellcheck disable=SC2016  # the account's shell expands it
socket_is_safe() {
  [ -n "$LAB_SOCKET" ] || return 0
  case $(as_account "$LAB_USER" sh -c 'stat -L -c %a "$1" 2>/dev/null || stat -L -f %Lp "$1"' \
    sh "$home/${LAB_SOCKET%/*}" </dev/null 2>/dev/null) in
    *[2367]? | *[2367]) return 1 ;;
    [0-7]*) ;;
    *) return 1 ;;
  esac
}
# A socket is in a home, where root opens nothing. Reads home.
ask_lab() {
  if [ -z "$LAB_SOCKET" ]; then curl -qsk -m 5 "${LAB_URL}api"
  else as_account "$LAB_USER" curl -qsk -m 5 --unix-socket "$home/$LAB_SOCKET" "${LAB_URL}api"; fi
}

section_lab() {
  home=$LAB_HOME
  [ -n "$home" ] || return 0
  lab_service
  in_tmux "$home" has-session -t =jupyter >/dev/null && fact session yes
  config=$home/.jupyter/jupyter_server_config.json owner='' pid='' holder=''
  lab_listener
  [ "$owner" != "$LAB_USER" ] || socket_is_safe || owner=''
  if [ -z "$owner" ]; then  # an older configuration may make it listen elsewhere
    pane=$(in_tmux "$home" list-panes -t =jupyter -F '#{pane_pid}' | grep -m 1 -xE '[0-9]+')
    newer_than "$pane" "$config" && fact stale yes
    return 0
  fi
  fact owner "$owner"
  fact pid "$pid"
  fact holder "$holder"
  [ -n "$pid" ] && fact since "$(ps -o lstart= -p "$pid" 2>/dev/null)"
  newer_than "$pid" "$config" "$home/$PREFIX/etc/jupyter/jupyter_server_config.py" && fact stale yes
  answer=''
  [ "$owner" != "$LAB_USER" ] || answer=$(ask_lab 2>/dev/null | head -c 65536)
  case $answer in
    *'"version": "'*) answer=${answer#*'"version": "'}; fact api "${answer%%\"*}" ;;
    *) fact api '' ;;
  esac
}

# The certificate that JupyterLab or Apache serves. Of its private key, only mode and owner.
section_https() {
  case $PUBLISH in
    https) base=$LAB_HOME tls=.jupyter/tls account=$LAB_USER other=/etc/labfab/tls owner=root ;;
    apache) base=/etc/labfab tls=tls account=root other=$LAB_HOME/.jupyter/tls owner=$LAB_USER ;;
    *) return 0 ;;
  esac
  at_home "$owner" / there elsewhere "$other/key.pem"
  [ -n "$base" ] || return 0
  seen=$(at_home "$account" "$base" folder folder "$tls" file cert "$tls/cert.pem" \
    file ca "$tls/ca.pem" place key "$tls/key.pem")
  printf '%s\n' "$seen"
  case "
$seen" in *"
key="*) ;; *) return 0 ;; esac
  public=$(as_account "$account" \
    openssl pkey -in "$base/$tls/key.pem" -passin pass: -pubout 2>/dev/null)
  certified=$(as_account "$account" \
    openssl x509 -in "$base/$tls/cert.pem" -noout -pubkey 2>/dev/null)
  [ -n "$public" ] && [ "$public" = "$certified" ] && fact pair yes
}

LAB_HOME=$(home_of "$LAB_USER")
read_sections() { for section in "$@"; do echo "[$section]"; "section_$section"; done; }
# Three parts run in parallel, at the ends and in the middle of a pipe. The result is printed in one
# piece: it travels and is read faster than a hundred small ones.
first='' second='' third=''
for section in "$@"; do
  case $section in
    guard | ssh) first="$first $section" ;;
    firewall | lab) second="$second $section" ;;
    *) third="$third $section" ;;
  esac
done
# shellcheck disable=SC2086  # lists
all=$(read_sections $first | { read_sections $second </dev/null; cat; } |
  { read_sections $third </dev/null; cat; })
printf '%s\n' "$all"
