# Prints `port NUMBER` of a Jupyter server that an account started by hand, from the file that
# each server keeps while it runs. Needs as_account and home_of of words.*.sh; runs as root or as
# that account.
# $1: the account.
home=$(home_of "$1")
for file in "$home"/.local/share/jupyter/runtime/jpserver-*.json \
  "$home"/Library/Jupyter/runtime/jpserver-*.json; do
  [ -f "$file" ] || continue
  pid=${file##*/jpserver-}
  ps -o args= -p "${pid%.json}" 2>/dev/null | grep -q jupyter || continue
  as_account "$1" sed -n 's/.*"port": *\([0-9]*\).*/port \1/p' "$file"
  break
done
