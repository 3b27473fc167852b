"""Browse: open the running JupyterLab from your laptop, logged in.

Owns: ~/.config/labfab/<alias>/jupyter-token, so that the next call need not ask the host.
Undo: lab.close, setup.undo
These tasks use -H only as a name: the host is dialed only if the tunnel does not answer.
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
from ...host import connection
from ...host.changes import write_alias
from ...host.session import Host, Login
from ...laptop import browser
from ...laptop import tunnel as ssh_tunnel
from ...local_state import keypair, known_hosts, secrets
from ...local_state.aliases import find_alias, ssh_config_path
from ...local_state.secrets import Secret
from ...run.task import laptop_task
from ...server import process
from ...settings import Settings
from .. import tunnel
from ..keys import authorized_keys
from . import foreign_lab, lifecycle


class ReachableLab(NamedTuple):
    """A JupyterLab within reach: the address of its root, and what opens it."""

    alias: str
    url: str
    token: Secret
    note: str = ""


@laptop_task(name="open")
def open_(c: Context) -> None:
    """Open JupyterLab in the browser, logged in.

    Finds the running server, or starts one, and opens the tunnel unless it is open.
    """
    want = Settings.of(c)
    if c.config.run.dry:
        console.planned(
            want.alias, "start JupyterLab unless it runs, open the tunnel and the browser"
        )
        return
    place = find_or_start_lab(c, want)
    if browser.can_open():
        browser.log_in(place.alias, place.url, place.token.reveal())
        console.say(f"[{place.alias}] in your browser: {place.url}lab{place.note}")
    else:
        console.say(
            f"[{place.alias}] no browser can be opened here; JupyterLab is at {place.url}lab: "
            "log in with the password, or type lab.url --with-token"
        )


@laptop_task(
    help={
        "with-token": "Add its token, which opens it without a password: "
        "for VS Code's existing Jupyter server"
    }
)
def url(c: Context, with_token: bool = False) -> None:
    """Print the address of JupyterLab."""
    want = Settings.of(c)
    if with_token and c.config.run.dry:
        console.planned(
            want.alias,
            "start JupyterLab unless it runs, open the tunnel, print the address with the token",
        )
        return
    with console.on_stderr():
        address = address_with_token(c, want) if with_token else f"{present_root(c, want)}lab"
    console.say(address)


def address_with_token(c: Context, want: Settings) -> str:
    """Find or start JupyterLab; return the address that opens it without a password."""
    place = find_or_start_lab(c, want)
    return f"{place.url}?token=" + quote(place.token.reveal(), safe="")


def present_root(c: Context, want: Settings) -> str:
    """Return JupyterLab's root URL, without asking the host. Raises SetupError without a tunnel."""
    alias = tunnel.target_of(c).alias
    if want.published:
        return want.public_url(connection_of(c).host)
    found = tunnel.url(alias, want)
    if not found:
        raise SetupError("no tunnel is open: lab.open", host=alias)
    return found.removesuffix("lab")


@laptop_task
def close(c: Context) -> None:
    """Close the tunnel; works with the host down."""
    tunnel.close(c)


def find_or_start_lab(c: Context, want: Settings) -> ReachableLab:
    """Find JupyterLab, or start it, and make it reachable from here. Raises SetupError."""
    alias = tunnel.target_of(c).alias
    try:
        token = kept_token(c, alias)
        place = by_tunnel(c, want, token) if token and not want.published else None
        return place or from_host(connection_of(c), want)
    except Unreachable as error:
        block = tunnel.found_in_config(c)
        where = "give -H its new address"
        if block:
            where = f"correct HostName of {block.name} in {ssh_config_path(c)}"
        end = "" if error.text.endswith("?") else "."
        raise SetupError(
            f"{error.text}{end} If it sleeps, wake it; if it moved, {where}", host=error.host
        ) from None


def kept_token(c: Context, alias: str) -> Secret | None:
    """Return the token that this laptop has kept for the host that the alias leads to."""
    block = tunnel.found_in_config(c)
    if not block:
        return None
    alias_of_key = dict(block.options).get("HostKeyAlias", "")
    place = known_hosts.lookup_name(block.hostname, block.port, alias_of_key)
    keys = connection.pinned_fingerprints(*place)
    return secrets.load(alias, "jupyter-token") if secrets.belongs_to(alias, keys) else None


