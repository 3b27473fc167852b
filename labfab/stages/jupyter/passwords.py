"""Password: what opens JupyterLab, set or renewed as a whole.

Owns: hash and token in jupyter_server_config.json, the copy in ~/.config/labfab/<alias>.  Undo: set another
"""

from __future__ import annotations

import contextlib
import secrets as random
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fabric import Connection
from invoke import Context

from ... import console
from ...errors import SetupError
from ...facts import facts
from ...host.alias import alias_of
from ...host.session import Host
from ...laptop import forward, kernel
from ...local_state import passwords, secrets
from ...run.task import host_task, laptop_task
from ...settings import Settings
from ..lab import kernels, server
from . import config as jupyter

if TYPE_CHECKING:
    import httpx


@host_task(
    help={
        "rotate": "Renew the token too, restart, prove that the old ones are dead",
        "yes": "Also when kernels are busy",
    }
)
def password(c: Connection, rotate: bool = False, yes: bool = False) -> None:
    """Set JupyterLab's password.

    It is asked for on the terminal, or taken from LABFAB_JUPYTER_PASSWORD; with --rotate a new one is generated
    unless that variable gives it.
    """
    if rotate:
        renew(c, yes)
    else:
        replace(c, ask_password())


def replace(c: Connection, new: secrets.Secret) -> None:
    """Write the hash of a password where it differs."""
    want = Settings.of(c)
    if want.published:
        jupyter.refuse_short(c, want, new)
    config = configured(c)
    identity = config.setdefault("IdentityProvider", {})
    if not passwords.verify(identity.get("hashed_password", ""), new.reveal()):
        identity["hashed_password"] = passwords.hash(new.reveal())
        jupyter.write(c, want, config, why="set JupyterLab's password")
        if facts(c).lab.api:
            console.note("JupyterLab asks for it after a restart: lab.restart")
    keep(c, new)


def configured(c: Connection) -> jupyter.Config:
    """The configuration of the host, made where there is none."""
    config = jupyter.parsed(c, facts(c).jupyter.config)
    if not config:
        jupyter.configure(c)
        config = jupyter.parsed(c, facts(c).jupyter.config)
    return config


def keep(c: Connection, new: secrets.Secret) -> None:
    """Keep a password on the laptop once the host has it."""
    if not Host.of(c).planning:
        secrets.store(alias_of(c, Settings.of(c)), "jupyter-password", new, replace=True)


def renew(c: Connection, yes: bool) -> None:
    """Renew password and token, restart, and prove that nothing of before opens JupyterLab any more."""
    want, config = Settings.of(c), configured(c)
    identity = config.setdefault("IdentityProvider", {})
    new = secrets.take_from_environment("jupyter-password") or secrets.Secret(passwords.generate())
    if want.published:
        jupyter.refuse_short(c, want, new)
    old, old_token = (
        jupyter.known(alias_of(c, want), identity.get("hashed_password", "")),
        identity.get("token", ""),
    )
    kernels.consent(c, yes, "restart")
    with contextlib.ExitStack() as stack:
        visitor = None
        if old and facts(c).lab.api and not Host.of(c).planning:
            with contextlib.suppress(
                kernel.Refused
            ):  # set since JupyterLab started: then it still knows another one
                visitor = stack.enter_context(logged_in(c, want, old))
        identity["hashed_password"], identity["token"] = (
            passwords.hash(new.reveal()),
            random.token_hex(24),
        )
        jupyter.write(c, want, config, why="renew JupyterLab's password and token")
        keep(c, new)
        server.stop(c)
        server.start(c)
        if not Host.of(c).planning:
            prove(c, want, visitor, old, old_token, new)


@contextlib.contextmanager
def door(c: Connection, want: Settings) -> Iterator[str]:
    """Lead a local port to JupyterLab for a while; yield its URL there."""
    with forward.opened(Host.of(c).c.transport, jupyter.socket(c, want) or want.lab_port) as port:
        yield want.lab_url(port)


@contextlib.contextmanager
def logged_in(c: Connection, want: Settings, old: secrets.Secret) -> Iterator[httpx.Client]:
    """A browser that has logged in before the change."""
    with door(c, want) as url, contextlib.closing(kernel.login(url, old.reveal())) as client:
        yield client


def prove(
    c: Connection,
    want: Settings,
    visitor: httpx.Client | None,
    old: secrets.Secret | None,
    old_token: str,
    new: secrets.Secret,
) -> None:
    """See that cookie, password and token of before are refused and the new password is not. Raises SetupError."""
    import httpx

    label, alive = Host.of(c).label, []
    try:
        with door(c, want) as url:
            if visitor and visitor.get("api/status").status_code == 200:
                alive.append("a browser that was logged in")
            if old and old != new and kernel.enters(url, old.reveal()):
                alive.append("the old password")
            if old_token and opens(url, old_token):
                alive.append("the old token")
            kernel.login(url, new.reveal()).close()
    except httpx.HTTPError as error:
        problem = f"password and token are new, but whether the old ones are dead could not be tried ({error})"
        raise SetupError(f"{label}: {problem}: check.lab") from None
    if alive:
        raise SetupError(
            f"{label}: {' and '.join(alive)} still opens JupyterLab: lab.stop, look who listens there (check.lab), try again"
        )
    tried = ["token", *(["password"] if old else []), *(["cookie"] if visitor else [])]
    console.note(f"the old {', '.join(tried)}: refused; the new password: taken")


def opens(url: str, token: str) -> bool:
    with kernel.visitor(url) as client:
        return (
            client.get("api/status", headers={"Authorization": f"token {token}"}).status_code == 200
        )


@laptop_task(name="hash")
def hash_(c: Context) -> None:
    """Print the argon2 hash of a password.

    The password is asked for, or taken from LABFAB_JUPYTER_PASSWORD; it is never an argument.
    """
    console.say(passwords.hash(ask_password().reveal()))


def ask_password() -> secrets.Secret:
    """The password from the environment or from the terminal, typed twice."""
    given = secrets.take_from_environment("jupyter-password")
    if given:
        return given
    if not sys.stdin.isatty():
        raise SetupError("no password given and nobody to ask: set LABFAB_JUPYTER_PASSWORD")
    first, second = console.hidden("password for JupyterLab"), console.hidden("again")
    if not first or first != second:
        raise SetupError("the two differ, or are empty: nothing was changed, try again")
    return secrets.Secret(first)
