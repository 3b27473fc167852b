"""Rotation: replace this lab's key with a new one; let another laptop's key log in.

Owns: ~/.ssh/id_ed25519_<alias> on the laptop, lines of authorized_keys.
Undo: those lines; the old key files stay
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import paramiko
from fabric import Connection

from ... import console
from ...errors import SetupError
from ...facts import facts
from ...facts.reader import planned_file
from ...host import connection
from ...host.alias import alias_of
from ...host.changes import put, write_alias
from ...host.login_errors import login_in_words
from ...host.session import Host, Login
from ...host.shell import CONNECTION_ERRORS
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

    key: a file of public keys, or one line of such a file.
    """
    want, lines = Settings.of(c), keypair.read_publics(key)
    require_account(c, want)
    with guarded(c, "let another key log in"):
        add_to_all(c, want, dict.fromkeys(lines, "keys.add"))
    login = Host.of(c).login
    typed = login_in_words(login.user, c.host, login.port)
    console.note(f"on the other laptop type: fab -H {typed} keys.copy")


@host_task
def rotate(c: Connection) -> None:
    """Replace your key with a new one; refuse the old one.

    A fresh login proves the new key before the old one goes. Both pairs stay on the laptop.
    """
    want, host = Settings.of(c), Host.of(c)
    account = require_account(c, want)
    old, line = authorized_keys.own_key(c, want, host)
    if authorized_keys.key_of(line) not in authorized_keys.keys_of(account):
        raise SetupError(
            f"{old} does not log in there as {want.user}, so it cannot be replaced: keys.copy",
            host=host.label,
        )
    authorized_keys.unlock(c, host, old)
    if host.planning or old is None:  # a plan may have no key to name
        what = f"make a new key pair, let it log in as {want.user}, refuse {old}"
        console.planned(host.label, what)
        return
    alias = alias_of(c, want)
    stale = [line, *earlier_keys(alias)]
    new = make_key_pair(c, alias, keypair.is_encrypted(old))
    login = Login(want.user, host.login.port, new)
    with guarded(c, f"let your new key log in as {want.user}", login, always=True):
        add_to_all(c, want, {keypair.public_line(new): str(new)})
    host.proven_as(login)
    with guarded(c, "refuse your old key", login, always=True):
        for name in facts(c).accounts:
            remove_keys(c, name, stale)
    prove_refused(c, host, old)
    write_alias(c, want)
    console.note(f"{new} opens {host.label} now; {old} stays here: other hosts may know it")
    if want.identity:
        console.note(f"the setting identity still says {want.identity}: set it to {new}")


def add_to_all(c: Connection, want: Settings, lines: Mapping[str, str]) -> None:
    """Add keys to each account that your key opens.

    lines: lines of authorized_keys, and where each is from.
    """
    for name in authorized_keys.accounts_to_open(want):
        account = facts(c).accounts.get(name)
        if account:
            authorized_keys.add_keys(c, account, lines)


def require_account(c: Connection, want: Settings) -> Account:
    """Return the account that you log in as. Raises SetupError if it does not exist yet."""
    account = facts(c).accounts.get(want.user)
    if account is None:
        raise SetupError(
            f"there is no account {want.user}: setup.full or keys.copy first",
            host=Host.of(c).label,
        )
    return account


def make_key_pair(c: Connection, alias: str, protected: bool) -> Path:
    """Make a key pair for this lab alone.

    protected: ask for a passphrase, as the old key has one. Raises SetupError without a terminal.
    """
    if protected and not sys.stdin.isatty():
        raise SetupError(
            "the old key has a passphrase, so the new one needs one too: type this in a terminal"
        )
    folder, number = Path.home() / ".ssh", 1
    while any((folder / f"{file_name(alias, number)}{end}").exists() for end in ("", ".pub")):
        number += 1
    passphrase = authorized_keys.ask_passphrase() if protected else ""
    if passphrase:
        # The proof needs it, and must not wait for anybody's answer.
        c.connect_kwargs["passphrase"] = passphrase
    return keypair.generate(folder / file_name(alias, number), passphrase)


def earlier_keys(alias: str) -> list[str]:
    """Return the public lines of this lab's own keys.

    An interrupted rotation may have left its new key on the host.
    """
    paths = (Path.home() / ".ssh").glob(f"{file_name(alias, 1)}*.pub")
    return [line for path in sorted(paths) for line in keypair.read_publics(str(path))]


def file_name(alias: str, number: int) -> str:
    """Return the file name of this lab's key. number: 1 for the first, counting up."""
    name = f"id_ed25519_{alias}"
    return f"{name}_{number}" if number > 1 else name


def remove_keys(c: Connection, name: str, stale: list[str]) -> None:
    """Remove keys from an account's authorized_keys; the other lines stay as they are."""
    account = facts(c).accounts[name]
    gone = {authorized_keys.key_of(line) for line in stale}
    if not account.keys or not gone & authorized_keys.keys_of(account):
        return
    # As sshd counts lines: see authorized_keys.lines_of.
    lines = account.keys.content.split("\n")
    text = "\n".join(line for line in lines if authorized_keys.key_of(line) not in gone)
    put(
        c,
        authorized_keys.key_file(account),
        text,
        why=f"refuse your old key for {name}",
        old=account.keys,
        mode=account.keys.mode,
        owner=name,
        then=planned_file(f"accounts.{name}.keys", text, account.keys.mode, name),
    )


def prove_refused(c: Connection, host: Host, old: Path) -> None:
    """Try to log in with the old key. Raises SetupError if the host still takes it."""
    untried = f"[{host.label}] could not try whether the old key is refused"
    try:
        connection.log_in_again(c, host.login.user, host.login.port, old).close()
    except paramiko.PasswordRequiredException:
        console.warn(f"{untried}: it has a passphrase; see check.ssh")
        return
    except paramiko.AuthenticationException:
        return
    except CONNECTION_ERRORS as error:
        console.warn(f"{untried}: {error}; see check.ssh")
        return
    raise SetupError(
        f"the old key {old} can still log in: "
        "look for it in authorized_keys and AuthorizedKeysFile there",
        host=host.label,
    )
