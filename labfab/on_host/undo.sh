# The ways back of single changes, as the journal names them. Follows undo.linux.sh or
# undo.macos.sh.
#
# A function here is a word of the journal: hosts that older versions set up call it with the
# arguments of that time. Neither rename one nor change what it takes.
#
# Called with KEPT (what the journal kept of this change: the file itself, or KEPT.kept/ with each
# / of a path as %) and FORCE (yes: also take back what somebody has changed since). Prints
# `labfab-stays: REASON` for what is left as it is, and `labfab-note: …` for what the user should know.
#
# What lies below a home is undone as its account (words.sh): it may have put links and pipes there.

BACKUPS=/var/backups/labfab

plain() { printf %s "$1" | tr '[:cntrl:]' '[?*]'; }  # TEXT that may have an account's names in it
stays() { echo "labfab-stays: $(plain "$*")"; exit 0; }
note() { echo "labfab-note: $(plain "$*")"; }
kept() { printf '%s.kept/%s' "$KEPT" "$(printf %s "$1" | tr / %)"; }  # PATH: where its copy is
content() { if [ -L "$1" ]; then echo "$1.content"; else echo "$1"; fi; }  # COPY
# PATH: finds out as whom to undo it. Sets keeper, place, found.
whose() { locate "$1" || stays "$1, which belongs to an account that is gone: undo it by hand"; }

# What the keeper runs, with PATH MODE GROUP.
# shellcheck disable=SC2016  # the account's shell expands it
SET_MODE='[ ! -L "$1" ] || exit 0
  [ -O "$1" ] || exit 3
  chgrp "$3" "$1" 2>/dev/null; chmod "$2" "$1"'
# COPY PATH: gives it the copy's mode and owner. Links are left alone. Sets keeper, place, found.
copy_mode() {
  whose "$2"
  [ ! -L "$1" ] || return 0
  if [ "$keeper" = root ] && [ -L "$2" ]; then  # a home may be a link that root made
    [ -d "$1" ] && locate "$2/." && [ "$keeper" != root ] || return 0
    set -- "$1" "$2/."
  fi
  if [ "$keeper" = root ]; then
    chown -h "$(ids_of "$1")" "$2" && chmod "$(mode_of "$1")" "$2"
    return
  fi
  as_keeper sh -c "$SET_MODE" sh "$2" "$(mode_of "$1")" "$(group_of "$1")"
  case $? in
    0) told_of_owner "$1" "$2" ;;
    3) note "$2 does not belong to $keeper: its mode and owner stay" ;;
    *) return 1 ;;
  esac
}
# COPY PATH: only root could give it to somebody else again, and would not know to what.
told_of_owner() { is_theirs "$1" || note "$2 belongs to $keeper now, not to $(owner_of "$1")"; }

content_id() {  # FILE: identifies its content. Sets keeper, place, found, kind, mode, ids, code.
  if ! locate "$1"; then echo unknown; return; fi
  if [ "$keeper" != root ]; then
    look "$1" "$KEPT.look"
    case $kind in
      link) cat "$KEPT.look" ;;
      file) sha256 <"$KEPT.look" ;;
      unread) echo unknown ;;
      *) echo none ;;
    esac
    rm -f "$KEPT.look"
  elif [ -L "$1" ]; then readlink "$1"
  elif [ -f "$1" ]; then sha256 <"$1"
  else echo none; fi
}

backup_of() { echo "$BACKUPS/$(basename "$1")-$(date +%Y%m%dT%H%M%S)"; }  # PATH: a name for it
save() { mkdir -p -m 700 "$BACKUPS" && keep "$1" "$(backup_of "$1")"; }

