# Prints the path of a pip wheel, or nothing after ten minutes. No arguments. Runs as the account.
#
# The package python3-pip-whl may be on its way in another shell of this run. Until then the wheel
# is taken out of the downloaded package, in ~/.cache/labfab/pip, as soon as apt has its lists.
# No try is counted while apt_update.sh fetches them.

# Succeeds if somebody holds apt's lock on its lists, which only root can open. A command line can
# be anybody's. /proc/locks has device and inode, stat the device as one hexadecimal number.
fetching() {
  held=$(stat -c '0x%D %i' /var/lib/apt/lists/lock 2>/dev/null) || return 1
  device=$((${held% *}))
  held=$(printf '%02x:%02x:%s' $((device >> 8 & 0xfff)) \
    $((device & 0xff | device >> 12 & 0xfff00)) "${held#* }")
  grep -q " $held " /proc/locks
}
# Succeeds while root's apt_update.sh fetches the lists.
updating() {
  pgrep -U 0 -f '^apt-get .* Acquire::Languages=none .*update$' >/dev/null && fetching
}

tries=100
end=$(($(date +%s) + 600))
while [ $tries -gt 0 ] && [ "$(date +%s)" -lt $end ]; do
  for wheel in /usr/share/python-wheels/pip-*.whl \
    ~/.cache/labfab/pip/usr/share/python-wheels/pip-*.whl; do
    [ -e "$wheel" ] && echo "$wheel" && break 2
  done
  if updating; then
    sleep 0.1
    continue
  fi
  tries=$((tries - 1))
  (
    mkdir -p ~/.cache/labfab/pip && cd ~/.cache/labfab/pip &&
      apt-get -q download python3-pip-whl && dpkg-deb -x python3-pip-whl_*.deb .
  ) >/dev/null 2>&1 || sleep 0.5
done
