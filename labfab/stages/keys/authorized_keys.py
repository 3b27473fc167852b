"""Keys: the key pair of your laptop opens the host, and so do the keys that opened it before.

Owns: the lines it adds to authorized_keys.  Undo: delete those lines
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fabric import Connection
from invoke import Context

from ... import console
from ...errors import SetupError
from ...facts import facts
from ...facts.reader import as_file
from ...host import connection, login_errors
from ...host.account_files import give_back, private_folder, refuse_link
from ...host.changes import change, put, remember
from ...host.session import Host, Login
from ...local_state import keypair
from ...local_state.aliases import block_of
from ...platforms import platform
from ...run.guard import guarded
from ...run.task import host_task, laptop_task
from ...settings import Settings
from .. import user

if TYPE_CHECKING:
    from ...facts.records import Account


@laptop_task(help={"passphrase": "Ask for a passphrase that protects the key (then use ssh-agent)"})
def generate(c: Context, passphrase: bool = False) -> None:
    """Make an ed25519 key pair on your laptop.

    A key that is there is kept, and the task says so.
    """
    path = Path(Settings.of(c).identity or "~/.ssh/id_ed25519").expanduser()
    if path.exists():
        console.say(f"{path} is there already and is kept; another one: set identity to its path")
        return
    if c.config.run.dry:
        console.planned("here", f"make {path} and {path}.pub")
        return
    keypair.generate(path, ask_passphrase() if passphrase and sys.stdin.isatty() else "")
    console.say(f"made {path} and {path}.pub")


def ask_passphrase() -> str:
    """Ask twice, until both answers agree."""
    while True:
        first, second = console.hidden("passphrase (empty: none)"), console.hidden("again")
        if first == second:
            return first
        console.warn("these differ")


@host_task(default=True)
def copy(c: Connection) -> None:
    """Let your key log in as the sudo user.

    The keys that root or the present login has are taken over beside it.
    """
    want = Settings.of(c)
    given = given_lines(want)  # read before the host is touched: one may be wrong
    user.add(c)
    refuse_links(c, want)
    identity, mine = own_key(c, want)
    unlock(c, identity)
    login = Login(want.user, Host.of(c).login.port, identity)
    new = Host.of(c).proven is None and c.user != want.user
    with guarded(c, f"let your key log in as {want.user}", login, always=new):
        for name in owners(c, want):
            mend_modes(c, name)
            add_lines(c, facts(c).accounts[name], [mine, *given, *present_lines(c, want)])
    Host.of(c).proven_as(login)
    remember(c, want)


def owners(c: Connection, want: Settings) -> list[str]:
    """The accounts that your key is to open."""
    return [want.user, *([want.lab_user] if want.lab_user and platform(c).LAB_USER_LOGS_IN else [])]


def unlock(c: Connection, identity: Path | None) -> None:
    """Have the passphrase of your key before the guarded change: its proof uses that key, and nobody is asked then."""
    if identity is None or Host.of(c).planning or not keypair.is_encrypted(identity):
        return
    if c.connect_kwargs.get("passphrase") or connection.held_by_agent(identity):
        return
    for _ in range(3 if sys.stdin.isatty() else 0):
        given = console.hidden(f"passphrase of {identity}")
        if keypair.opens(identity, given):
            c.connect_kwargs["passphrase"] = given
            return
        console.warn("that is not its passphrase")
    raise SetupError(login_errors.encrypted_key(c))


def own_key(c: Connection, want: Settings) -> tuple[Path | None, str]:
    """Your private key and its public line; a plan makes no key, and has a stand-in where there is none."""
    known = block_of(c)
    named = want.identity or (
        known.identity if known and Path(known.identity).expanduser().is_file() else ""
    )
    there = named or any((Path.home() / ".ssh" / name).exists() for name in keypair.NAMES)
    if Host.of(c).planning and not there:
        console.planned(Host.of(c).label, "make a key pair, ~/.ssh/id_ed25519 on your laptop")
        return None, "ssh-ed25519 AAAA… (your new key)"
    identity = keypair.ensure(named)
    return identity, keypair.public_line(identity)


def given_lines(want: Settings) -> list[str]:
    """The keys of the setting. Raises SetupError for one that sshd would not take."""
    return [line for given in want.public_keys for line in keypair.read_publics(given)]


def present_lines(c: Connection, want: Settings) -> list[str]:
    """The keys that log in already."""
    lines = []
    for name in ("root", c.user):
        account = facts(c).accounts.get(name)
        if account and account.keys and name != want.user:
            # Cloud images give root a line whose forced command only says "log in as ubuntu".
            lines += [
                line
                for line in account.keys.content.splitlines()
                if blob(line) and "command=" not in line
            ]
    return lines


def add_lines(c: Connection, account: Account, lines: list[str]) -> None:
    """Add the keys that are missing; the rest of the file stays as it is."""
    old = account.keys.content if account.keys else ""
    known = {blob(line) for line in old.splitlines()}
    missing = {blob(line): line.strip() for line in lines if blob(line) not in known}
    if not missing:
        return
    text = (
        old
        + ("\n" if old and not old.endswith("\n") else "")
        + "".join(f"{line}\n" for line in missing.values())
    )
    many = f"{len(missing)} keys" if len(missing) > 1 else "your key"
    path = f"{account.home}/.ssh/authorized_keys"
    put(
        c,
        path,
        text,
        why=f"let {many} log in as {account.name}",
        old=account.keys,
        mode="600",
        owner=account.name,
        undo=("lines" + " %s" * (1 + len(missing)), path, *missing.values()),
        then=as_file(f"accounts.{account.name}.keys", text, "600", account.name),
    )


def refuse_links(c: Connection, want: Settings) -> None:
    """Stop where the way to the keys leads out of the account's own; tell of others, whose keys are not read."""
    for name in owners(c, want):
        refuse_link(c, name, facts(c).accounts[name].link)
    for account in facts(c).accounts.values():
        if account.link and Host.of(c).proven is None:  # other stages come by here again
            console.warn(
                f"a link in the home of {account.name} leads to {account.link}, which is not {account.name}'s: it is not followed"
            )