# COPY FILE [ACCOUNT]: puts the copy in the file's place, as this account instead of the one whose
# place it is. Sets keeper, place, found, new.
install_copy() {
  whose "$2"
  [ ! -e "$1.unread" ] || stays "$2: it could not be read when labfab changed it"
  keeper=${3:-$keeper}
  if [ "$keeper" = root ]; then
    new=$(new_name "$2") && rm -f "$new" && cp -a "$1" "$new" && rename_over "$new" "$2"
  elif [ -L "$1" ]; then as_keeper sh -c "$LINK" sh "$2" "$(readlink "$1")" </dev/null
  else
    set -- "$1" "$2" "$(mode_of "$1")" "$(group_of "$1")"
    may_become_theirs "$1" ||
      stays "$2, which only $(owner_of "$1") could read: it is $1 on the host"
    as_keeper sh -c "$WRITE" sh "$2" "$3" "$4" <"$1" && told_of_owner "$1" "$2"
  fi
}
delete() { whose "$1"; as_keeper rm -f "$1" </dev/null; }  # FILE. Sets keeper, place, found.
there_is() { whose "$2"; as_keeper test "$1" "$2" </dev/null; }  # -e|-d|-f|-L|-S PATH

# PATH SHA256 COMMAND...: restores the file. If somebody changed it since, runs the command instead.
# Sets path, written, now, was.
file() {
  whose "$1"
  path=$1 written=$2 now=$(content_id "$1") was=$(content_id "$KEPT"); shift 2
  if [ "$now" = "$was" ]; then
    [ ! -f "$KEPT" ] || copy_mode "$KEPT" "$path"
    return
  fi
  if [ "$now" != "$written" ]; then
    if [ -n "$*" ]; then "$@"; return; fi
    [ -n "$FORCE" ] || changed_by_hand "$path"
    [ "$now" = none ] || { save "$path" && note "$path as you changed it is in $BACKUPS"; } || return
  fi
  if [ -e "$KEPT" ] || [ -L "$KEPT" ]; then install_copy "$KEPT" "$path"; else delete "$path"; fi
}

changed_by_hand() {  # PATH: leaves it
  stays "$1 was changed by hand since, so it is kept (--force takes it back all the same)"
}

# FILE LINE...: removes these lines; restores the kept file if nothing else differs.
# Sets file, real, before, code.
lines() {
  file=$1 real=$1; shift
  whose "$file"
  if as_keeper test -L "$file" </dev/null; then
    # A dotfile that is kept elsewhere: change that, and keep the link.
    real=$(as_keeper perl -MCwd=abs_path -e 'print abs_path($ARGV[0]) // ""' "$file" </dev/null)
    is_ours "$real" ||
      stays "$file leads to $real, which does not belong to $(who): remove labfab's lines there"
  fi
  look "$real" "$KEPT.now"
  case $kind in
    file) ;;
    unread) stays "$file, which $(who) cannot read: remove labfab's lines there" ;;
    *) return 0 ;;
  esac
  before=$KEPT; [ -e "$before" ] || [ -L "$before" ] || before=$(kept "$file")
  strip_lines "$@" && put_back "$before" "$file" "$real"
  code=$?
  rm -f "$KEPT.new" "$KEPT.lines" "$KEPT.now"
  return "$code"
}
who() {
  case $keeper in root) id -un ;; nobody) echo "the account nobody" ;; *) echo "$keeper" ;; esac
}
# FILE behind a link: succeeds if it is the keeper's. In root's, no account may have a hand.
is_ours() {
  [ -n "$1" ] && as_keeper test -O "$1" </dev/null || return 1
  [ "$keeper" != root ] || [ "$(locate "$1" && echo "$keeper")" = root ]
}

# LINE...: writes KEPT.now without these lines to KEPT.new.
strip_lines() {
  rm -f "$KEPT.new" && printf '%s\n' "$@" >"$KEPT.lines" || return 1
  grep -vxFf "$KEPT.lines" "$KEPT.now" >"$KEPT.new" || [ ! -s "$KEPT.new" ] || return 1
  as_it_was "$KEPT.new"
}

