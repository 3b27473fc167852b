# Start JupyterLab in tmux unless it runs, and print where it is: the main part of `launchlab`.
# $1: account that runs it. $2: URL. $3: Unix socket below the home, or empty.
# $4: folder of its Python, below the home. $5: the system's PATH. $6: URL for browsers elsewhere,
# or empty.
# Follows port_owner.sh, RELAY with the text of relay.pl, and two functions: start_in_tmux, whose
# body is start_in_tmux.sh, and start_by_service,
# which fails unless a service manager is to run JupyterLab.
user=$1 url=$2 socket=$3 prefix=$4 path=$5
place=$6
[ -n "$place" ] || place="${url}lab on this host"
# shellcheck disable=SC2088  # it is printed
[ -z "$socket" ] || place="~/$socket on this host"
# Another account gets no terminal: what it runs could type into yours, or read what you type. So root
# leaves the terminal before it becomes that account, which prints into a pipe.
# shellcheck disable=SC2154  # set in front of this text
[ "$(id -un)" = "$user" ] || exec sudo perl -e "$RELAY" 200 65536 \
  perl -MPOSIX -e 'setsid(); open STDIN, "<", "/dev/null"; exec @ARGV' \
  sudo -n -H -u "$user" sh -c "$(cat "$0")"
# Whoever is told that it runs types the password there.
answers() {
  lab_is_ours "${socket:+$HOME/$socket}" "$url" || return
  curl -q -fsk -m 5 --noproxy '*' ${socket:+--unix-socket "$HOME/$socket"} "${url}api" >/dev/null
}
in_session() { tmux has-session -t =jupyter 2>/dev/null; }

cd || exit
if answers; then
  echo "JupyterLab runs already: $place"
  exit
fi
umask 077
PATH=$HOME/$prefix/bin:$path
export PATH
# [b]: the text of this script is no JupyterLab.
running() { in_session || pgrep -u "$user" -f '[b]in/jupyter-lab' >/dev/null; }
end=$(($(date +%s) + 120))
wait_while_running() {
  while running; do
    if answers; then
      echo "JupyterLab runs: $place"
      exit
    fi
    [ "$(date +%s)" -lt "$end" ] || break
    sleep 0.3
  done
}
started=
start_by_service || in_session || { start_in_tmux "$prefix" "$path"; started=yes; }
wait_while_running
# One that was there already may have been ending, after File > Shut Down.
if [ -z "$started" ] && ! running; then
  start_by_service || start_in_tmux "$prefix" "$path"
  wait_while_running
fi
tail -n 3 ~/.jupyter/lab.log
echo "JupyterLab does not answer at $place"
exit 1