def mend_modes(c: Connection, name: str) -> None:
    """Make home, .ssh and authorized_keys as sshd's StrictModes wants them."""
    account = facts(c).accounts[name]
    home, (mode, owner) = account.home, account.home_stat.split()
    key, why, undo = f"accounts.{name}", f"make {home} safe from others", ("mode %s", home)
    if owner != name:
        then = {f"{key}.home_stat": f"{mode} {name}"}
        change(
            c,
            "[ ! -L %s ] && chown -h %s %s",
            home,
            name,
            home,
            why=why,
            undo=undo,
            keep=[home],
            then=then,
        )
    if int(mode, 8) & 0o022:
        then = {f"{key}.home_stat": f"755 {name}"}
        change(c, "chmod go-w %s", home, user=name, why=why, undo=undo, keep=[home], then=then)
    private_folder(c, name, home, ".ssh", account.ssh_stat, f"{key}.ssh_stat")
    mend_keys(c, facts(c).accounts[name])


def mend_keys(c: Connection, account: Account) -> None:
    """Make authorized_keys the account's alone."""
    name, path, key = (
        account.name,
        f"{account.home}/.ssh/authorized_keys",
        f"accounts.{account.name}.keys.stat",
    )
    why = f"make {path} private"
    if account.keys and account.keys.owner != name:
        give_back(c, name, account.home, path, why, "mode %s", {key: f"{account.keys.mode} {name}"})
    if account.keys and int(account.keys.mode, 8) & 0o077:
        change(
            c,
            "chmod 600 %s",
            path,
            user=name,
            why=why,
            undo=("mode %s", path),
            keep=[path],
            then={key: f"600 {name}"},
        )


def has(account: Account, line: str) -> bool:
    """Whether a key may log in to an account."""
    return bool(account.keys) and blob(line) in {
        blob(one) for one in account.keys.content.splitlines()
    }


def blob(line: str) -> str:
    """The key itself, without options and comment; empty for a line that holds none."""
    words = [] if line.lstrip().startswith("#") else line.split()
    for kind, data in zip(words, words[1:], strict=False):
        if kind.startswith(("ssh-", "ecdsa-", "sk-")) and data.startswith("AAAA"):
            return data
    return ""
