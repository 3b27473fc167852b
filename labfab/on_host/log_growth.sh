# Prints the size of JupyterLab's log, and what was added since, without tokens.
# $1: the last known size. A log that is smaller now was started again, and is printed in full.
log=~/.jupyter/lab.log from=$1 size=0
[ ! -f "$log" ] || size=$(wc -c <"$log")
size=$((size))  # macOS pads it
echo "$size"
[ "$size" -gt 0 ] || exit 0
[ "$from" -le "$size" ] || from=0
tail -c "+$((from + 1))" "$log" 2>/dev/null | head -c "$((size - from))" |
  sed -E 's/(token=)[0-9A-Za-z]+/\1…/g'