# BEFORE FILE REAL: brings KEPT.new, or the kept file if its text is the same. Sets same.
put_back() {
  same=$(content "$1")
  if [ -e "$same" ] && [ ! -e "$same.unread" ] && [ "$(cat "$same")" = "$(cat "$KEPT.new")" ]; then
    [ "$2" != "$3" ] || same=$1
    install_copy "$same" "$3" "$keeper"
  elif [ "$2" = "$3" ] && [ ! -e "$same" ] && ! grep -q . "$KEPT.new"; then delete "$2"
  else install_copy "$KEPT.new" "$3" "$keeper"; fi
}

restore() { install_copy "$(kept "$1")" "$1"; }  # PATH
mode() { ! there_is -e "$1" || copy_mode "$(kept "$1")" "$1"; }  # PATH

# PATH: restores mode and owner, or removes the folder if it is new and empty.
folder() {
  there_is -d "$1" || return 0
  if [ -d "$(kept "$1")" ]; then copy_mode "$(kept "$1")" "$1"
  else as_keeper rmdir "$1" </dev/null 2>/dev/null || note "$1 stays: it is not empty"; fi
}

# What the keeper runs, with the FOLDER of a Python: prints what somebody made in it. A plain
# installation has neither of the two.
# shellcheck disable=SC2016  # the account's shell expands it
ADDED='[ -d "$1" ] && [ ! -L "$1" ] || exit 0
  if [ -n "$(find "$1/envs" -mindepth 1 -maxdepth 1 ! -name .conda_envs_dir_test 2>/dev/null)" ]
  then echo environments
  elif find "$1" \( -name "*.egg-link" -o -name "__editable__*" \) -print | grep -q . ||
    find "$1" -type f -name direct_url.json -exec grep -lE "\"editable\": *true" {} + | grep -q .
  then echo editable installs; fi'

# PATH: removes the tree if it is new; moves it away if somebody made something in it.
# Sets made, target.
tree() {
  if [ -e "$(kept "$1")" ] || [ -L "$(kept "$1")" ]; then note "$1 was there before and stays"
    return
  fi
  whose "$1"
  made=$(patiently 120 sh -c "$ADDED" sh "$1" </dev/null) || made="something"
  if [ -z "$made" ]; then
    patiently 1200 rm -rf "$1" </dev/null && return
    made="files of somebody else"
  fi
  target=$(backup_of "$1")
  move_away "$1" "$target" "$keeper" &&
    note "$1 has $made that labfab did not make: it is now $target on the host"
}

# PATH TARGET ACCOUNT: moves what the account has there to a folder of root's. Its name there is all
# that root touches: what is in it is copied by the account, if it must be.
# Reads place: the folder with the name has no link on its way. Sets parent, failed, keeper.
move_away() {
  mkdir -p -m 700 "$BACKUPS" || return
  locate "$1" || return
  parent=${place%/*}
  # shellcheck disable=SC2016  # perl's
  (cd -P "${parent:-/}" && [ "$(pwd -P)" = "${parent:-/}" ] &&
    perl -e 'rename $ARGV[0], $ARGV[1] or exit 1' "./${place##*/}" "$2") && return
  mkdir -m 700 "$2" && chown "$3" "$2" || return  # on another disk
  keeper=$3
  failed=$( {
    { patiently 1200 tar -C "$1" -cf - . </dev/null || echo 1 >&3; } |
      if ! cd "$2" || ! patiently 1200 tar -xpf -; then echo 1 >&3; fi
  } 3>&1 >/dev/null)
  if [ -n "$failed" ]; then
    (cd "$2" && empty .)
    rmdir "$2"
    echo "$1 could not be copied to $2" >&2
    return 1
  fi
  (cd / && empty "$1")
  whose "$1"
  as_keeper rmdir "$1" </dev/null
}
# FOLDER: deletes what is in it, as the keeper. Until then, macOS forbids to delete ~/Library.
# shellcheck disable=SC2016  # the account's shell expands it
empty() {
  patiently 1200 sh -c 'cd "$1" || exit; chmod -RN . 2>/dev/null
    find . -mindepth 1 -maxdepth 1 -exec rm -rf {} +' sh "$1" </dev/null
}

