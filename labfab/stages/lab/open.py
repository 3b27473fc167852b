"""Browse: from your laptop into the JupyterLab that runs, logged in.

Owns: ~/.config/labfab/<alias>/jupyter-token, which spares the next call the way to the host.  Undo: lab.close, setup.undo
These tasks take -H as a name: the host is called only where the tunnel does not answer yet.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from fabric import Connection
from invoke import Context

from ... import console
from ...errors import SetupError, Unreachable
from ...facts import facts
from ...host.changes import remember
from ...host.session import Host, Login
from ...laptop import browser
from ...laptop import tunnel as process
from ...local_state import keypair, secrets
from ...local_state.aliases import config_path
from ...local_state.secrets import Secret
from ...run.task import laptop_task
from ...settings import Settings
from .. import tunnel
from . import existing, server


class Place(NamedTuple):
    """A JupyterLab within reach: the address of its root, and what opens it."""

    alias: str
    url: str
    token: Secret
    note: str = ""


@laptop_task(name="open")
def open_(c: Context) -> None:
    """Open JupyterLab in the browser, logged in.

    Finds the server that runs, starts it where none does, and opens the tunnel unless it is open.
    """
    want = Settings.of(c)
    if c.config.run.dry:
        console.planned(
            want.alias, "start JupyterLab where it does not run, open the tunnel and the browser"
        )
        return
    there = reach(c, want)
    if not browser.there():
        how = "log in with the password, or type lab.url --with-token"
        console.say(
            f"[{there.alias}] no browser can be opened here; JupyterLab is at {there.url}lab: {how}"
        )
        return
    browser.log_in(there.alias, there.url, there.token.reveal())
    console.say(f"[{there.alias}] in your browser: {there.url}lab{there.note}")


@laptop_task(
    help={
        "with-token": "Also its token, which opens it without a password: for VS Code's existing Jupyter server"
    }
)
def url(c: Context, with_token: bool = False) -> None:
    """Print the address of JupyterLab."""
    want = Settings.of(c)
    if with_token and c.config.run.dry:
        console.planned(
            want.alias,
            "start JupyterLab where it does not run, open the tunnel, print the address with the token",
        )
        return
    with console.aside():
        alias = tunnel.target_of(c).alias
        if not with_token:
            root = (
                want.public_url(dialled(c).host)
                if want.published
                else tunnel.url(alias, want).removesuffix("lab")
            )
            if not root:
                raise SetupError(f"{alias}: no tunnel is open: lab.open")
        else:
            there = reach(c, want)
            root = there.url
    console.say(
        root + "?token=" + quote(there.token.reveal(), safe="") if with_token else f"{root}lab"
    )


@laptop_task
def close(c: Context) -> None:
    """Close the tunnel; works with the host down."""
    tunnel.close(c)


def reach(c: Context, want: Settings) -> Place:
    """Find JupyterLab, by the tunnel alone where it and the token of before still serve."""
    target = tunnel.target_of(c)
    try:
        token = secrets.load(target.alias, "jupyter-token")
        if token and not want.published:
            found = process.open(
                target, want.local_port, want.lab_socket or want.lab_port, want.connect_timeout
            )
            code = (
                process.code(want.lab_url(found.local_port), token.reveal())
                if found.proven
                else None
            )
            if code == 200:
                return Place(
                    target.alias, want.lab_url(found.local_port), token, tunnel.moved(found, want)
                )
            if (
                code == 0 and not found.kept
            ):  # it may have survived the host's reboot as a mere shell of itself
                process.close(target.alias)
        return from_host(dialled(c), want)
    except Unreachable as error:
        block = tunnel.found_in_config(c)
        where = (
            f"correct HostName of {block.name} in {config_path(c)}"
            if block
            else "give -H its new address"
        )
        end = "" if error.message.endswith("?") else "."
        raise SetupError(
            f"{error.message}{end} If it sleeps, wake it; if it moved, {where}"
        ) from None


def from_host(c: Connection, want: Settings) -> Place:
    """Have JupyterLab run, read its token there and open the tunnel."""
    with own_rights(c, want):
        have = facts(c).lab
        token = token_of(c) if have.api and have.owner == want.jupyter_user else None
        identity = own_key(c)
        if token is None:
            existing.refuse_others(c, want)
    if token is None:
        server.start(c)
        server.refuse(c, want)  # what answers now may be a program of somebody else
        token = token_of(c)
    if (
        tunnel.found_in_config(c) is None and c.user == Settings.of(c).user
    ):  # of this host, which is known by now
        Host.of(c).proven_as(Login(c.user, c.port, identity))
        remember(c, want)  # a second laptop
    alias = tunnel.target_of(c).alias
    secrets.store(alias, "jupyter-token", token, replace=True)
    if want.published:
        return Place(alias, want.public_url(c.host), token)
    found = tunnel.opened(c, want)
    process.prove(found)
    return Place(alias, want.lab_url(found.local_port), token, tunnel.moved(found, want))


@contextlib.contextmanager
def own_rights(c: Connection, want: Settings) -> Iterator[None]:
    """Look with the rights of the login, where they are enough: a second laptop need not know sudo's password."""
    host = Host.of(c)
    if host.shell is None:
        host.follow()
        if not c.is_connected:
            host.dial(want)
    if host.shell or c.user != want.jupyter_user:
        yield
        return
    host.open_without_root()
    try:
        yield
    finally:
        host.close_shell()


def own_key(c: Connection) -> Path | None:
    """The private key of this laptop that the account lets in; none where only the agent has it."""
    account = facts(c).accounts.get(c.user)
    allowed = account.keys.content if account and account.keys else ""
    given = [Path(name) for name in c.connect_kwargs.get("key_filename") or []]
    for path in given or [Path.home() / ".ssh" / name for name in keypair.NAMES]:
        with contextlib.suppress(SetupError):
            if path.exists() and keypair.public_line(path).split()[1] in allowed:
                return path
    return None


def token_of(c: Connection) -> Secret:
    """The token in the configuration that the server reads."""
    token = facts(c).jupyter.token
    if not token:
        raise SetupError(
            f"{Host.of(c).label}: JupyterLab's configuration has no token: type jupyter.configure, lab.stop, lab.start"
        )
    return Secret(token)


def dialled(c: Context) -> Connection:
    """The connection to the host, which need not be open yet; without -H, to the one of the setting `alias`."""
    if isinstance(c, Connection):
        return c
    return Connection(tunnel.target_of(c).alias, config=c.config)
