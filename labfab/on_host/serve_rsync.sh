# Starts rsync as another account, once the login calls it through two pipes in a folder.
#
# $1: the folder, which is made. $2: the account that logs in, which has sudo. $3: the account that
# rsync runs as. $4: --sender if it sends; empty if it receives.
# Root opens the pipes, so the account needs no rights to them. Root knows what to start: of the
# words that the caller leaves in `called`, only the last is used, and only if it can be nothing but
# a word of one-letter options. (The paths follow on stdin, for rsync alone.) The exit code goes to
# `end`. If nobody calls, or nobody listens any longer, it ends by itself.
# `errors` is read separately: what rsync says over ssh may arrive too late.
place=$1 login=$2 account=$3 sender=$4
umask 077
mkdir -m 711 "$place" && cd "$place" && mkfifo in out end && : >called || exit 2
chmod 600 in out end called && chown "$login": in out end called || exit 2
# shellcheck disable=SC2016  # expanded by the inner shells
nohup sh -c '
  place=$1 account=$2 sender=$3
  for i in $(seq 1200); do [ ! -s called ] || break; sleep 0.05; done
  as="sudo -n"; ! command -v runuser >/dev/null || as=runuser
  flags=$(head -c 300 called | tail -n 1)
  case $flags in
    -*[!A-Za-z0-9.]* | -) ;;
    -*)
      (umask 022; exec perl -e "
        alarm 30;
        open STDIN, q(<), q(in) or exit 1; open STDOUT, q(>), q(out) or exit 1;
        alarm 0; exec @ARGV" $as -u "$account" -- rsync --server $sender "$flags") 2>errors ;;
  esac
  perl -e "alarm 5; exec @ARGV" sh -c "echo $? >end"
  for i in $(seq 60); do [ -e "$place" ] || exit; sleep 1; done
  rm -rf "$place"
' sh "$place" "$account" "$sender" >/dev/null 2>&1 &
