# Makes sshd listen as its files say, and checks that it does. Follows the words.
#
# The unit that listens after the next boot shall listen from now on. systemd refuses to restart
# ssh.socket while ssh.service runs, so both are stopped first; open sessions go on. If nothing
# listens then, the other unit is tried: any sshd is better than none. It fails all the same.

boots() {  # UNIT: succeeds if the next boot starts it
  case $(systemctl is-enabled "$1" 2>/dev/null) in enabled | generated) ;; *) return 1 ;; esac
}
ports_of() {  # UNIT: the ports that it should listen on
  if [ "$1" = ssh.socket ]; then
    systemctl show -p Listen ssh.socket | sed -n 's/^Listen=.*[:=]\([0-9]*\) (Stream).*/\1/p'
  else
    /usr/sbin/sshd -T -C user=root,host=h,addr=192.0.2.1,laddr=192.0.2.2,lport=22 |
      sed -n 's/^listenaddress [^ ]*:\([0-9]*\).*/\1/p'
  fi 2>/dev/null | sort -u
}
open_ports() {  # those of $ports on which root listens
  SOCKETS=''
  sockets
  for port in $ports; do
    case $SOCKETS in *" $port 0 "*) echo "$port" ;; esac
  done
}
# UNIT: succeeds once it listens on all its ports. Sets ports.
run_unit() {
  ports=$(ports_of "$1")
  [ -n "$ports" ] || { echo "$1 has no port" >&2; return 1; }
  if [ "$1" = ssh.socket ] || systemctl is-active -q ssh.socket; then
    systemctl stop ssh.socket ssh.service
  fi
  systemctl reset-failed ssh.service ssh.socket 2>/dev/null
  systemctl restart "$1" || return
  for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do
    [ "$(open_ports)" != "$ports" ] || return 0
    sleep 0.3
  done
  echo "$1 does not listen on port $(echo "$ports" | tr '\n' ' ')" >&2
  return 1
}

/usr/sbin/sshd -t && systemctl daemon-reload || exit
first=ssh.service second=ssh.socket
if boots ssh.socket || { ! boots ssh.service && systemctl is-active -q ssh.socket; }; then
  first=ssh.socket second=ssh.service
fi
run_unit $first && exit
[ -z "$(open_ports)" ] || exit 1
if [ "$second" = ssh.service ] || [ "$(ports_of ssh.socket)" = "$ports" ]; then
  if run_unit "$second"; then echo "$first does not listen, $second does instead" >&2
  else systemctl --no-block start "$first"; fi  # it may try again by itself
fi
exit 1
