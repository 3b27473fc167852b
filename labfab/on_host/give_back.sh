# Give an account a file or folder that is in its home and belongs to somebody else.
#
# $1: the home. $2: the folder that holds it: the home, its ~/.ssh or its ~/.jupyter. $3: its name there.
# $4: the account.
# Works inside the folder, so that the account cannot swap it for a link; -h never follows a link.
home=$(cd "$1" && pwd -P) && cd -P "$2" || exit
case $PWD in
    "$home" | "$home"/.ssh | "$home"/.jupyter) ;;
    *) echo "$PWD is not in $home: a link leads there" >&2; exit 1 ;;
esac
if [ -L "$3" ]; then echo "it is a link" >&2; exit 1; fi
chown -h "$4": "$3"
