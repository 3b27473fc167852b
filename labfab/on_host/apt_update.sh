# Fetches the package lists and notes the time in /var/cache/labfab/updated. No arguments.
#
# apt waits for the lock of dpkg by itself, but not for the lock of the lists (tried with apt 2.6),
# so this tries again for five minutes. Translations of package descriptions are a third of the
# download and are not needed; those that are there stay. find_pip_wheel.sh knows this command line.
#
# Unless Error-Mode is set, apt calls it a success if it has fetched nothing. A repository that
# cannot be fetched is named (labfab-unfetched: FILE: ADDRESS: WHY). That is an error only if none
# of the system's own was fetched; the time is noted only if all of these were.

export DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=a
note_time() { mkdir -p /var/cache/labfab && touch /var/cache/labfab/updated; }

# Prints the address of each repository that was not fetched, and why.
unfetched() {
  printf '%s\n' "$out" | sed -nE "
    s,^E: Failed to fetch ([^ ]+)/dists/[^ ]* +(.*),\1 \2,p; t
    s,^E: Failed to fetch ([^ ]+)/[^ /]* +(.*),\1 \2,p
    s/^E: The repository '([^ ]+) [^']*' (.*)/\1 \2/p
    s/^W: GPG error: ([^ ]+) [^:]*: (.*)/\1 \2/p
  " | sort -u -k1,1
}
file_of() { # ADDRESS
  grep -lF "$1" /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | head -n 1
}
# Succeeds if a repository that has the system's own packages was fetched. Reads failed.
has_own() {
  apt-cache madison sudo | sed -nE 's/.*\| +([^ ]+) .*/\1/p' | sort -u |
    grep -qvxF "$(printf '%s\n' "$failed" | cut -d' ' -f1)"
}

tries=60
until out=$(apt-get -q -o Acquire::Languages=none -o APT::Get::List-Cleanup=false \
  -o APT::Update::Error-Mode=any update 2>&1) && note_time; do
  tries=$((tries - 1))
  case $out in
    *lists/lock*) [ $tries -gt 0 ] && echo waiting for another apt && sleep 5 && continue ;;
  esac
  failed=$(unfetched)
  [ -n "$failed" ] || { printf '%s\n' "$out"; exit 100; }
  names=$(printf '%s\n' "$failed" | while read -r address why; do
    echo "labfab-unfetched: $(file_of "$address"): $address: $why"
  done)
  printf '%s\n' "$names"
  has_own || exit 100
  # Updates of the system itself must not wait until its lists count as old.
  case $names in
    *"d: /etc/apt/sources.list: "* | */debian.sources:* | */ubuntu.sources:*) ;;
    *) note_time ;;
  esac
  break
done
