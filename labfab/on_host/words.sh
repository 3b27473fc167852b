# Words that need no other tools on one system than on the other.

# An account names its files and programs as it likes: a newline in a name would begin a fact, or a section, of its own.
say() {
  case $1$2 in *[[:cntrl:]]*) set -- "$(printf %s "$1" | tr '[:cntrl:]' '[?*]')" "$(printf %s "$2" | tr '[:cntrl:]' '[?*]')" ;; esac
  printf '%s=%s\n' "$1" "$2"
}
blob() { printf '%s=' "$1"; unwrapped; echo; }

# What lies below a home is read by its account: a link there could lead root to what the account may not see.
as_account() {  # account command...
  name=$1; shift
  if [ "$name" != root ] && [ "$(id -u)" = 0 ]; then run_as "$name" "$@"; else "$@"; fi
}
in_tmux() {  # home command...: ask the tmux of LAB_USER, which may be the one of its Python or Homebrew's
  home=$1; shift
  as_account "$LAB_USER" env PATH="$home/$PREFIX/bin:$PATH:/opt/homebrew/bin:/usr/local/bin" tmux "$@" 2>/dev/null
}
new_name() {  # file: what its next version is called until it takes the name; macOS reads every file of sshd's folder
  case $1 in */sshd_config.d/*) echo "${1%/*/*}/${1##*/}.labfab-new" ;; *) echo "$1.labfab-new" ;; esac
}
take_name() {  # new old: without following a link that has the name
  if [ -L "$2" ]; then [ ! -d "$2" ] || rm -f "$2"; elif [ -d "$2" ]; then return 1; fi
  mv -f "$1" "$2"
}
