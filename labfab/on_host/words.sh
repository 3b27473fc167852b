# Words that are the same on every system.

# What the host sets for all (/etc/environment) may lead our programs to a proxy for loopback, or to
# other folders than those that we look at. uv trusts the roots of the system, as curl and apt do.
unset JUPYTER_CONFIG_DIR JUPYTER_CONFIG_PATH JUPYTER_DATA_DIR JUPYTER_PATH JUPYTER_RUNTIME_DIR \
  JUPYTER_TOKEN JUPYTER_PORT PYTHONPATH PYTHONHOME CURL_HOME TMUX TMUX_TMPDIR
no_proxy=${no_proxy:-${NO_PROXY-}},127.0.0.1,::1,localhost
NO_PROXY=$no_proxy UV_SYSTEM_CERTS=true UV_NATIVE_TLS=true
export no_proxy NO_PROXY UV_SYSTEM_CERTS UV_NATIVE_TLS

OUR_UID=$(id -u)  # once: each program that is started costs milliseconds

# KEY VALUE: prints one fact. An account chooses the names of its files and programs; a newline in
# one of them would start a fact, or a section, of its own.
fact() {
  case $1$2 in
    *[[:cntrl:]]*)
      set -- "$(printf %s "$1" | tr '[:cntrl:]' '[?*]')" "$(printf %s "$2" | tr '[:cntrl:]' '[?*]')"
      ;;
  esac
  printf '%s=%s\n' "$1" "$2"
}
base64_fact() { printf '%s=' "$1"; unwrapped; echo; }  # KEY: prints stdin as a base64 fact

# FILE: a power cut or a full disk may have left half a line. What follows would become part of it.
end_torn_line() { [ -z "$(tail -c 1 "$1" 2>/dev/null)" ] || echo >>"$1"; }

# SECONDS BYTES COMMAND...: runs it with pipes of its own and within these limits (relay.pl).
relay() { perl -e "$RELAY" "$@"; }
# ACCOUNT COMMAND...: six hours are more than any installation takes. An account can stop its
# program, which would keep root's shell, and the run lock, for ever.
run_as() { run_within 21600 0 "$@"; }
run_script_as() { run_as "$1" sh -c "$2"; }  # ACCOUNT SCRIPT
# SECONDS BYTES ACCOUNT COMMAND...: runs it as the account and within these limits; for root, and
# without root's rights, it just runs it.
as_within() {
  if [ "$3" = root ] || [ "$OUR_UID" != 0 ]; then shift 3; "$@"; else run_within "$@"; fi
}
# ACCOUNT COMMAND...: reads what is below a home as its account. A link there could lead root to
# what the account may not see, a pipe or a huge file could keep root waiting.
as_account() { as_within 10 8388608 "$@"; }

# What lies below a home, or in any folder that an account can write to, is read and written as that
# account: it could put a link or a pipe in the way of root, even in the middle of a command.

# PATH [follow]: finds out whose it is (keeper.pl): root, or the account that has to do what is done
# there, nobody if anybody could have put it there. Fails if that account is gone.
# Sets keeper, place, found.
locate() {
  keeper='' place=''
  # Not even a signal ends who waits for a file system of an account, so relay() goes on without it.
  found=$(relay 6 65536 perl -e "$KEEPER" "$@" </dev/null) || { keeper=nobody place=$1; return 1; }
  # shellcheck disable=SC2034  # undo.sh and guard.sh use the place
  keeper=${found%%"
"*} place=${found#*"
"}
}
as_keeper() { as_account "$keeper" "$@"; }  # COMMAND...
# SECONDS COMMAND...: as the keeper too, but for longer. Sets patience.
patiently() { patience=$1; shift; as_within "$patience" 0 "$keeper" "$@"; }

# What the keeper runs. Prints the kind of a file, mode and ids, on a second line what is in it.
# shellcheck disable=SC2016  # the account's shell expands it
LOOK='
if [ -L "$1" ] && [ -z "$2" ]; then echo link; exec readlink "$1"; fi
kind=other
if [ -f "$1" ]; then kind=file; elif [ -d "$1" ]; then kind=folder
elif [ ! -e "$1" ]; then echo none; exit; fi
about=$(stat -L -c "%a %u:%g" "$1" 2>/dev/null || stat -L -f "%Lp %u:%g" "$1") || exit
echo "$kind $about"
[ $kind != file ] || exec cat <"$1"'
# PATH COPY [follow]: reads what is there as the keeper, and writes what is in it to COPY. follow: a
# link too. Sets kind (file, folder, link, other, none; unread: it cannot be read), mode, ids.
look() {
  rm -f "$2" "$2.seen"
  as_keeper sh -c "$LOOK" sh "$1" "${3:-}" </dev/null >"$2.seen" 2>/dev/null || : >"$2.seen"
  kind='' mode='' ids=''
  read -r kind mode ids <"$2.seen"
  # It is what the account says.
  case $mode in '' | *[!0-7]* | ?????*) mode=600 ;; esac
  case $ids in *[!0-9:]* | :* | *:*:* | *:) ids= ;; esac
  case $kind in
    file | link) tail -n +2 "$2.seen" >"$2" ;;
    folder | other | none) ;;
    *) kind=unread ;;
  esac
  code=$?
  rm -f "$2.seen"
  return "$code"
}