# Certificates -----------------------------------------------------------------------------------

# FOLDER: removes the new key and certificate that were prepared and not used.
next_key() {
  there_is -d "$1" || return 0
  as_keeper rm -f "$1/next-key.pem" "$1/next-cert.pem" "$1/next-ca.pem" </dev/null
}

# FOLDER SHA256 of cert.pem: restores key, certificate and CA together. Sets now.
certificate() {
  there_is -d "$1" || return 0
  now=$(content_id "$1/cert.pem")
  if [ "$now" != "$2" ] && [ "$now" != "$(content_id "$(kept "$1/cert.pem")")" ]; then
    [ -n "$FORCE" ] || changed_by_hand "$1/cert.pem"
    for name in key cert ca; do save "$1/$name.pem" || return; done
    note "the files in $1 as you changed them are in $BACKUPS"
  fi
  handed "$1"
  [ "$1" != /etc/labfab/tls ] || ! systemctl -q is-active apache2 || systemctl reload apache2 ||
    note "Apache did not load the previous certificate: see systemctl status apache2"
}

# FOLDER: restores key, certificate and CA.
handed() {
  there_is -d "$1" || return 0
  for name in key cert ca; do
    if [ -e "$(kept "$1/$name.pem")" ]; then install_copy "$(kept "$1/$name.pem")" "$1/$name.pem"
    else delete "$1/$name.pem"; fi
  done
}

# Accounts ---------------------------------------------------------------------------------------

account_exists() { id -u "$1" >/dev/null 2>&1; }  # ACCOUNT: succeeds if it exists

# ACCOUNT LOG: ends JupyterLab's session, removes its log and the socket that it leaves beside that.
# Sets home, pythons.
session() {
  home=$(home_of "$1")
  pythons=$home/miniforge3/bin:$home/anaconda3/bin:$home/miniconda3/bin
  ! account_exists "$1" ||
    as_account "$1" env PATH="$pythons:$PATH:/opt/homebrew/bin:/usr/local/bin" \
    tmux kill-session -t =jupyter </dev/null 2>/dev/null
  [ -e "$(kept "$2")" ] || delete "$2"
  ! there_is -S "${2%/*}/lab.sock" || delete "${2%/*}/lab.sock"
}

# ACCOUNT FOLDER: lets conda remove its lines from the startup files. A file whose text is then the
# kept one is restored. Sets home, was, now, keeper.
conda_shell() {
  home=$(home_of "$1") keeper=$1
  # shellcheck disable=SC2016  # the account's shell expands it
  patiently 120 env HOME="$home" \
    sh -c '[ ! -x "$1/bin/conda" ] || exec "$1/bin/conda" init -q --reverse bash zsh' \
    sh "$home/$2" </dev/null
  for name in .bashrc .bash_profile .zshrc; do
    was=$(kept "$home/$name") now=$home/$name
    whose "$now"
    look "$now" "$KEPT.now"
    if [ "$kind" != file ] || [ -L "$was" ] || [ -e "$was.unread" ]; then continue; fi
    if [ ! -e "$was" ]; then [ -s "$KEPT.now" ] || delete "$now"
    elif [ "$(cat "$was")" = "$(cat "$KEPT.now")" ]; then install_copy "$was" "$now"; fi
  done
  rm -f "$KEPT.now"
}

# ACCOUNT: ends its notebooks that run. Their output belongs to the account and stays.
jobs() {
  account_exists "$1" || return 0
  as_account "$1" pkill -TERM -u "$1" -f '/\.local/share/labfab/job\.py [0-9]+$' </dev/null
  wait_for_end as_account "$1" pgrep -u "$1" -f '/\.local/share/labfab/job\.py [0-9]+$'
}

# COMMAND...: waits, 5 s at most, until it prints nothing.
wait_for_end() {
  for _ in $(seq 25); do [ -n "$("$@" </dev/null)" ] || return 0; sleep 0.2; done
}

