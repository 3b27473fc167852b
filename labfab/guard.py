"""Guard: keep a change to access only when a fresh login proves it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import paramiko
from fabric import Connection

from . import connection, screen
from .errors import SetupError
from .host import BRING_BACK, Host, Login, alias_of, fill
from .laptop import secrets
from .settings import Settings
from .shell import Shell, WrongSudoPassword


@contextlib.contextmanager
def guarded(c: Connection, why: str, login: Login | None = None, always: bool = False) -> Iterator[None]:
    """Keep a change to access only when a fresh login proves it.

    why: what the group of changes is for. login: the way in to prove, else the present one. always: prove it even
    when nothing was changed. With nothing changed it costs nothing.
    On failure every change of the group is taken back over the connection that is still open. Raises SetupError.
    """
    host = Host.of(c)
    first = len(host.changes)
    try:
        yield
        if (always or len(host.changes) > first) and not host.planning:
            prove(c, login or host.login)
    except (SetupError, paramiko.SSHException, OSError, EOFError) as error:
        taken = take_back(host, first)
        problem = str(error).removeprefix(f"{host.label}: ") or type(error).__name__
        raise SetupError(f"{host.label}: could not {why}: {problem}{taken}") from None


def take_back(host: Host, first: int) -> str:
    """Undo the changes from number *first* on: the files first, so that the commands after them read the old ones."""
    undone = host.changes[first:]
    for made in sorted(reversed(undone), key=lambda made: made.undo[:1] != (BRING_BACK,)):
        if made.undo and not host.planning:
            host.open().run(fill(made.undo[0], *made.undo[1:]))
    del host.changes[first:]
    host.facts.clear()
    return "; what was changed for it has been taken back, the old login works" if undone else ""


def prove(c: Connection, login: Login) -> None:
    """Log in anew, become root, open a forward: what every later run and the tunnel need."""
    name = f"{login.user}@{c.host}:{login.port}"
    with screen.working(Host.of(c).label, f"prove the login {name}"):
        new = connection.fresh(c, *login)
        try:
            Shell(new.transport, name, sudo_password(c, login.user)).close()
            new.transport.open_channel("direct-tcpip", ("127.0.0.1", login.port), ("127.0.0.1", 0), timeout=10).close()
        except WrongSudoPassword:
            raise SetupError(f"sudo refuses the password of {login.user}: set LABFAB_SUDO_PASSWORD") from None
        finally:
            new.close()


def sudo_password(c: Connection, user: str) -> str | None:
    """The password that sudo wants from this account, where it is known."""
    if user == c.user and c.config.sudo.password:
        return c.config.sudo.password
    known = secrets.load(alias_of(c, Settings.of(c)), "sudo-password") or secrets.take_from_environment("sudo-password")
    return known.reveal() if known else None
