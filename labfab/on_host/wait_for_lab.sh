# Wait until JupyterLab answers. Runs as its account: root would follow a link in the log's place.
# $1: path of its Unix socket, empty: it listens on TCP. $2: seconds to wait. $3: URL to ask.
# Fails with the end of the log once no JupyterLab of this account is left, or the time is up.
end=$(($(date +%s) + $2))
while [ "$(date +%s)" -lt "$end" ]; do
  curl -q -fsk -m 5 ${1:+--unix-socket "$1"} "$3" >/dev/null && exit 0
  # [b]: this script is no JupyterLab.
  pgrep -u "$(id -u)" -f '[b]in/jupyter-lab' >/dev/null || break
  sleep 0.1
done
[ ! -f ~/.jupyter/lab.log ] || tail -n 3 ~/.jupyter/lab.log
exit 1