# What the keeper runs, with HOME and the FOLDERS that a new home is made from, one a line.
# shellcheck disable=SC2016  # the account's shell expands it
HOLDS='cd "$1" || exit
find . \( -type s -o -path ./.cache -o -path ./.local/state \
    -o -path ./.local/share/jupyter/runtime -o -path ./.local/share/jupyter/nbsignatures.db \
    -o -path ./.local/share/jupyter/notebook_secret -o -path ./.jupyter/lab.log \
    -o -path ./Library/Jupyter/runtime -o -path ./Library/Jupyter/nbsignatures.db \
    -o -path ./Library/Jupyter/notebook_secret -o -path ./.jupyter/migrated \
    -o -path ./.sudo_as_admin_successful -o -path ./Library/Caches -o -path ./Library/Logs \
    -o -path ./Library/Preferences -o -path ./.CFUserTextEncoding -o -path ./.zsh_sessions \
    \) -prune -o ! -type d -print | while read -r name; do
  [ ! -L "$name" ] && [ -f "$name" ] && printf "%s\n" "$2" | {
    while read -r folder; do ! cmp -s "$name" "$folder/$name" || exit 0; done; exit 1
  } || echo data
done | grep -q . || echo nothing'
# HOME: succeeds if it contains more than the account came with and programs write by themselves.
holds_data() {
  [ -d "$1" ] || return 1
  locate "$1/." || return 0
  [ "$(patiently 120 sh -c "$HOLDS" sh "$1" "$(skeletons)" </dev/null)" != nothing ]
}

# Ends all processes of the account with this UID in one pass of the kernel. A look at /proc, as pkill
# and userdel take one, misses whoever forks and exits fast enough. The effective uid is the account's,
# so the kernel ends what the account could end, and nothing else. The other uids are nobody's at all,
# where setresuid is known: otherwise the account could end this first.
# shellcheck disable=SC2016  # perl's
END_ALL='
  use strict; use POSIX ();
  my ($uid, $nobody, $is_set) = ($ARGV[0], 4294967290, -1);
  my $number = length pack("l!", 0) == 8 && {x86_64 => 117, aarch64 => 147}->{(POSIX::uname())[4]};
  exit 2 if $uid !~ /^\d+\z/ || $uid == 0;
  $is_set = syscall $number, $nobody, $uid + 0, $nobody if $number && $^O eq "linux";
  POSIX::setuid($uid) if $is_set != 0;
  exit 2 if $> != $uid || $< != ($is_set ? $uid : $nobody);
  kill "KILL", -1'
# shellcheck disable=SC2009  # pgrep prints no states
alive() { ps -o stat= -o pid= -u "$1" | grep -v '^ *Z'; }  # UID: prints its processes
end_processes() {  # UID: fails if some are left
  for _ in $(seq 25); do
    perl -e "$END_ALL" "$1" </dev/null
    # Once more, for a login that was just beginning.
    [ -n "$(alive "$1")" ] || { perl -e "$END_ALL" "$1" </dev/null; return 0; }
    sleep 0.2
  done
  return 1
}

