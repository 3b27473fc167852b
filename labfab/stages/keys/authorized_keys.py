"""Authorized keys: your laptop's key opens the host, and the keys that opened it before still do.

Owns: the lines it adds to authorized_keys.  Undo: delete those lines
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fabric import Connection
from invoke.context import Context

from ... import console
from ...facts import facts
from ...facts.reader import planned_file
from ...host import connection, login_errors
from ...host.account_files import chown_in_home, private_folder, refuse_link
from ...host.changes import change, put, write_alias
from ...host.session import Host, Login
from ...local_state import files, keypair
from ...local_state.aliases import find_alias
from ...platforms import platform
from ...run import guard
from ...run.guard import guarded
from ...run.task import host_task, laptop_task
from ...settings import Settings
from .. import user
from . import admission, key_line
from .key_line import KeyLine

if TYPE_CHECKING:
    from ...facts.records import Account, Ssh
    from ...host.remote_file import File

# Another account could put something else in the place of a home that lies in its own.
OWN_HOME = (
    'locate %s; if [ "$keeper" != root ] || [ -L %s ]; then '
    'echo "it is a link, or others can write to a folder above it: give it to %s by hand" >&2; '
    "false; "
    "else chown -h %s %s; fi"
)


@laptop_task(help={"passphrase": "Ask for a passphrase that protects the key (then use ssh-agent)"})
def generate(c: Context, passphrase: bool = False) -> None:
    """Make an ed25519 key pair on your laptop.

    An existing key is kept, and the task says so.
    """
    path = files.expanded(Settings.of(c).identity or "~/.ssh/id_ed25519")
    if path.exists():
        console.say(f"kept {path}, which exists already; for another key set identity to its path")
        return
    if c.config.run.dry:
        console.planned("here", f"make {path} and {path}.pub")
        return
    keypair.generate(path, ask_passphrase() if passphrase and sys.stdin.isatty() else "")
    console.say(f"made {path} and {path}.pub")


def ask_passphrase() -> str:
    """Ask for a new passphrase twice, until both answers match."""
    while True:
        first, second = console.hidden("passphrase (empty: none)"), console.hidden("again")
        if first == second:
            return first
        console.warn("they do not match")


@host_task(default=True)
def copy(c: Connection) -> None:
    """Let your key log in as the sudo user.

    The keys of root and of the account you log in as now are copied too.
    """
    want, host = Settings.of(c), Host.of(c)
    given = keys_from_settings(want)  # before the host is touched: one may be wrong
    names = accounts_to_open(want)
    admission.refuse_accounts(c, names, platform(c).ADMIN_GROUP)
    user.add(c)
    refuse_links(c, host, names)
    identity, mine = own_key(c, want, host)
    own = {mine: spoken(identity)}
    unlock(c, host, identity)
    login = Login(want.user, host.login.port, identity)
    new = host.proven is None and c.user != want.user
    with guarded(c, f"let your key log in as {want.user}", login, always=new):
        user.grant_sudo_in_window(c, want, platform(c))
        for name in names:
            fix_modes(c, name)
            if new:
                name_other_ways(c, name, mine)
            # Whoever could log in before keeps the way to sudo, and needs none to the notebooks.
            others = keys_in_use(c, want.user) if name == want.user else {}
            add_keys(c, facts(c).accounts[name], own | given | others | own)
        if split := alias_is_lab_users(c, want):
            prove_lab_user(c, want, login)
    host.proven_as(login)
    if split:
        host.proven_for_notebooks(want.lab_user)
    write_alias(c, want)


def prove_lab_user(c: Connection, want: Settings, login: Login) -> None:
    """Prove the login of the notebooks' account, unless an earlier run has."""
    before = find_alias(c)
    if not (Host.of(c).planning or (before and before.lab_user == want.lab_user)):
        guard.prove_account(c, login._replace(user=want.lab_user))


def accounts_to_open(want: Settings) -> list[str]:
    """Return the accounts that your key should open."""
    return [want.user, *([want.lab_user] if want.lab_user else [])]


def alias_is_lab_users(c: Connection, want: Settings) -> bool:
    """Return whether the alias should lead to lab_user, and another one to the account with sudo.

    That includes an alias that an earlier version wrote. A Mac's Remote Login may not let lab_user
    in until ssh.restrict puts it on its list.
    """
    return bool(want.lab_user) and platform(c).lets_in(c, want.lab_user)


def unlock(c: Connection, host: Host, identity: Path | None) -> None:
    """Ask for the passphrase of your key before the guarded change.

    The proof of that change uses the key, and must not wait for anybody's answer. Raises SetupError
    without a terminal, or after three wrong answers.
    """
    if identity is None or host.planning or not keypair.is_encrypted(identity):
        return
    if c.connect_kwargs.get("passphrase") or connection.held_by_agent(identity):
        return
    for _ in range(3 if sys.stdin.isatty() else 0):
        given = console.hidden(f"passphrase of {identity}")
        if keypair.opens(identity, given):
            c.connect_kwargs["passphrase"] = given
            return
        console.warn("that is not its passphrase")
    raise login_errors.encrypted_key(c)


