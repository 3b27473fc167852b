# The ways back of single changes, as the journal names them. Follows undo.linux.sh or
# undo.macos.sh.
#
# A function here is a word of the journal: hosts that older versions set up call it with the
# arguments of that time. Neither rename one nor change what it takes.
#
# Called with KEPT (what the journal kept of this change: the file itself, or KEPT.kept/ with each
# / of a path as %) and FORCE (yes: also take back what somebody has changed since). Prints
# `labfab-stays: REASON` for what is left as it is, and `labfab-note: …` for what one should know.

BACKUPS=/var/backups/labfab

stays() { echo "labfab-stays: $*"; exit 0; }
note() { echo "labfab-note: $*"; }
kept() { printf '%s.kept/%s' "$KEPT" "$(printf %s "$1" | tr / %)"; }  # PATH: where its copy is
content() { if [ -L "$1" ]; then echo "$1.content"; else echo "$1"; fi; }  # COPY
# COMMAND...: runs it as $owner, which the caller sets.
as_owner() {
  if [ "$owner" = root ] || [ "$owner" = UNKNOWN ]; then "$@"; else run_as "$owner" "$@"; fi
}

# COPY PATH: gives it the copy's mode and owner. A link may have been put there to lead root
# elsewhere, so links are left alone. Sets owner.
like() {
  if [ -L "$1" ] || [ -L "$2" ]; then return 0; fi
  owner=$(owner_of "$2")
  as_owner chmod "$(mode_of "$1")" "$2" && chown -h "$(ids_of "$1")" "$2"
}

sum() {  # FILE: identifies its content
  if [ -L "$1" ]; then readlink "$1"
  elif [ -f "$1" ]; then sha256 <"$1"
  else echo none; fi
}

backup_of() { echo "$BACKUPS/$(basename "$1")-$(date +%Y%m%dT%H%M%S)"; }  # PATH: a name for it
save() { mkdir -p -m 700 "$BACKUPS" && cp -a "$1" "$(backup_of "$1")"; }

# COPY FILE [OWNER]: puts the copy in the file's place. An account's file is written as that
# account: a link could lead root elsewhere. Sets owner, new.
bring() {
  owner=${3:-$(owner_of "$1")}
  if [ "$owner" = root ] || [ "$owner" = UNKNOWN ]; then
    new=$(new_name "$2") && rm -f "$new" && cp -a "$1" "$new" && take_name "$new" "$2"
  elif [ -L "$1" ]; then
    as_owner sh -c 'rm -f "$1.labfab-new"
      ln -s "$2" "$1.labfab-new" && rm -f "$1" && mv -f "$1.labfab-new" "$1"' \
      sh "$2" "$(readlink "$1")"
  else
    # shellcheck disable=SC2094  # another file: $1 of the inner shell is $2 here
    as_owner sh -c 'umask 077; rm -f "$1.labfab-new"
      cat >"$1.labfab-new" && chmod "$2" "$1.labfab-new" && { [ ! -L "$1" ] || rm -f "$1"; } &&
        [ ! -d "$1" ] && mv -f "$1.labfab-new" "$1"' sh "$2" "$(mode_of "$1")" <"$1"
  fi
}

# PATH SHA256 COMMAND...: restores the file. If somebody changed it since, runs the command instead.
# Sets path, written, now.
file() {
  path=$1 written=$2 now=$(sum "$1"); shift 2
  if [ "$now" = "$(sum "$KEPT")" ]; then
    [ ! -f "$KEPT" ] || like "$KEPT" "$path"
    return
  fi
  if [ "$now" != "$written" ]; then
    if [ -n "$*" ]; then "$@"; return; fi
    [ -n "$FORCE" ] || changed_by_hand "$path"
    [ "$now" = none ] || { save "$path" && note "$path as you changed it is in $BACKUPS"; }
  fi
  if [ -e "$KEPT" ] || [ -L "$KEPT" ]; then bring "$KEPT" "$path"; else rm -f "$path"; fi
}

changed_by_hand() {  # PATH: leaves it
  stays "$1 was changed by hand since, so it is kept (--force takes it back all the same)"
}

# FILE LINE...: removes these lines; restores the kept file if nothing else differs.
# Sets file, real, owner, before, code.
lines() {
  file=$1 real=$1; shift
  [ -f "$file" ] || return 0
  owner=$(owner_of "$file")
  if [ -L "$file" ]; then  # a dotfile that is kept elsewhere: change that, and keep the link
    real=$(real "$file") owner=$(owner_of "$(dirname "$file")")
    [ "$(owner_of "$real")" = "$owner" ] ||
      stays "$file leads to $real, which does not belong to $owner: remove labfab's lines there"
  fi
  before=$KEPT; [ -e "$before" ] || [ -L "$before" ] || before=$(kept "$file")
  without "$real" "$@" && put_back "$before" "$file" "$real" "$owner"
  code=$?
  rm -f "$KEPT.new" "$KEPT.lines" "$KEPT.now"
  return $code
}

