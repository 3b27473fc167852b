# Whose a port or a Unix socket is, asked of the kernel: a program can choose what ss, ps and lsof
# call it.
# Needs no other words, so that any account can run it.

# UID PORT: succeeds if this account, and nobody else, listens where 127.0.0.1:PORT leads.
port_is_of() {
  if [ "$(uname -s)" = Linux ]; then [ "$(listening_uids "$2" | sort -u)" = "$1" ]
  else
    seen=$(seen_of "$1" "$2")
    [ "$seen" -gt 0 ] && [ "$seen" -ge "$(netstat -anp tcp 2>/dev/null | awk -v port="$2" '
      $NF == "LISTEN" && ($4 == "127.0.0.1." port || $4 == "*." port) { count++ }
      END { print count + 0 }')" ]
  fi
}
# URL: succeeds if this account, and nobody else, listens there. Sets authority.
url_is_ours() {
  authority=${1#*://}
  authority=${authority%%/*}
  port_is_of "$(id -u)" "${authority##*:}"
}
# PORT: on Linux, the uid of each socket that a call to 127.0.0.1:PORT reaches. The kernel prefers
# one that listens (0A) at that very address. tcp6 has the IPv6 sockets that take IPv4 calls too.
listening_uids() {
  cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk -v port="$(printf %04X "$1")" '
    BEGIN { mapped = "0000000000000000FFFF0000" }
    $4 != "0A" { next }
    $2 == "0100007F:" port || $2 == mapped "0100007F:" port { exact = exact $8 "\n" }
    $2 ~ ("^0+:" port "$") || $2 == mapped "00000000:" port { any = any $8 "\n" }
    END { printf "%s", exact != "" ? exact : any }'
}
# UID PORT: on macOS, how many such sockets lsof shows of this account. Without root's rights it
# shows the caller's own only.
seen_of() {
  lsof -a -u "$1" -nP -iTCP:"$2" -sTCP:LISTEN -F n 2>/dev/null |
    grep -cE "^n(127\.0\.0\.1|\*):$2\$"
}
# SOCKET URL: succeeds if the caller, and nobody else, listens there. SOCKET is empty for a port.
lab_is_ours() { if [ -n "$1" ]; then socket_is_ours "$1"; else url_is_ours "$2"; fi; }
# PATH: succeeds if the caller made this Unix socket, and nobody but root could put another in its
# place: each folder on the way is the caller's or root's, and closed to what others would write.
socket_is_ours() {
  me=$(id -u)
  [ -n "$(find "$1" -prune -type s -user "$me" 2>/dev/null)" ] || return
  at=$(cd "${1%/*}" && pwd -P) || return
  while [ -n "$at" ]; do
    [ -n "$(find "$at" -prune -type d \( -user "$me" -o -user 0 \) \
      \( -perm -1000 -o ! -perm -020 ! -perm -002 \) 2>/dev/null)" ] || return
    at=${at%/*}
  done
}
