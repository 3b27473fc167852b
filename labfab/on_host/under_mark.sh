# Defines under_mark NAME COMMAND..., which runs a command that may be interrupted.
#
# The file ~/.cache/labfab/NAME exists until the command has succeeded. It outlives an interrupted
# run, so the next run does not mistake half an environment for a complete one.
# Some programs hide why they failed, so this looks for a full disk and reports it.
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