# FILE LINE...: writes the file without these lines to KEPT.new. Reads it with no more rights than
# $owner has. Sets from.
without() {
  from=$1; shift
  rm -f "$KEPT.new" "$KEPT.now" && printf '%s\n' "$@" >"$KEPT.lines" &&
    as_owner cat "$from" >"$KEPT.now" || return 1
  grep -vxFf "$KEPT.lines" "$KEPT.now" >"$KEPT.new" || [ ! -s "$KEPT.new" ] || return 1
  chmod "$(mode_of "$from")" "$KEPT.new" && chown "$(ids_of "$from")" "$KEPT.new"
}

# BEFORE FILE REAL OWNER: brings KEPT.new, or the kept file if its text is the same. Sets same.
put_back() {
  same=$(content "$1")
  if [ -e "$same" ] && [ "$(cat "$same")" = "$(cat "$KEPT.new")" ]; then
    [ "$2" != "$3" ] || same=$1
    bring "$same" "$3" "$4"
  elif [ "$2" = "$3" ] && [ ! -e "$same" ] && ! grep -q . "$KEPT.new"; then as_owner rm -f "$2"
  else bring "$KEPT.new" "$3" "$4"; fi
}

restore() { bring "$(kept "$1")" "$1"; }  # PATH
mode() { [ ! -e "$1" ] || like "$(kept "$1")" "$1"; }  # PATH

# PATH: restores mode and owner, or removes the folder if it is new and empty.
folder() {
  [ -d "$1" ] || return 0
  if [ -d "$(kept "$1")" ]; then like "$(kept "$1")" "$1"
  else rmdir "$1" 2>/dev/null || note "$1 stays: it is not empty"; fi
}

# FOLDER of a Python: what somebody made in it. A plain installation has neither of the two.
added() {
  [ -d "$1" ] && [ ! -L "$1" ] || return 0
  if [ -n "$(find "$1/envs" -mindepth 1 -maxdepth 1 ! -name '.conda_envs_dir_test' 2>/dev/null)" ]
  then echo environments
  elif find "$1" \( -name '*.egg-link' -o -name '__editable__*' \) -print | grep -q . ||
    find "$1" -name direct_url.json -exec grep -lE '"editable": *true' {} + | grep -q .
  then echo 'editable installs'; fi
}

# PATH: removes the tree if it is new; moves it away if somebody made something in it.
# Sets found, place.
tree() {
  if [ -e "$(kept "$1")" ] || [ -L "$(kept "$1")" ]; then note "$1 was there before and stays"
    return
  fi
  found=$(added "$1")
  if [ -z "$found" ]; then rm -rf "$1"; return; fi
  place=$(backup_of "$1")
  mkdir -p -m 700 "$BACKUPS" && mv "$1" "$place" &&
    note "$1 has $found that labfab did not make: it is now $place on the host"
}

# Certificates -----------------------------------------------------------------------------------

# FOLDER: removes the new key and certificate that were prepared and not used. Sets owner.
next_key() {
  [ -d "$1" ] || return 0
  owner=$(owner_of "$1")
  as_owner rm -f "$1/next-key.pem" "$1/next-cert.pem" "$1/next-ca.pem"
}

# FOLDER SHA256 of cert.pem: restores key, certificate and CA together. Sets now.
certificate() {
  [ -d "$1" ] || return 0
  now=$(sum "$1/cert.pem")
  if [ "$now" != "$2" ] && [ "$now" != "$(sum "$(kept "$1/cert.pem")")" ]; then
    [ -n "$FORCE" ] || changed_by_hand "$1/cert.pem"
    for name in key cert ca; do [ ! -e "$1/$name.pem" ] || save "$1/$name.pem"; done
    note "the files in $1 as you changed them are in $BACKUPS"
  fi
  handed "$1"
  [ "$1" != /etc/labfab/tls ] || ! systemctl -q is-active apache2 || systemctl reload apache2 ||
    note "Apache did not load the previous certificate: see systemctl status apache2"
}

