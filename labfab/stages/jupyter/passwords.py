"""Passwords: set JupyterLab's password, or renew password and token together.

Owns: hash and token in jupyter_server_config.json, the copy in ~/.config/labfab/<alias>
Undo: set another
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from secrets import token_hex
from typing import TYPE_CHECKING, NamedTuple

from fabric import Connection
from invoke import Context

from ... import console
from ...errors import SetupError
from ...facts import facts
from ...host.alias import alias_of
from ...host.session import Host
from ...laptop import kernel
from ...local_state import passwords, secrets
from ...run.task import host_task, laptop_task
from ...server import busy_kernels, forwarded, process
from ...settings import Settings
from . import config as jupyter
from . import publishing
from .publishing import Config

if TYPE_CHECKING:
    import httpx


class OldCredentials(NamedTuple):
    """What opened JupyterLab before a renewal; each may be unknown here."""

    browser: httpx.Client | None  # logged in
    password: secrets.Secret | None
    token: str


@host_task(
    help={
        "rotate": "Renew the token too, restart, prove that the old ones are refused",
        "yes": "Even if kernels are busy",
    }
)
def password(c: Connection, rotate: bool = False, yes: bool = False) -> None:
    """Set JupyterLab's password.

    It is read from the terminal or from LABFAB_JUPYTER_PASSWORD. With --rotate a new one is
    generated unless that variable gives it.
    """
    want = Settings.of(c)
    if rotate:
        renew(c, want, yes)
    else:
        replace(c, want, ask_password())


def replace(c: Connection, want: Settings, new: secrets.Secret) -> None:
    """Write the hash of a password if the password differs."""
    if want.published:
        publishing.refuse_short(c, want, new)
    config = configured(c, want)
    identity = config.setdefault("IdentityProvider", {})
    old = publishing.hash_of(config)
    if not (passwords.is_slow(old) and passwords.verify(old, new.reveal())):
        identity["hashed_password"] = passwords.hash(new.reveal())
        jupyter.write(c, want, config, why="set JupyterLab's password")
        if facts(c).lab.api:
            console.note("JupyterLab asks for it after a restart: lab.restart")
    keep(c, want, new)


def configured(c: Connection, want: Settings) -> Config:
    """Return the host's configuration; write one first if there is none."""
    label = Host.of(c).label
    config = jupyter.parsed(facts(c).jupyter.config, want, label)
    if config:
        return config
    jupyter.configure(c)
    return jupyter.parsed(facts(c).jupyter.config, want, label)


def keep(c: Connection, want: Settings, new: secrets.Secret) -> None:
    """Keep a password on the laptop once the host has it."""
    if not Host.of(c).planning:
        Host.of(c).keep_secret(alias_of(c, want), "jupyter-password", new)


def renew(c: Connection, want: Settings, yes: bool) -> None:
    """Renew password and token, restart, and prove that the old ones are refused."""
    host, config = Host.of(c), configured(c, want)
    identity = config.setdefault("IdentityProvider", {})
    new = secrets.take_from_environment("jupyter-password") or secrets.Secret(passwords.generate())
    if want.published:
        publishing.refuse_short(c, want, new)
    old_password = publishing.stored_password_for(
        alias_of(c, want), identity.get("hashed_password", "")
    )
    old_token = identity.get("token", "")
    busy_kernels.require(c, want, yes, "restart")
    with contextlib.ExitStack() as stack:
        browser = None
        lab = facts(c).lab
        ours = lab.api and lab.owner == want.jupyter_user
        if old_password and ours and not host.planning:
            # Refused if it was set after JupyterLab started: that still knows an older one.
            with contextlib.suppress(kernel.WrongPassword):
                browser = stack.enter_context(logged_in(c, want, old_password))
        identity["hashed_password"] = passwords.hash(new.reveal())
        identity["token"] = token_hex(24)
        jupyter.write(c, want, config, why="renew JupyterLab's password and token")
        keep(c, want, new)
        restart(c, want)
        if not host.planning:
            prove(
                c,
                want,
                OldCredentials(browser=browser, password=old_password, token=old_token),
                new,
            )
            show(c, want, new)


def show(c: Connection, want: Settings, new: secrets.Secret) -> None:
    """Show a new password on a terminal; elsewhere, where it is kept."""
    place = secrets.path_of(alias_of(c, want), "jupyter-password")
    if console.terminal():
        console.say(f"password      {new.reveal()}  (kept in {place})")
    else:
        console.say(f"[{Host.of(c).label}] the new password is in {place}")


def restart(c: Connection, want: Settings) -> None:
    """Restart JupyterLab as lab.stop and lab.start do."""
    host = Host.of(c)
    with host.filed_under(process.STAGE):
        process.stop(c, want)
        process.refuse_unless_startable(c, want)
        jupyter.configure(c)
        process.start(c, want)


@contextlib.contextmanager
def logged_in(c: Connection, want: Settings, old: secrets.Secret) -> Iterator[httpx.Client]:
    """Yield a browser that logged in before the change."""
    with (
        forwarded.url(c, want) as url,
        contextlib.closing(kernel.login(url, old.reveal())) as client,
    ):
        yield client


def prove(c: Connection, want: Settings, old: OldCredentials, new: secrets.Secret) -> None:
    """Try the old cookie, password and token, and the new password.

    Raises SetupError if one of the old ones still opens JupyterLab, or the new one does not, and
    if another account listens there.
    """
    import httpx

    label = Host.of(c).label
    process.prove_owner(c, want)
    try:
        with forwarded.url(c, want) as url:
            alive = list(still_open(url, old, new))
            kernel.login(url, new.reveal()).close()
    except httpx.HTTPError as error:
        raise SetupError(
            "password and token are new, but labfab could not try whether the old ones are refused "
            f"({error}): check.lab",
            host=label,
        ) from None
    if alive:
        raise SetupError(
            f"{' and '.join(alive)} still opens JupyterLab: lab.stop, "
            "see who listens there (check.lab), then try again",
            host=label,
        )
    tried = ["token"]
    if old.password:
        tried.append("password")
    if old.browser:
        tried.append("cookie")
    console.note(f"the old {', '.join(tried)}: refused; the new password: accepted")


def still_open(url: str, old: OldCredentials, new: secrets.Secret) -> Iterator[str]:
    """Yield what still opens JupyterLab, in words."""
    if old.browser and old.browser.get("api/status").status_code == 200:
        yield "a browser that was logged in"
    if old.password and old.password != new and kernel.accepts_password(url, old.password.reveal()):
        yield "the old password"
    if old.token and opens(url, old.token):
        yield "the old token"


def opens(url: str, token: str) -> bool:
    """Return whether a token opens JupyterLab."""
    with kernel.new_client(url) as client:
        answer = client.get("api/status", headers={"Authorization": f"token {token}"})
        return answer.status_code == 200


@laptop_task(name="hash")
def hash_(c: Context) -> None:
    """Print the argon2 hash of a password.

    The password is read from the terminal or from LABFAB_JUPYTER_PASSWORD; it is never an argument.
    """
    console.say(passwords.hash(ask_password().reveal()))


def ask_password() -> secrets.Secret:
    """Read a password from the environment, or twice from the terminal. Raises SetupError."""
    given = secrets.take_from_environment("jupyter-password")
    if given:
        return given
    if not sys.stdin.isatty():
        raise SetupError("no password given and nobody to ask: set LABFAB_JUPYTER_PASSWORD")
    first, second = console.hidden("password for JupyterLab"), console.hidden("again")
    if not first or first != second:
        raise SetupError("the two differ, or are empty: nothing was changed, try again")
    return secrets.Secret(first)