def by_tunnel(c: Context, want: Settings, token: Secret) -> ReachableLab | None:
    """Reach JupyterLab through the tunnel alone; None unless the kept token still opens it."""
    target = tunnel.target_of(c)
    found = tunnel.dial(target, want)
    url = want.lab_url(found.local_port)
    # Ask each time: JupyterLab may have ended since, and somebody else may have its port now.
    ours = found.proven and ssh_tunnel.leads_to(found, target, want.jupyter_user)
    code = ssh_tunnel.code(url, token.reveal()) if ours else None
    if code == 200:
        return ReachableLab(target.alias, url, token, tunnel.moved(found, want))
    # 0: no answer. The host may have rebooted since, and ssh has not noticed.
    if code == 0 and not found.kept:
        ssh_tunnel.close(target.alias)
    return None


def from_host(c: Connection, want: Settings) -> ReachableLab:
    """Start JupyterLab unless it runs, read its token there, open the tunnel."""
    with own_rights(c, want):
        lab = facts(c).lab
        token = token_of(c) if lab.api and lab.owner == want.jupyter_user else None
        identity = own_key(c)
        notebooks = want.lab_user if key_opens(c, identity, want.lab_user) else ""
        if token is None:
            foreign_lab.refuse_foreign_lab(c, want)
    if token is None:
        lifecycle.start(c)
        # Somebody else's program may be what answers now.
        process.prove_owner(c, want)
        token = token_of(c)
    remember_second_laptop(c, want, identity, notebooks)
    alias = tunnel.target_of(c).alias
    Host.of(c).keep_secret(alias, "jupyter-token", token)
    if want.published:
        return ReachableLab(alias, want.public_url(c.host), token)
    found = tunnel.opened(c, want)
    ssh_tunnel.prove_owner(found)
    return ReachableLab(alias, want.lab_url(found.local_port), token, tunnel.moved(found, want))


def remember_second_laptop(
    c: Connection, want: Settings, identity: Path | None, notebooks: str
) -> None:
    """Write the alias to ~/.ssh/config if another laptop has set up the host.

    identity: the key that logs in here. notebooks: lab_user, if that key opens it too.
    """
    # Read the settings again: *want* may be older than what is known of the host.
    if tunnel.found_in_config(c) is None and c.user == Settings.of(c).user:
        host = Host.of(c)
        host.proven_as(Login(c.user, c.port, identity))
        if notebooks:
            host.proven_for_notebooks(notebooks)
        write_alias(c, want)


@contextlib.contextmanager
def own_rights(c: Connection, want: Settings) -> Iterator[None]:
    """Read the host with the rights of JupyterLab's account if it logs in by itself.

    A second laptop need not know the sudo password.
    """
    host = Host.of(c)
    if host.shell is None:
        host.apply_alias(everyday=True)
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
        known = find_alias(c)
        if want.lab_user or (known and known.user != c.user):
            host.close()  # what else is to be done needs the account with sudo


def own_key(c: Connection) -> Path | None:
    """Return this laptop's private key that the account accepts; None if only an agent has it."""
    account = facts(c).accounts.get(c.user)
    allowed = authorized_keys.keys_of(account) if account else set()
    given = [Path(name) for name in c.connect_kwargs.get("key_filename") or []]
    for path in given or [Path.home() / ".ssh" / name for name in keypair.NAMES]:
        with contextlib.suppress(SetupError):
            if path.exists() and keypair.public_line(path).split()[1] in allowed:
                return path
    return None


def key_opens(c: Connection, identity: Path | None, user: str) -> bool:
    """Return whether a key is among those that let in an account."""
    account = facts(c).accounts.get(user)
    if account is None or identity is None:
        return False
    return keypair.public_line(identity).split()[1] in authorized_keys.keys_of(account)


def token_of(c: Connection) -> Secret:
    """Read the token in the host's configuration. Raises SetupError if there is none."""
    token = facts(c).jupyter.token
    if not token:
        raise SetupError(
            "JupyterLab's configuration has no token: type jupyter.configure, lab.stop, lab.start",
            host=Host.of(c).label,
        )
    return Secret(token)


def connection_of(c: Context) -> Connection:
    """Return the connection to the host, open or not; without -H, by the setting `alias`."""
    if isinstance(c, Connection):
        return c
    return Connection(tunnel.target_of(c).alias, config=c.config)