def own_key(c: Connection, want: Settings, host: Host) -> tuple[Path | None, str]:
    """Return the path of your private key and its public line; make the pair if there is none.

    A plan makes none: it returns no path, and a placeholder for the line.
    """
    known = find_alias(c)
    named = want.identity
    if not named and known and files.expanded(known.identity).is_file():
        named = known.identity
    exists = named or any((Path.home() / ".ssh" / name).exists() for name in keypair.NAMES)
    if host.planning and not exists:
        console.planned(host.label, "make a key pair on your laptop, ~/.ssh/id_ed25519")
        return None, "ssh-ed25519 AAAA… (your new key)"
    identity = keypair.ensure(named)
    if not exists:
        console.say(
            f"[{host.label}] made a new key pair on your laptop, {identity}, without a passphrase "
            f"(ssh-keygen -p -f {identity} sets one)"
        )
    return identity, keypair.public_line(identity)


def spoken(identity: Path | None) -> str:
    """Return where your own key is, in words."""
    held = identity is not None and connection.held_by_agent(identity)
    place = f"your laptop, {identity or '~/.ssh/id_ed25519'}"
    return f"{place} (through your agent)" if held else place


def keys_from_settings(want: Settings) -> dict[str, str]:
    """Return the keys of the setting public_keys, and where each is from.

    Raises SetupError if sshd would reject one.
    """
    lines = [line for given in want.public_keys for line in keypair.read_publics(given)]
    return dict.fromkeys(lines, "the setting public_keys")


def name_other_ways(c: Connection, name: str, mine: str) -> None:
    """Name what opens an account besides your key and those that labfab copies."""
    host, have = Host.of(c), facts(c).ssh
    options = have.effective.get(name, {})
    ways = [
        line.described(path)
        for line, path in lines_that_open(c, name, forced_too=True)
        if line.blob != key_of(mine) and line.blob not in have.revoked and not line.ended
    ]
    for option, what in (
        ("trustedusercakeys", "whoever has a certificate of {} for this name"),
        ("authorizedkeyscommand", "the keys that {} gives"),
    ):
        if (value := options.get(option, "none")) != "none":
            ways.append(what.format(value))
    for way in ways:
        if host.first_time(f"{name}: {way}"):
            console.note(f"opens {name} too: {way}")


def keys_in_use(c: Connection, user: str) -> dict[str, str]:
    """Return the lines of the keys that open root and the present login, and their files.

    Those of *user* are there already. A key that does not open them today is left out, and so is
    one that may do one thing only.
    """
    revoked, host = facts(c).ssh.revoked, Host.of(c)
    lines: dict[str, str] = {}
    for name in dict.fromkeys(("root", c.user)):
        found = lines_that_open(c, name) if name != user else []
        limited = limit_of(c, name)
        if found and limited:
            if host.first_time(f"{name}: {limited}"):
                console.warn(f"[{host.label}] the keys of {name} are not copied: {limited}")
            continue
        for line, path in found:
            why = line.obstacle(revoked)
            if not why:
                lines.setdefault(line.text, path)
            elif not line.refuses and host.first_time(line.text):
                console.note(f"not copied: {line.who} in {path}: {why}")
    return lines


def limit_of(c: Connection, name: str) -> str:
    """Return the line of sshd's files that limits all keys of an account; empty: none."""
    account = facts(c).accounts.get(name)
    return admission.limit(facts(c).ssh, name, account.groups if account else ())


def lines_that_open(
    c: Connection, name: str, forced_too: bool = False
) -> list[tuple[KeyLine, str]]:
    """Return the keys that sshd takes for an account today, from all its files, with their files.

    forced_too: those that may run one command count if they alone are let in.
    """
    have, account = facts(c).ssh, facts(c).accounts.get(name)
    options = have.effective.get(name, {})
    root = options.get("permitrootlogin") if name == "root" else ""
    if account is None or root == "no" or options.get("pubkeyauthentication") == "no":
        return []
    if root == "forced-commands-only" and not forced_too:
        return []
    more = [(one.path, one.file) for one in have.key_files.get(name, ())]
    files = [(key_file(account), account.keys), *more]
    found = []
    for path, file in files:
        if file is None or not is_trusted(have, file, name):
            continue
        for line in map(key_line.parse, lines_of(file.content)):
            if line and (root != "forced-commands-only" or line.command):
                found.append((line, path))
    return found


