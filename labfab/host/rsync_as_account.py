"""Bridge: lets rsync on the host run as another account than the login's.

The login may have no right to the files of lab_user, and sudo would ask for a password that must not be in an argument
list. So the root shell that is open already starts rsync as that account, and two pipes join it to the login's ssh.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator
from typing import NamedTuple

from fabric import Connection

from ..errors import SetupError
from .changes import ask, fill

# Root opens the pipes, so the account needs no right to them. The client's words come in `called`, the exit code goes to `end`.
# Where nobody calls, or nobody listens any more, it ends by itself. `errors` is asked for, since what comes by ssh may come late.
SERVE = """\
place=%s login=%s account=%s
umask 077
mkdir -m 711 "$place" && cd "$place" && mkfifo in out end && : >called || exit 2
chmod 600 in out end called && chown "$login": in out end called || exit 2
nohup sh -c '
  place=$1 account=$2; shift 2
  for i in $(seq 1200); do [ ! -s called ] || break; sleep 0.05; done
  as="sudo -n"; ! command -v runuser >/dev/null || as=runuser
  while read -r word; do set -- "$@" "$word"; done <called
  [ "$1" != --server ] || (umask 022; exec $as -u "$account" -- rsync "$@") <in >out 2>errors
  perl -e "alarm 5; exec @ARGV" sh -c "echo $? >end"
  for i in $(seq 60); do [ -e "$place" ] || exit; sleep 1; done
  rm -rf "$place"
' sh "$place" "$account" >/dev/null 2>&1 &
"""
# What ssh runs as the login: rsync's own words come after it.
CALL = """\
sh -c 'cd "$0" && printf "%%s\\n" "$@" >called && exec 3<&0 && { cat <&3 >in & } && feed=$! && cat out
read -r code <end; kill $feed 2>/dev/null; exit $code' %s"""


class Program(NamedTuple):
    """How rsync is started on the host, and how to learn what it complained of there."""

    text: str = "rsync"
    errors: Callable[[], str] = str


@contextlib.contextmanager
def opened(c: Connection, account: str) -> Iterator[Program]:
    """Yield the program that the login has to call as rsync; it works once."""
    if c.user == account:
        yield Program()
        return
    place = f"/var/run/labfab-files-{secrets.token_hex(8)}"
    ask(c, SERVE, place, c.user, account)
    try:
        yield Program(
            fill(CALL, place), lambda: ask(c, "cat %s/errors 2>/dev/null || true", place).out
        )
    finally:
        with contextlib.suppress(SetupError):  # the connection may be what broke
            ask(c, "rm -rf %s", place)
