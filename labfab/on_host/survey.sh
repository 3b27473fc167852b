# The section of facts.sh that system.survey reads: who uses this machine, and for what. Sent only then.

# Each account that somebody can log in to, with its ways in. Reads every.
ways_in() {
  sshd_option authorizedkeysfile
  files=$values
  usable=" $(with_password | tr '\n' ' ')"
  people | awk -F: -v first="$FIRST_UID" '
    ($2 == 0 || $2 >= first) && $4 !~ /\/(nologin|false|sync|halt|shutdown)$/ { print $1 }' |
    head -n 50 | while read -r user; do
      read_account "$user"
      names=$(set -f; for file in $files; do key_file "$user" "$file"; done)
      # shellcheck disable=SC2086  # a list
      keys=$( (set -f; as_account "$user" cat $names </dev/null 2>/dev/null) | head -c 1048576 |
        grep -E '^[^#]*(ssh|ecdsa|sk)-[^ ]+ +AAAA')
      fact "account.$user.keys" "$(printf '%s' "$keys" | grep -c .)"
      fact "account.$user.forced" "$(printf '%s' "$keys" | grep -c 'command=')"
      case $usable in *" $user "*) fact "account.$user.password" yes ;; esac
      fact "account.$user.groups" "$(id -Gn "$user")"
      fact "account.$user.shell" "$entry_shell"
    done
}

section_survey() {
  every=$(sshd_says root)
  ways_in
  PLACE=$LAB_HOME
  [ -d "$PLACE" ] || PLACE=/home
  [ -d "$PLACE" ] || PLACE=/Users
  fact home "$PLACE"
  for place in / "$PLACE" /var /tmp; do
    fact "free.$place" "$(df -Pk "$place" 2>/dev/null | awk 'NR == 2 { print $4 }')"
  done
  fact clock "$(date +%s)"
  who 2>/dev/null | awk '{ print $1 }' | sort | uniq -c | head -n 20 |
    while read -r count user; do fact "session.$user" "$count"; done
  of_system
}
