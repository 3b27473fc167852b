# The ways back of single changes, as the journal names them; follows undo.linux.sh or undo.macos.sh. Called with KEPT (what the journal kept for this change:
# the file itself, or KEPT.kept/ with / as % in the names) and FORCE (yes: also what was changed by hand since).
# `labfab-stays: …` tells why something is left as it is, `labfab-note: …` what one should know.

BACKUPS=/var/backups/labfab

stays() { echo "labfab-stays: $*"; exit 0; }
note() { echo "labfab-note: $*"; }
kept() { printf '%s.kept/%s' "$KEPT" "$(printf %s "$1" | tr / %)"; }
content() { if [ -L "$1" ]; then echo "$1.content"; else echo "$1"; fi; }
as_owner() { if [ "$owner" = root ] || [ "$owner" = UNKNOWN ]; then "$@"; else run_as "$owner" "$@"; fi; }

like() {  # copy path: with its mode and owner; a link could have been put there to lead root elsewhere
  if [ -L "$1" ] || [ -L "$2" ]; then return 0; fi
  owner=$(owner_of "$2")
  as_owner chmod "$(mode_of "$1")" "$2" && chown -h "$(ids_of "$1")" "$2"
}

sum() {  # file: what tells one content from another
  if [ -L "$1" ]; then readlink "$1"
  elif [ -f "$1" ]; then sha256 <"$1"
  else echo none; fi
}

save() { mkdir -p -m 700 "$BACKUPS" && cp -a "$1" "$BACKUPS/$(basename "$1")-$(date +%Y%m%dT%H%M%S)"; }

# An account's file is written by that account: root could be led elsewhere by a link.
bring() {  # copy file [owner]: the copy takes the file's place
  owner=${3:-$(owner_of "$1")}
  if [ "$owner" = root ] || [ "$owner" = UNKNOWN ]; then
    new=$(new_name "$2") && rm -f "$new" && cp -a "$1" "$new" && take_name "$new" "$2"
  elif [ -L "$1" ]; then
    as_owner sh -c 'rm -f "$1.labfab-new"; ln -s "$2" "$1.labfab-new" && rm -f "$1" && mv -f "$1.labfab-new" "$1"' sh "$2" "$(readlink "$1")"
  else
    as_owner sh -c 'umask 077; rm -f "$1.labfab-new"; cat >"$1.labfab-new" && chmod "$2" "$1.labfab-new" &&
      { [ ! -L "$1" ] || rm -f "$1"; } && [ ! -d "$1" ] && mv -f "$1.labfab-new" "$1"' sh "$2" "$(mode_of "$1")" <"$1"
  fi
}

file() {  # path sha256 command...: as it was; where somebody changed it since, the command instead
  path=$1 written=$2 now=$(sum "$1"); shift 2
  if [ "$now" = "$(sum "$KEPT")" ]; then
    [ ! -f "$KEPT" ] || like "$KEPT" "$path"
    return
  fi
  if [ "$now" != "$written" ]; then
    if [ -n "$*" ]; then "$@"; return; fi
    [ -n "$FORCE" ] || stays "$path was changed by hand since, so it is kept (--force takes it back all the same)"
    [ "$now" = none ] || { save "$path" && note "$path as you changed it is in $BACKUPS"; }
  fi
  if [ -e "$KEPT" ] || [ -L "$KEPT" ]; then bring "$KEPT" "$path"; else rm -f "$path"; fi
}

lines() {  # file line...: without these lines; exactly as it was where nothing else differs
  file=$1 real=$1; shift
  [ -f "$file" ] || return 0
  owner=$(owner_of "$file")
  if [ -L "$file" ]; then  # a dotfile that is kept elsewhere: that is what changes, and the link stays
    real=$(real "$file") owner=$(owner_of "$(dirname "$file")")
    [ "$(owner_of "$real")" = "$owner" ] || stays "$file leads to $real, which is not of $owner: take the lines of labfab out there"
  fi
  before=$KEPT; [ -e "$before" ] || [ -L "$before" ] || before=$(kept "$file")
  without "$real" "$@" && put_back "$before" "$file" "$real" "$owner"
  code=$?
  rm -f "$KEPT.new" "$KEPT.lines" "$KEPT.now"
  return $code
}

