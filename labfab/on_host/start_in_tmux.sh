# Start JupyterLab in the tmux session `jupyter`, as the account that runs it.
# $1: folder of its Python, below the home. $2: the system's PATH.
umask 077  # the log may quote file names, so only its owner reads it
PATH=$HOME/$1/bin:$2  # conda and Homebrew keep tmux where the account's own PATH may not lead
export PATH
if [ -d "/run/user/$(id -u)" ]; then
  XDG_RUNTIME_DIR=/run/user/$(id -u)
  export XDG_RUNTIME_DIR
fi
# A kernel's socket must have a short path (Account.runtime in facts/records.py).
runtime=
[ ${#HOME} -le 27 ] || runtime='env JUPYTER_RUNTIME_DIR="$HOME/.local/state/lab"'
# Where logind ends all that a login has started (KillUserProcesses), lingering does not help: the
# server of tmux has to start outside of this session.
scope=
if [ "$(busctl get-property org.freedesktop.login1 /org/freedesktop/login1 \
  org.freedesktop.login1.Manager KillUserProcesses 2>/dev/null)" = "b true" ]; then
  scope='systemd-run --user --scope --quiet --collect'
fi
# Any account can make this folder first, and only root can move it away.
folder=${TMUX_TMPDIR:-/tmp}/tmux-$(id -u)
if [ -e "$folder" ] && [ ! -O "$folder" ]; then
  # shellcheck disable=SC2012  # the name has no newline
  echo "$folder belongs to $(ls -ld "$folder" | awk '{ print $3 }'), so tmux cannot start: lab.start" \
    "moves it away, or root removes it" >&2
  exit 1
fi
# Options that the account or the system may have set would end the session when nobody looks at it,
# or keep it when JupyterLab has ended. sh, because the account's shell may be of another kind; tee,
# so that `tmux attach -t jupyter` shows the log too.
# shellcheck disable=SC2086  # its words
$scope tmux new-session -d -s jupyter /bin/sh -c \
  "exec $runtime ~/$1/bin/jupyter-lab --no-browser 2>&1 | tee -a ~/.jupyter/lab.log" \; \
  set-option -t jupyter destroy-unattached off \; set-option -s exit-unattached off \; \
  set-option -w -t jupyter remain-on-exit off
