"""Rotate: a new key for this lab, another key for another laptop.

Owns: ~/.ssh/id_ed25519_<alias> on the laptop, lines of authorized_keys.  Undo: those lines; the old key files stay
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import paramiko
from fabric import Connection

from ... import console
from ...errors import SetupError
from ...facts import facts
from ...facts.reader import as_file
from ...host import connection
from ...host.alias import alias_of
from ...host.changes import put, remember
from ...host.session import Host, Login
from ...host.shell import GONE
from ...local_state import keypair
from ...run.guard import guarded
from ...run.task import host_task
from ...settings import Settings
from . import authorized_keys

if TYPE_CHECKING:
    from ...facts.records import Account


@host_task(help={"key": "File of public keys, or one `ssh-ed25519 AAAA…` line"})
def add(c: Connection, key: str) -> None:
    """Let another laptop's key log in.

    key: a file of public keys, or a line as it stands in one.
    """
    want, lines = Settings.of(c), keypair.read_publics(key)
    account_of(c, want)
    with guarded(c, "let another key log in"):
        add_to_all(c, want, lines)
    login = Host.of(c).login
    console.note(
        f"the other laptop comes in with: fab -H {login.user}@{c.host}:{login.port} keys.copy"
    )


@host_task
def rotate(c: Connection) -> None:
    """Replace your key by a new one; the old one is refused.

    The new key is proven by a fresh login before the old one goes; both pairs stay on the laptop.
    """
    want, host = Settings.of(c), Host.of(c)
    account, (old, line) = account_of(c, want), authorized_keys.own_key(c, want)
    if not authorized_keys.has(account, line):
        raise SetupError(
            f"{host.label}: {old} does not log in there as {want.user}, so it cannot be replaced: keys.copy"
        )
    authorized_keys.unlock(c, old)
    if host.planning:
        console.planned(
            host.label, f"make a new key pair, let it log in as {want.user}, refuse {old}"
        )
        return
    stale = [line, *of_earlier_rotations(alias_of(c, want))]
    new = make(c, alias_of(c, want), keypair.is_encrypted(old))
    login = Login(want.user, host.login.port, new)
    with guarded(c, f"let your new key log in as {want.user}", login, always=True):
        add_to_all(c, want, [keypair.public_line(new)])
    host.proven_as(login)
    with guarded(c, "refuse your old key", login, always=True):
        for name in facts(c).accounts:
            take_out(c, name, stale)
    prove_dead(c, want, old)
    remember(c, want)
    console.note(f"{new} opens {host.label} now; {old} stays here, for other hosts may know it")
    if want.identity:
        console.note(f"the setting identity still says {want.identity}: set it to {new}")


def add_to_all(c: Connection, want: Settings, lines: list[str]) -> None:
    """Add keys to each account that yours opens."""
    for name in authorized_keys.owners(c, want):
        if name in facts(c).accounts:
            authorized_keys.add_lines(c, facts(c).accounts[name], lines)


def account_of(c: Connection, want: Settings) -> Account:
    """The account that you log in as. Raises SetupError where there is none yet."""
    account = facts(c).accounts.get(want.user)
    if account is None:
        raise SetupError(
            f"{Host.of(c).label}: there is no account {want.user}: setup.full or keys.copy first"
        )
    return account


def make(c: Connection, alias: str, protected: bool) -> Path:
    """Make a key pair of this lab's own, protected by a passphrase where the old one is."""
    if protected and not sys.stdin.isatty():
        raise SetupError(
            "the old key has a passphrase, and nobody is here to give one to the new key: type this on a terminal"
        )
    folder, number = Path.home() / ".ssh", 1
    while any((folder / f"{name_of(alias, number)}{end}").exists() for end in ("", ".pub")):
        number += 1
    passphrase = authorized_keys.ask_passphrase() if protected else ""
    if passphrase:
        c.connect_kwargs["passphrase"] = passphrase  # the proof needs it, and nobody is asked then
    return keypair.generate(folder / name_of(alias, number), passphrase)


def of_earlier_rotations(alias: str) -> list[str]:
    """The public lines of this lab's own keys: one that was cut off may have left its new key in."""
    paths = (Path.home() / ".ssh").glob(f"{name_of(alias, 1)}*.pub")
    return [line for path in sorted(paths) for line in keypair.read_publics(str(path))]


def name_of(alias: str, number: int) -> str:
    return f"id_ed25519_{alias}" + f"_{number}" * (number > 1)


def take_out(c: Connection, name: str, stale: list[str]) -> None:
    """Take keys out of an account's file; the other lines stay as they are."""
    account, gone = facts(c).accounts[name], {authorized_keys.blob(line) for line in stale}
    if not account.keys or not any(authorized_keys.has(account, line) for line in stale):
        return
    text = "".join(
        one
        for one in account.keys.content.splitlines(True)
        if authorized_keys.blob(one) not in gone
    )
    put(
        c,
        f"{account.home}/.ssh/authorized_keys",
        text,
        why=f"refuse your old key for {account.name}",
        old=account.keys,
        mode=account.keys.mode,
        owner=account.name,
        then=as_file(f"accounts.{account.name}.keys", text, account.keys.mode, account.name),
    )


def prove_dead(c: Connection, want: Settings, old: Path) -> None:
    """See that the old key is refused. Raises SetupError when it still opens the host."""
    try:
        connection.fresh(c, want.user, Host.of(c).login.port, old).close()
    except paramiko.PasswordRequiredException:
        console.warn(
            f"[{Host.of(c).label}] whether the old key is refused could not be tried, for it has a passphrase: see check.ssh"
        )
        return
    except paramiko.AuthenticationException:
        return
    except GONE as error:
        console.warn(
            f"[{Host.of(c).label}] whether the old key is refused could not be tried: {error}; see check.ssh"
        )
        return
    raise SetupError(
        f"{Host.of(c).label}: the old key {old} still opens it: look for it in authorized_keys and AuthorizedKeysFile there"
    )
