# Writes a file in one piece. Its new content comes on standard input.
#
# $1: the path. $2: its mode, octal. $3: shell text that must succeed before the file gets its name;
# it finds the new file in "$NEW".
# The file gets its name once it is complete: `>` would follow a link that an account put there.
set -eu
umask 077
path=$1 mode=$2 check=$3
NEW=$path.labfab-new
# macOS reads every file in this folder, whatever its name.
case $path in */sshd_config.d/*) NEW=${path%/*/*}/${path##*/}.labfab-new ;; esac
mkdir -p "$(dirname "$path")"
if [ -d "$path" ] && [ ! -L "$path" ]; then echo "$path is a folder: move it away" >&2; exit 1; fi
rm -f "$NEW"
trap 'rm -f "$NEW"' EXIT
cat >"$NEW"
chmod "$mode" "$NEW"
eval "$check"
mv -f "$NEW" "$path"
