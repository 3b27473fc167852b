"""Rsync as account: runs rsync on the host as an account other than the login's.

The login may have no access to the files of lab_user, and sudo would ask for a password, which must
not be in an argument list. So the root shell that is already open starts rsync as that account
(on_host/serve_rsync.sh), and two pipes connect it to the login's ssh.

Constraint: whoever may open the pipes acts as that account. So they belong to the login of the root
shell and to nobody else: it has sudo.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator
from typing import NamedTuple

from fabric import Connection

from ..errors import SetupError
from ..on_host import loader
from .changes import ask, fill
from .session import Host

# What ssh runs as the login; rsync adds its own arguments.
CALL = """\
sh -c 'cd "$0" && printf "%%s\\n" "$@" >called &&
exec 3<&0 && { cat <&3 >in & } && feed=$! && cat out
read -r code <end; kill $feed 2>/dev/null; exit $code' %s"""


class Program(NamedTuple):
    """How to start rsync on the host.

    text: the program, for rsync's --rsync-path. errors: returns what rsync printed there on stderr.
    """

    text: str = "rsync"
    errors: Callable[[], str] = str


@contextlib.contextmanager
def opened(c: Connection, login: str, account: str, pull: bool = False) -> Iterator[Program]:
    """Yield the program that the login must call as rsync. It works only once.

    login: the account that ssh logs in as. account: the one that rsync must run as.
    pull: rsync sends there. Raises SetupError if the login may not act as that account.
    """
    if login == account:
        yield Program()
        return
    refuse_without_sudo(Host.of(c), login, account)
    place = f"/var/run/labfab-files-{secrets.token_hex(8)}"
    sender = "--sender" if pull else ""
    ask(c, loader.as_command("serve_rsync", 4), place, login, account, sender)
    try:
        yield Program(
            fill(CALL, place), lambda: ask(c, "cat %s/errors 2>/dev/null || true", place).out
        )
    finally:
        # The connection itself may be broken.
        with contextlib.suppress(SetupError):
            ask(c, "rm -rf %s", place)


def refuse_without_sudo(host: Host, login: str, account: str) -> None:
    """Raise SetupError unless a login is the one that has opened the root shell."""
    host.open()
    if login != host.c.user:
        raise SetupError(
            f"{login} has no right to act as {account}: "
            f"type LABFAB_LAB_USER={login} in front of the command",
            host=host.label,
        )
