# The parts of audit.sh that differ on macOS.

# KIND: prints a fact of this kind for each line.
numbered() {
  number=0
  while read -r line; do
    number=$((number + 1))
    fact "$1.$number" "$line"
  done
}
# Prints one fact for each TCP socket that listens, one more if it is JupyterLab's. lsof shows root
# every process, and others only their own; netstat shows everybody all ports.
listeners() {
  if [ "$(id -u)" = 0 ]; then
    lsof -nP -iTCP -sTCP:LISTEN -F pcn 2>/dev/null |
      awk '/^c/ { name = substr($0, 2) } /^n/ { print substr($0, 2) " " name }' | sort -u
  else
    netstat -an -p tcp 2>/dev/null | awk '
      $NF == "LISTEN" {
        sub(/\.[0-9]+$/, ":&", $4); sub(/:\./, ":", $4); print $4 " unknown"
      }' | sort -u
  fi | numbered listen
  {
    lsof -a -u "$LAB_USER" -nP -iTCP:"$LAB_PORT" -sTCP:LISTEN -F n
    [ -z "$LAB_PID" ] || lsof -a -p "$LAB_PID" -nP -iTCP -sTCP:LISTEN -F n
  } 2>/dev/null | sed -n 's/^n//p' | sort -u | numbered lab_listens
}

mount_points() { /sbin/mount | sed -n 's,^.* on \(/.*\) ([^()]*)$,\1,p'; }

timers() { :; }
