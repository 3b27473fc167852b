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
# tee, so that `tmux attach -t jupyter` shows the log too.
tmux new-session -d -s jupyter \
  "exec $runtime ~/$1/bin/jupyter-lab --no-browser 2>&1 | tee -a ~/.jupyter/lab.log"
