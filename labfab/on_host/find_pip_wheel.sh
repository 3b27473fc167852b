# Prints the path of a pip wheel, or nothing after ten minutes. No arguments. Runs as the account.
#
# The package python3-pip-whl may be on its way in another shell of this run. Until then the wheel
# is taken out of the downloaded package, in ~/.cache/labfab/pip, as soon as apt has its lists.
# No try is counted while apt_update.sh fetches them.

# Succeeds while apt_update.sh fetches the lists. Anybody may name a program like that, so only
# root's count.
updating() { pgrep -U 0 -f '^apt-get .* Acquire::Languages=none .*update$' >/dev/null; }

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
