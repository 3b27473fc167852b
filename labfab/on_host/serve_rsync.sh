# Starts rsync as another account, once the login calls it through two pipes in a folder.
#
# $1: the folder, which is made. $2: the account that logs in. $3: the account that rsync runs as.
# Root opens the pipes, so the account needs no rights to them. The caller's arguments arrive in
# `called`, the exit code goes to `end`. If nobody calls, or nobody listens any longer, it ends by
# itself.
# `errors` is read separately: what rsync says over ssh may arrive too late.
place=$1 login=$2 account=$3
umask 077
mkdir -m 711 "$place" && cd "$place" && mkfifo in out end && : >called || exit 2
chmod 600 in out end called && chown "$login": in out end called || exit 2
# shellcheck disable=SC2016  # expanded by the inner shell
nohup sh -c '
  place=$1 account=$2; shift 2
  for i in $(seq 1200); do [ ! -s called ] || break; sleep 0.05; done
  as="sudo -n"; ! command -v runuser >/dev/null || as=runuser
  while read -r word; do set -- "$@" "$word"; done <called
  [ "$1" != --server ] || (umask 022; exec $as -u "$account" -- rsync "$@") <in >out 2>errors
  perl -e "alarm 5; exec @ARGV" sh -c "echo $? >end"
  for i in $(seq 60); do [ -e "$place" ] || exit; sleep 1; done
  rm -rf "$place"
' sh "$place" "$account" >/dev/null 2>&1 &