# FOLDER: restores key, certificate and CA, written as the folder's owner. Sets owner.
handed() {
  [ -d "$1" ] || return 0
  for name in key cert ca; do
    owner=$(owner_of "$1")
    if [ -e "$(kept "$1/$name.pem")" ]; then bring "$(kept "$1/$name.pem")" "$1/$name.pem"
    else as_owner rm -f "$1/$name.pem"; fi
  done
}

# Accounts ---------------------------------------------------------------------------------------

there() { id -u "$1" >/dev/null 2>&1; }  # ACCOUNT: succeeds if it exists

# ACCOUNT LOG: ends JupyterLab's session and removes its log. Sets home, pythons.
session() {
  home=$(home_of "$1")
  pythons=$home/miniforge3/bin:$home/anaconda3/bin:$home/miniconda3/bin
  ! there "$1" || run_as "$1" env PATH="$pythons:$PATH:/opt/homebrew/bin:/usr/local/bin" \
    tmux kill-session -t =jupyter 2>/dev/null
  [ -e "$(kept "$2")" ] || rm -f "$2"
}

# ACCOUNT FOLDER: lets conda remove its lines from the startup files. A file whose text is then the
# kept one is restored. Sets home, was, now.
conda_shell() {
  home=$(home_of "$1")
  [ ! -x "$home/$2/bin/conda" ] ||
    run_as "$1" env HOME="$home" "$home/$2/bin/conda" init -q --reverse bash zsh
  for name in .bashrc .bash_profile .zshrc; do
    was=$(kept "$home/$name") now=$home/$name
    if [ -L "$now" ] || [ -L "$was" ] || [ ! -e "$now" ]; then continue; fi
    if [ ! -e "$was" ]; then [ -s "$now" ] || run_as "$1" rm -f "$now"
    elif [ "$(cat "$was")" = "$(cat "$now")" ]; then bring "$was" "$now"; fi
  done
}

# ACCOUNT: ends its notebooks that run. Their output belongs to the account and stays.
jobs() {
  there "$1" || return 0
  pkill -TERM -u "$1" -f '/\.local/share/labfab/job\.py [0-9]+$'
  wait_for_end pgrep -u "$1" -f '/\.local/share/labfab/job\.py [0-9]+$'
}

# COMMAND...: waits, 5 s at most, until it prints nothing.
wait_for_end() { for _ in $(seq 25); do [ -n "$("$@")" ] || return 0; sleep 0.2; done; }

# HOME: succeeds if it contains more than the account came with and programs write by themselves.
holds_data() {
  [ -d "$1" ] && cd "$1" && find . \( -path ./.cache -o -path ./.local/state \
    -o -path ./.local/share/jupyter/runtime -o -path ./.local/share/jupyter/nbsignatures.db \
    -o -path ./.local/share/jupyter/notebook_secret -o -path ./.jupyter/lab.log \
    -o -path ./Library/Jupyter/runtime -o -path ./Library/Jupyter/nbsignatures.db \
    -o -path ./Library/Jupyter/notebook_secret -o -path ./.jupyter/migrated \
    -o -path ./.sudo_as_admin_successful -o -path ./Library/Caches -o -path ./Library/Logs \
    -o -path ./Library/Preferences -o -path ./.CFUserTextEncoding -o -path ./.zsh_sessions \
    \) -prune -o ! -type d -print |
    while read -r name; do from_skeleton "$name" || echo "$name"; done | grep -q .
}

# NAME: removes the account if nothing of it is in use. A home with data is moved, never deleted.
# Sets home, uid, busy, other.
account() {
  if there "$1"; then
    home=$(home_of "$1") uid=$(id -u "$1")
    wait_for_end works "$1"
    busy=$(works "$1" | tr '\n' ' ')
    [ -z "$busy" ] || [ -n "$FORCE" ] ||
      stays "the account $1 still runs ${busy% }: end that, or --force"
    other=$(elsewhere "$1" "$home")
    [ -z "$other" ] ||
      stays "the account $1 owns $other: move such files or give them to somebody else"
    end_logins "$1"; pkill -KILL -u "$1"
    wait_for_end ps -o pid= -u "$1"
    clear_home "$1" "$home" || return 1
    rm -rf "/tmp/tmux-$uid"
    delete_account "$1" || return 1
  fi
  old_backups
}

clear_home() {  # ACCOUNT HOME. Sets place.
  if [ -d "$(kept "$2")" ]; then note "$2 was there before and stays"
  elif holds_data "$2"; then
    place=$BACKUPS/$1-$(date +%Y%m%dT%H%M%S)
    mkdir -p -m 700 "$BACKUPS" && mv "$2" "$place" && note "$2 is now $place on the host"
  else rm -rf "$2" || true; fi
}
