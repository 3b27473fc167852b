# The parts of audit.sh that differ on Linux.

# Prints one fact for each TCP socket that listens, one more if it is JupyterLab's. Reads number.
listeners() {
  sockets
  lab_uid=$(id -u "$LAB_USER" 2>/dev/null)
  while read -r address port uid pid; do
    [ -n "$port" ] || continue
    name_program "$pid" "$uid"
    number=$((number + 1))
    fact "listen.$number" "$address:$port $program"
    case "${LAB_PID:-none} $uid $port" in
      "${pid:-unknown} "* | *" $lab_uid $LAB_PORT") fact "lab_listens.$number" "$address:$port" ;;
    esac
  done <<END
$SOCKETS
END
}

# Prints the mount points. The kernel writes a blank as \040, and other unusual signs in the same way.
mount_points() {
  awk '{ place = $5; gsub(/\\040/, " ", place) } place !~ /\\/ { print place }' /proc/self/mountinfo
}

timers() {
  systemctl list-units --plain --no-legend --type=timer '*certbot*' 2>/dev/null |
    while read -r unit _; do fact "timer.$unit" active; done
}

