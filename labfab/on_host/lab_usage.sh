# Prints what JupyterLab computes and what that costs, as the section [activity].
# Runs as JupyterLab's account: root would follow links in its home. Follows port_owner.sh.
# $1: folder of the notebooks. $2, $3: URL and Unix socket, as the settings say. $4: pid, or empty.
root=$1 url=$2 sock=$3 pids=$4
set --
for pid in $pids; do set -- "$@" "$pid"; done
# shellcheck disable=SC2046  # each number is a word
[ $# -gt 0 ] || set -- $(pgrep -u "$(id -u)" -f '^[^ ]*[Pp]ython[^ ]* [^ ]*bin/jupyter-lab')

field() {  # key: its value in the JSON file $note
  sed -nE "s/^.*\"$1\": *\"?([^\",]*)\"?.*/\1/p" "$note" 2>/dev/null | head -n 1
}
find_server() {  # pid: set note, url and sock to those the server started with
  note=~/.jupyter/jupyter_server_config.json
  for folder in .local/share/jupyter/runtime Library/Jupyter/runtime .local/state/lab; do
    place=~/$folder/jpserver-$1.json
    [ ! -f "$place" ] || note=$place
  done
  # Without its own file, the server is asked as the settings say.
  [ "$note" != ~/.jupyter/jupyter_server_config.json ] || return
  scheme=http
  [ "$(field secure)" != true ] || scheme=https
  url=$scheme://127.0.0.1:$(field port)$(field base_url) sock=$(field sock)
}
get() {  # path: the answer in base64; the token goes through a pipe, because `ps` shows arguments
  lab_is_ours "$sock" "$url" || return  # another account would get the token
  printf 'header = "Authorization: token %s"\n' "$(field token)" |
    curl -q -fsk -m 20 ${sock:+--unix-socket "$sock"} -K - "$url$1" | base64 | tr -d '\n'
}

echo '[activity]'
for pid in "$@"; do (
  find_server "$pid"
  echo "kernels.$pid=$(get api/kernels)"
  echo "sessions.$pid=$(get api/sessions)"
  pgrep -P "$pid" >/dev/null && echo "parent.$pid=yes"  # it may have kernels
) done
ps -u "$(id -u)" -o pid= -o rss= -o pcpu= -o args= |
  sed -nE 's,^ *([0-9]+) +([0-9]+) +([0-9.]+) .*kernel-([0-9a-f-]{36})\.json.*,process.\4=\1 \2 \3,p'
command -v nvidia-smi >/dev/null &&
  nvidia-smi --query-compute-apps=pid,used_memory --format=csv,noheader,nounits 2>/dev/null |
  sed -nE 's/^([0-9]+), *([0-9]+).*/gpu.\1=\2/p'
df -Pk "$root" 2>/dev/null | awk 'NR == 2 { print "disk=" $4 " " $3 + $4 " " $6 }'
true
