# Defines under_mark NAME COMMAND..., which runs a command that may be cut off half-way.
#
# The file ~/.cache/labfab/NAME exists until the command has succeeded. It outlives a run that is cut
# off, so the next run does not take half an environment for a whole one.
# Some programs hide the reason of a failure, so a full disk is looked for and reported.
under_mark() {
  mark=~/.cache/labfab/$1
  shift
  mkdir -p ~/.cache/labfab && touch "$mark" || return
  if "$@"; then
    rm -f "$mark"
  else
    [ "$(df -Pk ~ | awk 'NR == 2 { print $4 }')" -gt 51200 ] || echo No space left on device >&2
    return 1
  fi
}