without() {  # file line...: KEPT.new is the file without them, read with no more rights than its account has
  from=$1; shift
  rm -f "$KEPT.new" "$KEPT.now" && printf '%s\n' "$@" >"$KEPT.lines" && as_owner cat "$from" >"$KEPT.now" || return 1
  grep -vxFf "$KEPT.lines" "$KEPT.now" >"$KEPT.new" || [ ! -s "$KEPT.new" ] || return 1
  chmod "$(mode_of "$from")" "$KEPT.new" && chown "$(ids_of "$from")" "$KEPT.new"
}

put_back() {  # before file real owner: what KEPT.new holds, or the file of before where that says the same
  same=$(content "$1")
  if [ -e "$same" ] && [ "$(cat "$same")" = "$(cat "$KEPT.new")" ]; then
    [ "$2" != "$3" ] || same=$1
    bring "$same" "$3" "$4"
  elif [ "$2" = "$3" ] && [ ! -e "$same" ] && ! grep -q . "$KEPT.new"; then as_owner rm -f "$2"
  else bring "$KEPT.new" "$3" "$4"; fi
}

restore() { bring "$(kept "$1")" "$1"; }
mode() { [ ! -e "$1" ] || like "$(kept "$1")" "$1"; }

folder() {  # path: gone if it was not there and is empty, else with its mode and owner of before
  [ -d "$1" ] || return 0
  if [ -d "$(kept "$1")" ]; then like "$(kept "$1")" "$1"
  else rmdir "$1" 2>/dev/null || note "$1 stays, for something is in it"; fi
}

added() {  # folder: what somebody made in it, for an installation alone has neither
  [ -d "$1" ] && [ ! -L "$1" ] || return 0
  if [ -n "$(find "$1/envs" -mindepth 1 -maxdepth 1 ! -name '.conda_envs_dir_test' 2>/dev/null)" ]; then echo environments
  elif find "$1" \( -name '*.egg-link' -o -name '__editable__*' \) -print | grep -q . ||
    find "$1" -name direct_url.json -exec grep -lE '"editable": *true' {} + | grep -q .; then echo 'editable installs'; fi
}

tree() {  # path: gone with all that is in it, unless it was there before; moved where somebody made something in it
  if [ -e "$(kept "$1")" ] || [ -L "$(kept "$1")" ]; then note "$1 was there before and stays"; return; fi
  found=$(added "$1")
  if [ -z "$found" ]; then rm -rf "$1"; return; fi
  place=$BACKUPS/$(basename "$1")-$(date +%Y%m%dT%H%M%S)
  mkdir -p -m 700 "$BACKUPS" && mv "$1" "$place" && note "$1 has $found that labfab did not make: it is now $place on the host"
}

# Certificates -----------------------------------------------------------------------------------

next_key() {  # folder: what was made there and not used
  [ -d "$1" ] || return 0
  owner=$(owner_of "$1")
  as_owner rm -f "$1/next-key.pem" "$1/next-cert.pem" "$1/next-ca.pem"
}

certificate() {  # folder sha256: key, certificate and CA of before; with the certificate, its key was replaced
  [ -d "$1" ] || return 0
  now=$(sum "$1/cert.pem")
  if [ "$now" != "$2" ] && [ "$now" != "$(sum "$(kept "$1/cert.pem")")" ]; then
    [ -n "$FORCE" ] || stays "$1/cert.pem was changed by hand since, so it is kept (--force takes it back all the same)"
    for name in key cert ca; do [ ! -e "$1/$name.pem" ] || save "$1/$name.pem"; done
    note "the files in $1 as you changed them are in $BACKUPS"
  fi
  for name in key cert ca; do
    owner=$(owner_of "$1")
    if [ -e "$(kept "$1/$name.pem")" ]; then bring "$(kept "$1/$name.pem")" "$1/$name.pem"; else as_owner rm -f "$1/$name.pem"; fi
  done
  [ "$1" != /etc/labfab/tls ] || ! systemctl -q is-active apache2 || systemctl reload apache2 ||
    note "Apache did not take the certificate of before: see systemctl status apache2"
}

