"""Bridge: lets rsync on the host run as another account than the login's.

The login may have no right to the files of lab_user, and sudo would ask for a password that must not be in an argument
list. So the root shell that is open already starts rsync as that account, and two pipes join it to the login's ssh.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator

from fabric import Connection

from .errors import SetupError
from .host import ask, fill

# Root opens the pipes, so the account needs no right to them. The client's words come in `called`, the end goes to `end`.
# Where nobody calls, or nobody listens any more, it ends by itself.
SERVE = """\
place=%s login=%s account=%s
mkdir -m 711 "$place" && cd "$place" && mkfifo in out said end && : >called || exit 2
chmod 600 in out said end called && chown "$login": in out said end called || exit 2
nohup sh -c '
  place=$1 account=$2; shift 2
  for i in $(seq 1200); do [ ! -s called ] || break; sleep 0.05; done
  while read -r word; do set -- "$@" "$word"; done <called
  [ "$1" != --server ] || runuser -u "$account" -- rsync "$@" <in >out 2>said
  timeout 5 sh -c "echo $? >end"
  rm -rf "$place"
' sh "$place" "$account" >/dev/null 2>&1 &
"""
# What ssh runs as the login: rsync's own words come after it.
CALL = """\
sh -c 'cd "$0" && printf "%%s\\n" "$@" >called && exec 3<&0 && { cat <&3 >in & } && feed=$! && { cat said >&2 & } && cat out
read -r code <end; kill $feed 2>/dev/null; exit $code' %s"""


@contextlib.contextmanager
def opened(c: Connection, account: str) -> Iterator[str]:
    """Yield the program that the login has to call as rsync; it works once."""
    if c.user == account:
        yield "rsync"
        return
    place = f"/run/labfab-files-{secrets.token_hex(8)}"
    ask(c, SERVE, place, c.user, account)
    try:
        yield fill(CALL, place)
    finally:
        with contextlib.suppress(SetupError):  # the connection may be what broke
            ask(c, "rm -rf %s", place)
