# Wait until JupyterLab answers. Runs as its account: root would follow a link in the log's place.
# $1: path of its Unix socket, empty: it listens on TCP. $2: seconds to wait. $3: URL to ask.
# $4: folder of its Python, below the home. $5: the system's PATH.
# Follows port_owner.sh: what another account answers in its place does not count.
# Fails with the end of the log once no JupyterLab of this account is left, or the time is up.
end=$(($(date +%s) + $2))
while [ "$(date +%s)" -lt "$end" ]; do
  lab_is_ours "$1" "$3" && curl -q -fsk -m 5 ${1:+--unix-socket "$1"} "$3" >/dev/null && exit 0
  # [b] keeps this script itself from matching.
  pgrep -u "$(id -u)" -f '[b]in/jupyter-lab' >/dev/null || break
  sleep 0.1
done
# The session outlives JupyterLab for a moment.
PATH=$HOME/$4/bin:$5
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
  pgrep -u "$(id -u)" -f '[b]in/jupyter-lab' >/dev/null && break
  perl -e 'alarm 5; exec @ARGV' tmux has-session -t =jupyter 2>/dev/null || break
  sleep 0.1
done
[ ! -f ~/.jupyter/lab.log ] || tail -n 3 ~/.jupyter/lab.log
exit 1