# PATH COPY [ANYTHING]: keeps a file as it is, of a folder mode and owner. Of a link to a file, what
# is in it is in COPY.content. With ANYTHING, a link to a folder counts as that folder, and what
# cannot be read is no error: COPY.unread says so. Exits with 73 if there is no room.
# Sets keeper, place, found, kind, mode, ids, code.
keep() {
  locate "$1"
  if [ "$keeper" = root ]; then keep_own "$1" "$2" "${3:-}"; else keep_theirs "$1" "$2" "${3:-}"; fi
}
keep_own() {  # PATH COPY ANYTHING
  if [ -d "$1" ] && { [ ! -L "$1" ] || [ -n "$3" ]; }; then
    mkdir "$2" && chmod "$(mode_of -L "$1")" "$2" && chown "$(ids_of -L "$1")" "$2" || return 73
    return
  fi
  if [ -e "$1" ] || [ -L "$1" ]; then cp -a "$1" "$2" || return 73; fi
  if [ -L "$1" ] && locate "$1" follow; then keep_content "$1" "$2"; fi
}
keep_theirs() {  # PATH COPY ANYTHING
  look "$1" "$2" || return 73
  if [ "$kind" = link ]; then
    set -- "$1" "$2" "$3" "$(cat "$2")"
    rm -f "$2"
    keep_content "$1" "$2" || return
    if [ "$kind" != folder ] || [ -z "$3" ]; then ln -s "$4" "$2" || return 73; return; fi
  fi
  case $kind in
    none) return 0 ;;
    folder) mkdir "$2" || return 73 ;;
    other | unread)
      [ -n "$3" ] || { cannot_read "$1" >&2; return 1; }
      : >"$2" && : >"$2.unread" || return 73
      ;;
  esac
  as_it_was "$2"
}
cannot_read() {  # PATH
  if [ "$keeper" = nobody ]; then
    echo "$1 is in a folder that others can write to, so only what everybody can read is read there: \
move it away, or let root alone write to the folder"
  else echo "$1 is no file that $keeper can read: move it away"; fi
}
keep_content() {  # LINK COPY: keeps what is in the file that it leads to
  look "$1" "$2.content" follow || return 73
  if [ "$kind" = file ]; then as_it_was "$2.content"; else rm -f "$2.content"; fi
}
# COPY: gives it mode and owner of what was read. An account's word counts for the mode, without the
# bits that lend rights, and for a group of its own.
as_it_was() {
  if [ -n "$ids" ] && [ "$OUR_UID" = 0 ]; then
    [ "$keeper" = root ] || ids=$(id -u "$keeper"):$(group_of_keeper "${ids#*:}")
    chown "$ids" "$1" || return 73
  fi
  [ "$keeper" = root ] || case $mode in ????) mode=${mode#?} ;; esac
  chmod "$mode" "$1" || return 73
}

group_of_keeper() {  # GID
  case " $(id -G "$keeper") " in *" $1 "*) echo "$1" ;; *) id -g "$keeper" ;; esac
}

# What the keeper runs, with PATH MODE GROUP, and the content of a file on its input.
# shellcheck disable=SC2016,SC2034  # the account's shell expands it; undo.sh and guard.sh use it
WRITE='umask 077; new=$1.labfab-new; rm -f "$new"
  cat >"$new" && { chgrp "$3" "$new" 2>/dev/null || :; } && chmod "$2" "$new" &&
    { [ ! -L "$1" ] || rm -f "$1"; } && [ ! -d "$1" ] && mv -f "$new" "$1"'
# The same, with PATH TARGET.
# shellcheck disable=SC2016,SC2034  # as above
LINK='rm -f "$1.labfab-new"
  ln -s "$2" "$1.labfab-new" && { [ ! -L "$1" ] || rm -f "$1"; } && [ ! -d "$1" ] &&
    mv -f "$1.labfab-new" "$1"'
group_of() { ids_of "$1" | cut -d: -f2; }  # COPY
is_theirs() { [ "$OUR_UID" != 0 ] || [ "$(owner_of "$1")" = "$keeper" ]; }  # COPY
# COPY: fails if what is in it could be read by root alone, or by another account. Older versions
# read as root what is below a home.
may_become_theirs() { is_theirs "$1" || [ $((0$(mode_of "$1") & 4)) != 0 ]; }

# HOME COMMAND...: runs the tmux of LAB_USER, which may come from its Python or from Homebrew.
# Sets home.
in_tmux() {
  home=$1; shift
  as_account "$LAB_USER" \
    env PATH="$home/$PREFIX/bin:$PATH:/opt/homebrew/bin:/usr/local/bin" tmux "$@" 2>/dev/null
}
# ACCOUNT: prints the folder of its tmux and whose it is, if it is somebody else's. Any account can
# make /tmp/tmux-UID first; tmux then refuses to start. Fails if it is nobody else's. Sets uid, place.
foreign_tmux() {
  uid=$(id -u "$1" 2>/dev/null) || return 1
  place=/tmp/tmux-$uid
  { [ -e "$place" ] || [ -L "$place" ]; } && [ "$(ids_of "$place" | cut -d: -f1)" != "$uid" ] &&
    echo "$place $(owner_of "$place")"
}
# ACCOUNT: puts a folder of its own in that place. Root touches names in /tmp only, which nobody else can
# rename. Whoever makes the folder again meanwhile has to be faster every time. What was there goes into
# a folder of root's, in /tmp too. Sets uid, place, aside.
own_tmux() {
  foreign_tmux "$1" >/dev/null || return 0
  aside=$(mktemp -d /tmp/labfab-aside.XXXXXX) && mkdir -m 700 "$aside/new" &&
    chown "$uid:$(id -g "$1")" "$aside/new" || return
  # shellcheck disable=SC2016  # perl's
  perl -e 'my ($place, $aside) = @ARGV;
    for (1 .. 1000) { rename $place, "$aside/$_"; exit 0 if rename "$aside/new", $place }
    print STDERR "$place: $!\n"; exit 1' "$place" "$aside"
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
rename_over() {
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
