# Reads what check.all has to know and a setup does not. Follows audit.linux.sh or audit.macos.sh.
#
# Prints key=value lines and changes nothing. Runs as root, or as the login itself and then shows
# what that may see. Called with LAB_USER, LAB_HOME, PREFIX, ROOT_DIR, PUBLISH, LAB_PORT, LAB_PID (may
# be empty) and SSH_PORT set.

number=0
# KIND PATH...: mode and owner of what must be closed to others. Sets kind, about; counts in number.
private() {
  kind=$1; shift
  for path in "$@"; do
    about=$(seen "$path")
    case $about in *[[:cntrl:]]* | *' '*' '*) continue ;; [0-7]*' '?*) ;; *) continue ;; esac
    number=$((number + 1))
    fact "private.$number" "$kind $about $path"
  done
}
seen() {  # PATH: mode and owner, as the account sees them whose place it is
  locate "$1"
  if [ "$keeper" = root ]; then [ ! -e "$1" ] || mode_and_owner -L "$1"
  else
    as_keeper sh -c 'stat -L -c "%a %U" "$1" || stat -L -f "%Lp %Su" "$1"' sh "$1" \
      </dev/null 2>/dev/null
  fi
}

echo "[audit]"
fact clock "$(date +%s)"
[ "$(id -u)" = 0 ] && fact root yes

# Accounts with a shell that refuses cannot log in; neither can sync, halt and shutdown.
people | grep -vE ':[^:]*/(nologin|false|sync|halt|shutdown)$' | {
  while IFS=: read -r user _ home _; do
    fact "login.$user" "$home"
    private "keys:$user" "$home/.ssh" "$home/.ssh/authorized_keys"
    [ "$(id -u)" = 0 ] || continue
    client="user=$user,host=h,addr=192.0.2.1,laddr=192.0.2.2,lport=$SSH_PORT"
    fact "sshd.$user" "$(/usr/sbin/sshd -T -C "$client" 2>/dev/null | tr '\n' ';')"
    [ "$user" != root ] && sudo -n -l -U "$user" 2>/dev/null | grep -q NOPASSWD &&
      fact "nopasswd.$user" yes
  done
  private jupyter "$LAB_HOME/.jupyter" "$LAB_HOME/.jupyter/jupyter_server_config.json"
  private home "$LAB_HOME"
  private notebooks "$ROOT_DIR"
  private jupyter-files "$LAB_HOME/.jupyter/lab.log" \
    "$LAB_HOME/.local/share/jupyter/runtime/jupyter_cookie_secret" \
    "$LAB_HOME/Library/Jupyter/runtime/jupyter_cookie_secret" \
    "$LAB_HOME/.local/state/lab/jupyter_cookie_secret"
  case $PUBLISH in
    https) tls=$LAB_HOME/.jupyter/tls ;;
    apache) tls=/etc/labfab/tls ;;
    *) tls= ;;
  esac
  [ -z "$tls" ] || private tls "$tls/key.pem"
  [ -z "$tls" ] || private tls-folder "$tls"
  [ -z "$tls" ] || private tls-certbot /etc/letsencrypt/archive/*/privkey*.pem
  private sudo /etc/sudoers /etc/sudoers.d /etc/sudoers.d/*
  private journal /var/lib/labfab
  private hostkeys /etc/ssh/ssh_host_*_key
}
[ "$(id -u)" = 0 ] || { sudo -n true 2>/dev/null && fact "nopasswd.$(id -un)" yes; }

listeners
timers
# Only disks that the system itself has mounted: the account chooses what its df prints. Of one that
# both know, the answer of root's df counts.
{
  mount_points
  echo
  df -P / /var /tmp /home
  as_account "$LAB_USER" df -P "$LAB_HOME" "$ROOT_DIR" </dev/null
} 2>/dev/null |
  awk '
    /^$/ { listed = 1; next }
    !listed { is_mounted[$0] = 1; next }
    $3 + $4 > 0 {
      place = $0; sub(/^.*% +\//, "/", place)
      if (!(place in is_mounted) || seen[place]++) next
      print "disk." NR "=" 100 * $4 / ($3 + $4) " " place
    }'
if [ "$(id -u)" = 0 ] || [ "$(id -un)" = "$LAB_USER" ]; then
  in_tmux "$LAB_HOME" has-session -t =jupyter >/dev/null && fact session yes
else
  fact session unknown
fi
true
