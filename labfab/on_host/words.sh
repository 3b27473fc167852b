# Words that are the same on every system.

# KEY VALUE: prints one fact. An account chooses the names of its files and programs; a newline in
# one of them would start a fact, or a section, of its own.
say() {
  case $1$2 in
    *[[:cntrl:]]*)
      set -- "$(printf %s "$1" | tr '[:cntrl:]' '[?*]')" "$(printf %s "$2" | tr '[:cntrl:]' '[?*]')"
      ;;
  esac
  printf '%s=%s\n' "$1" "$2"
}
blob() { printf '%s=' "$1"; unwrapped; echo; }  # KEY: prints stdin as a base64 fact

# ACCOUNT COMMAND...: reads what is below a home as its account. A link there could lead root to
# what the account may not see. Sets name.
as_account() {
  name=$1; shift
  if [ "$name" != root ] && [ "$(id -u)" = 0 ]; then run_as "$name" "$@"; else "$@"; fi
}
# HOME COMMAND...: runs the tmux of LAB_USER, which may come from its Python or from Homebrew.
# Sets home.
in_tmux() {
  home=$1; shift
  as_account "$LAB_USER" \
    env PATH="$home/$PREFIX/bin:$PATH:/opt/homebrew/bin:/usr/local/bin" tmux "$@" 2>/dev/null
}
# FILE: the name of its next version until that is complete. macOS reads every file in sshd's
# folder, so there it lies one folder up.
new_name() {
  case $1 in
    */sshd_config.d/*) echo "${1%/*/*}/${1##*/}.labfab-new" ;;
    *) echo "$1.labfab-new" ;;
  esac
}
# NEW OLD: renames without following a link in the place of OLD.
take_name() {
  if [ -L "$2" ]; then [ ! -d "$2" ] || rm -f "$2"; elif [ -d "$2" ]; then return 1; fi
  mv -f "$1" "$2"
}
# ACCOUNT HOME: what the journal says of it, without what was undone: labfab made the account, or has
# changed files in its home.
journaled() {
  [ -r /var/lib/labfab/journal.jsonl ] || return 0
  awk -v name="$1" -v home="\"$2/" '
    match($0, /"(number|undone)": "[^"]*"/) {
      number = substr($0, RSTART + 11, RLENGTH - 12)
      if ($0 ~ /^\{"undone"/) { delete made[number]; delete worked[number] }
      else if (index($0, "\"undo\": [\"account " name "\"]")) made[number] = 1
      else if (index($0, home)) worked[number] = 1
    }
    END {
      for (number in made) { print name ".ours=yes"; break }
      for (number in worked) { print name ".known=yes"; break }
    }' /var/lib/labfab/journal.jsonl
}
