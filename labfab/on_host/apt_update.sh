# Fetches the package lists and notes the time in /var/cache/labfab/updated. No arguments.
#
# apt waits for the lock of dpkg by itself, but not for the lock of the lists (tried with apt 2.6),
# so this tries again for five minutes. Translations of package descriptions are a third of the
# download and are not needed; those that are there stay. find_pip_wheel.sh knows this command line.

export DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=a
tries=60
until out=$(apt-get -q -o Acquire::Languages=none -o APT::Get::List-Cleanup=false update 2>&1); do
  tries=$((tries - 1))
  case $out in
    *lists/lock*) [ $tries -gt 0 ] && echo waiting for another apt && sleep 5 && continue ;;
  esac
  printf '%s\n' "$out"
  exit 100
done
mkdir -p /var/cache/labfab && touch /var/cache/labfab/updated
