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

# SECONDS BYTES COMMAND...: runs it with pipes of its own and within these limits (relay.pl).
relay() { perl -e "$RELAY" "$@"; }
run_as() { run_within 0 0 "$@"; }  # ACCOUNT COMMAND...
become() { run_as "$1" sh -c "$2"; }  # ACCOUNT SCRIPT
# ACCOUNT COMMAND...: reads what is below a home as its account. A link there could lead root to
# what the account may not see, a pipe or a huge file could keep root waiting. Sets name.
as_account() {
  name=$1; shift
  if [ "$name" = root ] || [ "$(id -u)" != 0 ]; then "$@"
  else run_within 10 8388608 "$name" "$@"; fi
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
