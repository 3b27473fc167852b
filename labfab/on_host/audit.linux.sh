# The parts of audit.sh that differ on Linux.

# Prints one fact for each TCP socket that listens. Reads number.
listeners() {
  sockets
  while read -r address port uid pid; do
    [ -n "$port" ] || continue
    name_program "$pid" "$uid"
    number=$((number + 1))
    fact "listen.$number" "$address:$port $program"
  done <<END
$SOCKETS
END
}

timers() {
  systemctl list-units --plain --no-legend --type=timer '*certbot*' 2>/dev/null |
    while read -r unit _; do fact "timer.$unit" active; done
}