# NAME: removes the account if nothing of it is in use. A home with data is moved, never deleted.
# What would live on as its number would become the next account's. Sets home, uid, busy, others.
account() {
  if account_exists "$1"; then
    home=$(home_of "$1") uid=$(id -u "$1")
    wait_for_end works "$1"
    busy=$(works "$1" | tr '\n' ' ')
    [ -z "$busy" ] || [ -n "$FORCE" ] ||
      stays "the account $1 still runs ${busy% }: end that, or --force"
    if [ -z "$FORCE" ]; then
      others=$(elsewhere "$1" "$home") || stays "the account $1: what else it owns $TOO_MUCH"
      [ -z "$others" ] ||
        stays "the account $1 owns $(some_of "$others"): move that or give it to somebody else, or --force"
    fi
    lock_account "$1" || return 1
    end_logins "$1"
    end_processes "$uid" || stays "the account $1: its processes cannot be ended; it $IS_LOCKED"
    # Only now it can make no more, nor hide it from who is looking.
    others=$(elsewhere "$1" "$home") || stays "the account $1: what else it owns $TOO_MUCH; it $IS_LOCKED"
    [ -z "$others" ] || { [ -n "$FORCE" ] && move_others "$1" "$others"; } ||
      stays "the account $1 owns $(some_of "$others"); it $IS_LOCKED"
    clear_home "$1" "$home" || { note "the account $1 $IS_LOCKED"; return 1; }
    patiently_as "$1" sh -c "$EMPTY_TEMPORARY" sh "$uid" </dev/null
    others=$(in_temporary "$uid")
    [ -z "$others" ] || stays "the account $1 owns $(some_of "$others"); it $IS_LOCKED"
    delete_account "$1" || return 1
  fi
  old_backups
}
TOO_MUCH='takes too long to find, or is too much'
# LINES: at most five of them, on one line.
some_of() {
  printf '%s\n' "$1" | awk 'NR <= 5 { printf "%s%s", (NR > 1 ? ", " : ""), $0 }
    END { if (NR > 5) printf " and %d more", NR - 5 }'
}
patiently_as() { keeper=$1; shift; patiently 120 "$@"; }  # ACCOUNT COMMAND...
# What the account runs, with its UID: a program there that lends its rights would lend the next
# account's. A folder may be closed to its owner.
# shellcheck disable=SC2016  # the account's shell expands it
EMPTY_TEMPORARY='for folder in /tmp /var/tmp /dev/shm /run/lock; do
  [ ! -d "$folder" ] ||
    find "$folder/" -mindepth 1 -maxdepth 1 -user "$1" -exec chmod -R u+rwX {} + -exec rm -rf {} +
done 2>/dev/null'
in_temporary() {  # UID: what is left there
  for folder in /tmp /var/tmp /dev/shm /run/lock; do
    [ ! -d "$folder" ] || find "$folder/" -mindepth 1 -maxdepth 1 -user "$1"
  done 2>/dev/null | head -n 9
}
# ACCOUNT PATHS: moves them to a folder of root's. Reads uid. Sets count.
move_others() {
  [ -n "$2" ] || return 0
  count=0
  printf '%s\n' "$2" | {
    while IFS= read -r other; do
      count=$((count + 1))
      # What others have put into its place is not the account's.
      [ "$(ids_of "$other" 2>/dev/null | cut -d: -f1)" = "$uid" ] || exit
      move_away "$other" "$BACKUPS/$1-$(date +%Y%m%dT%H%M%S)-$count" "$1" || exit
      note "$other is now $BACKUPS/$1-*-$count on the host"
    done
    exit 3  # it came to the end
  }
  [ $? = 3 ]
}

clear_home() {  # ACCOUNT HOME. Sets there, target, keeper.
  if [ -d "$(kept "$2")" ]; then note "$2 was there before and stays"; return; fi
  [ -d "$2" ] || return 0
  locate "$2" follow
  there=$place  # a home may be a link that root made
  remove_home "$1" "$2" || return
  [ ! -L "$2" ] || delete "$2"
}
# HOME: deletes, as the keeper, what programs fetch again: hundreds of megabytes of uv, pip and conda.
without_caches() {
  patiently 600 rm -rf "$1/.cache" "$1/.conda/pkgs" "$1/Library/Caches" </dev/null 2>/dev/null || :
}
remove_home() {  # ACCOUNT HOME. Reads there. Sets target, keeper.
  if ! holds_data "$2"; then
    keeper=$1
    (cd / && empty "$there")
    whose "$there"
    ! as_keeper rmdir "$there" </dev/null 2>/dev/null || return 0
  fi
  keeper=$1
  without_caches "$there"
  target=$BACKUPS/$1-$(date +%Y%m%dT%H%M%S)
  move_away "$there" "$target" "$1" && note "$2 is now $target on the host"
}
