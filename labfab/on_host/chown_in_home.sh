# Give an account a file or folder that is in its home and belongs to somebody else.
#
# $1: the home. $2: the folder that holds it: the home, its ~/.ssh or its ~/.jupyter. $3: its name there.
# $4: the account.
# Works inside the folder, so that the account cannot swap it for a link, and on what was opened and
# looked at. The account may have given the name to something else of root's: it gets neither what
# it could not read until now, nor what has a second name elsewhere.
home=$(cd "$1" && pwd -P) && cd -P "$2" || exit
case $PWD in
    "$home" | "$home"/.ssh | "$home"/.jupyter) ;;
    *) echo "$PWD is not in $home: a link leads there" >&2; exit 1 ;;
esac
if [ -L "$3" ]; then echo "it is a link" >&2; exit 1; fi
# shellcheck disable=SC2016  # perl's
perl -e '
  use strict; use Fcntl;
  my ($name, $uid, $gid) = @ARGV;
  sub refuse { print STDERR "$_[0]\n"; exit 1 }
  sysopen my $it, "./$name", O_RDONLY | O_NOFOLLOW | O_NONBLOCK or refuse("it is a link");
  my ($mode, $links) = (stat $it)[2, 3];
  my $closed = "only its owner can read it: look at it there, and move it away";
  if (-d $it) {
    chdir $it or refuse($!);
    opendir my $inside, "." or refuse($!);
    refuse($closed) if ($mode & 5) != 5 && grep { !/^\.\.?\z/ } readdir $inside;
  } else {
    refuse("it is no file") if !-f $it;
    refuse("the same file has another name elsewhere") if $links != 1;
    refuse($closed) if !($mode & 4);
  }
  chown $uid, $gid, $it or refuse($!);
' "$3" "$(id -u "$4")" "$(id -g "$4")"