handed() {  # folder: key, certificate and CA of before, as the account writes them
  [ -d "$1" ] || return 0
  for name in key cert ca; do
    owner=$(owner_of "$1")
    if [ -e "$(kept "$1/$name.pem")" ]; then bring "$(kept "$1/$name.pem")" "$1/$name.pem"; else as_owner rm -f "$1/$name.pem"; fi
  done
}

# Accounts ---------------------------------------------------------------------------------------

there() { id -u "$1" >/dev/null 2>&1; }

session() {  # account log: end JupyterLab's session
  home=$(home_of "$1")
  pythons=$home/miniforge3/bin:$home/anaconda3/bin:$home/miniconda3/bin
  ! there "$1" || run_as "$1" env PATH="$pythons:$PATH:/opt/homebrew/bin:/usr/local/bin" tmux kill-session -t =jupyter 2>/dev/null
  [ -e "$(kept "$2")" ] || rm -f "$2"
}

conda_shell() {  # account folder: conda takes its lines out; a file that says the same as before is that of before
  home=$(home_of "$1")
  [ ! -x "$home/$2/bin/conda" ] || run_as "$1" env HOME="$home" "$home/$2/bin/conda" init -q --reverse bash zsh
  for name in .bashrc .bash_profile .zshrc; do
    was=$(kept "$home/$name") now=$home/$name
    if [ -L "$now" ] || [ -L "$was" ] || [ ! -e "$now" ]; then continue; fi
    if [ ! -e "$was" ]; then [ -s "$now" ] || run_as "$1" rm -f "$now"
    elif [ "$(cat "$was")" = "$(cat "$now")" ]; then bring "$was" "$now"; fi
  done
}

jobs() {  # account: end its notebooks that run; what they wrote is the account's, and stays
  there "$1" || return 0
  pkill -TERM -u "$1" -f '/\.local/share/labfab/job\.py [0-9]+$'
  wait_for_end pgrep -u "$1" -f '/\.local/share/labfab/job\.py [0-9]+$'
}

wait_for_end() { for _ in $(seq 25); do [ -n "$("$@")" ] || return 0; sleep 0.2; done; }

holds_data() {  # home: whether there is more than came with the account and programs write by themselves
  [ -d "$1" ] && cd "$1" && find . \( -path ./.cache -o -path ./.local/state -o -path ./.local/share/jupyter/runtime \
    -o -path ./.local/share/jupyter/nbsignatures.db -o -path ./.local/share/jupyter/notebook_secret -o -path ./.jupyter/lab.log \
    -o -path ./Library/Jupyter/runtime -o -path ./Library/Jupyter/nbsignatures.db -o -path ./Library/Jupyter/notebook_secret \
    -o -path ./.jupyter/migrated -o -path ./.sudo_as_admin_successful -o -path ./Library/Caches -o -path ./Library/Logs \
    -o -path ./Library/Preferences -o -path ./.CFUserTextEncoding -o -path ./.zsh_sessions \) -prune -o ! -type d -print |
    while read -r name; do from_skeleton "$name" || echo "$name"; done | grep -q .
}

account() {  # name: gone when nothing of it is left; a home with data is moved, never deleted
  if there "$1"; then
    home=$(home_of "$1") uid=$(id -u "$1")
    wait_for_end works "$1"
    busy=$(works "$1" | tr '\n' ' ')
    [ -z "$busy" ] || [ -n "$FORCE" ] || stays "the account $1 still runs ${busy% }: end that, or --force"
    other=$(elsewhere "$1" "$home")
    [ -z "$other" ] || stays "the account $1 owns $other: move such files or give them to somebody else"
    end_logins "$1"; pkill -KILL -u "$1"
    wait_for_end ps -o pid= -u "$1"
    if [ -d "$(kept "$home")" ]; then note "$home was there before and stays"
    elif holds_data "$home"; then
      place=$BACKUPS/$1-$(date +%Y%m%dT%H%M%S)
      mkdir -p -m 700 "$BACKUPS" && mv "$home" "$place" && note "$home is now $place on the host" || return 1
    else rm -rf "$home"; fi
    rm -rf "/tmp/tmux-$uid"
    delete_account "$1" || return 1
  fi
  old_backups
}