def is_trusted(have: Ssh, file: File, name: str) -> bool:
    """Return whether sshd reads a file of keys: nobody else may be able to write it."""
    if have.server.get("strictmodes") == "no":
        return True
    return int(file.mode, 8) & 0o022 == 0 and file.owner in (name, "root")


def add_keys(c: Connection, account: Account, lines: Mapping[str, str]) -> None:
    """Add the keys that are missing, and name them; the rest of the file stays as it is.

    lines: lines of authorized_keys, and where each is from.
    """
    old = account.keys.content if account.keys else ""
    known = keys_of(account)
    missing: dict[str, str] = {}
    for line in lines:
        # The first line of a key counts: your own has no limits that end it later.
        if key_of(line) not in known:
            missing.setdefault(key_of(line), line.strip())
    if not missing:
        return
    kept = f"{old}\n" if old and not old.endswith("\n") else old
    text = kept + "".join(f"{line}\n" for line in missing.values())
    many = f"{len(missing)} keys" if len(missing) > 1 else "your key"
    path = key_file(account)
    put(
        c,
        path,
        text,
        why=f"let {many} log in as {account.name}",
        old=account.keys,
        mode="600",
        owner=account.name,
        undo=("lines" + " %s" * (1 + len(missing)), path, *missing.values()),
        then=planned_file(f"accounts.{account.name}.keys", text, "600", account.name),
    )
    for line in lines:
        found = key_line.parse(line) if line.strip() in missing.values() else None
        if found and Host.of(c).first_time(found.blob):
            console.note(found.described(lines[line]))


def refuse_links(c: Connection, host: Host, names: list[str]) -> None:
    """Refuse to follow a link from a home to a file that is not the account's.

    names: the accounts to open. For these it raises SetupError, for all others it only warns.
    """
    accounts = facts(c).accounts
    for name in names:
        refuse_link(c, name, accounts[name].link)
    if host.proven is not None:
        return  # other stages call this one again, and one warning is enough
    for account in accounts.values():
        if account.link:
            console.warn(
                f"a link in the home of {account.name} leads to {account.link}, "
                f"which is not {account.name}'s: it is not followed"
            )


def fix_modes(c: Connection, name: str) -> None:
    """Set the owner and mode that sshd's StrictModes demands for home, .ssh and authorized_keys."""
    account = facts(c).accounts[name]
    fix_home(c, account)
    if name == Settings.of(c).jupyter_user:
        user.close_home(c, Settings.of(c))
    private_folder(c, name, account.home, ".ssh", account.ssh_stat, f"accounts.{name}.ssh_stat")
    fix_key_file(c, facts(c).accounts[name])


def fix_home(c: Connection, account: Account) -> None:
    """Make the home the account's own, and let nobody else write to it."""
    user.require_home(c, account)
    name, home, (mode, owner) = account.name, account.home, account.home_stat.split()
    key, why, undo = f"accounts.{name}.home_stat", f"protect {home} from others", ("mode %s", home)
    if owner != name:
        then = {key: f"{mode} {name}"}
        given = (home, home, name, name, home)
        change(c, OWN_HOME, *given, why=why, undo=undo, keep=[home], then=then)
    if int(mode, 8) & 0o022:
        then = {key: f"755 {name}"}
        change(c, "chmod go-w %s", home, user=name, why=why, undo=undo, keep=[home], then=then)


def fix_key_file(c: Connection, account: Account) -> None:
    """Make authorized_keys the account's own, and let nobody else read it."""
    if not account.keys:
        return
    name, path, key = account.name, key_file(account), f"accounts.{account.name}.keys.stat"
    why = f"make {path} private"
    if account.keys.owner != name:
        chown_in_home(
            c, name, account.home, path, why, "mode %s", {key: f"{account.keys.mode} {name}"}
        )
    if int(account.keys.mode, 8) & 0o077:
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


def key_file(account: Account) -> str:
    """Return the path of the account's authorized_keys."""
    return f"{account.home}/.ssh/authorized_keys"


def keys_of(account: Account) -> set[str]:
    """Return the keys that may log in to the account."""
    return {key_of(line) for line in lines_of(account.keys.content if account.keys else "")}


def lines_of(content: str) -> list[str]:
    """Return the lines of authorized_keys as sshd counts them.

    splitlines() would also split at characters that somebody may have put into a comment, and what
    follows them would become a key.
    """
    return [line.removesuffix("\r") for line in content.split("\n")]


def key_of(line: str) -> str:
    """Return the key of a line, without options and comment; empty if the line holds none."""
    words = [] if line.lstrip().startswith("#") else line.split()
    for kind, data in zip(words, words[1:], strict=False):
        if kind.startswith(("ssh-", "ecdsa-", "sk-")) and data.startswith("AAAA"):
            return data
    return ""
