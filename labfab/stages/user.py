"""User: an account with sudo, so that nobody logs in as root; if set, one without for JupyterLab.

Owns: the accounts it made, /etc/sudoers.d/90-labfab.
Undo: deluser NAME; rm /etc/sudoers.d/90-labfab
On macOS the first is the administrator you log in as, which exists already.

Whoever holds the password or a key of an account gets what labfab gives to it. So an account that
somebody else made is taken over only if the setting take_over names it. In a setup, an account gets
sudo and a password only together with your key: the guard of keys.copy takes both back unless your
login as that account works. Until then, it has no password that sshd could take.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fabric import Connection

from .. import console
from ..errors import SetupError
from ..facts import facts
from ..facts.reader import planned_file
from ..host.account_files import close_folder
from ..host.alias import alias_of
from ..host.changes import change, put
from ..host.session import Host
from ..host.shell import ConnectionLost
from ..local_state import passwords, secrets
from ..platforms import platform
from ..run import agreement
from ..run.guard import guarded
from ..run.task import host_task
from ..settings import Settings
from ..text import counted, to_type

if TYPE_CHECKING:
    from ..facts.records import Account, Leftovers
    from ..platforms.base import Platform

SUDOERS = "/etc/sudoers.d/90-labfab"
ASK_AGAIN = "let sudo ask for a password again"
LOGGED = "sudo-log"  # the word of the setting accept
SUDO_GROUPS = {"sudo", "admin", "wheel"}


@host_task(default=True)
def add(c: Connection) -> None:
    """Add the sudo user, and lab_user if set."""
    want, system = Settings.of(c), platform(c)
    refuse_accounts(c, want)
    foreign = is_foreign(c, want.user)
    if foreign and not Host.of(c).planning:
        console.warn(f"[{Host.of(c).label}] {want.user} is taken over; {ways_in(c, want.user)}")
    system.install(c, "sudo")
    # Without sudo, nobody could tell what its rules allow.
    refuse_admin_as_lab_user(c, want)
    if want.user not in facts(c).accounts:
        system.add_account(c, want.user)
    if not waits_for_proof(c, want):
        grant_sudo(c, want, system)
        settle_sudo_password(c, want)
    if want.lab_user:
        if want.lab_user not in facts(c).accounts:
            system.add_account(c, want.lab_user)
        system.finish_account(c, want.lab_user)
    close_home(c, want)


def close_home(c: Connection, want: Settings) -> None:
    """Close the home of JupyterLab's account to other accounts.

    An administrator's own Mac stays as it is. If a web server has files there, it may still pass
    through, but not look around.
    """
    account = facts(c).accounts[want.jupyter_user]
    mode, _, owner = account.home_stat.partition(" ")
    is_mac = facts(c).system.kernel == "Darwin"
    if owner != account.name or (is_mac and not want.lab_user):
        return
    served = want.webroot.startswith(f"{account.home}/") or account.serves
    closed = f"{int(mode, 8) & (0o711 if served else 0o700):o}"
    if mode != closed:
        key, value = f"accounts.{account.name}.home_stat", f"{closed} {account.name}"
        close_folder(c, account.name, account.home, closed, key, value)


def waits_for_proof(c: Connection, want: Settings) -> bool:
    """Return whether keys.copy gives sudo to the account, inside its window.

    That is so unless this login is that account's, or user.add was asked for alone.
    """
    return c.user != want.user and Host.of(c).task_depth > 1


def grant_sudo_in_window(c: Connection, want: Settings, system: Platform) -> None:
    """Let the account use sudo, within the guarded change of keys.copy."""
    if c.user != want.user:
        grant_sudo(c, want, system)
        if want.sudo == "nopasswd":
            allow_without_password(c, want.user)
        elif facts(c).sudoers:
            drop_rule(c)


def grant_sudo(c: Connection, want: Settings, system: Platform) -> None:
    """Let the account use sudo, and give it a password for that if it has none."""
    account = facts(c).accounts[want.user]
    if system.ADMIN_GROUP not in account.groups:
        system.join_group(c, want.user, system.ADMIN_GROUP)
    if want.sudo == "password" and account.password != "P":
        try:
            system.set_password(c, want.user, sudo_password(c, want))
        except ConnectionLost:
            raise  # it may have been set
        except SetupError:
            # A host that has a rule against it would refuse it again.
            secrets.discard(alias_of(c, want), "sudo-password")
            raise


def settle_sudo_password(c: Connection, want: Settings) -> None:
    """Add or remove the rule that lets the account use sudo without a password."""
    if want.sudo == "nopasswd":
        with guarded(c, f"let {want.user} use sudo without a password"):
            allow_without_password(c, want.user)
    elif facts(c).sudoers:
        require_sudo_password(c)


def allow_without_password(c: Connection, user: str) -> None:
    """Write the rule that lets the account use sudo without a password."""
    rule = f"{user} ALL=(ALL:ALL) NOPASSWD: ALL\n"
    # sudo skips files with a dot in their name; visudo checks the file before sudo reads it.
    put(
        c,
        SUDOERS,
        rule,
        why=f"let {user} use sudo without a password",
        old=facts(c).sudoers,
        mode="440",
        check='visudo -cqf "$NEW"',
        then=planned_file("accounts.sudoers", rule, "440", "root"),
    )


def require_sudo_password(c: Connection) -> None:
    """Remove the rule that lets the account use sudo without a password."""
    with guarded(c, ASK_AGAIN):
        drop_rule(c)


def drop_rule(c: Connection) -> None:
    """Remove the rule's file."""
    change(
        c,
        "rm %s",
        SUDOERS,
        why=ASK_AGAIN,
        undo=("restore %s", SUDOERS),
        keep=[SUDOERS],
        then={"accounts.sudoers.stat": None},
    )


def sudo_password(c: Connection, want: Settings) -> str:
    """Return the password to set for sudo, and store it on the laptop.

    It comes from the environment, from an earlier run, or is generated.
    """
    alias = alias_of(c, want)
    stored = Host.of(c).stored_secret(want, "sudo-password")
    given = secrets.take_from_environment("sudo-password") or stored
    value = given.reveal() if given else passwords.generate()
    if not Host.of(c).planning:
        Host.of(c).keep_secret(alias, "sudo-password", value)
        secrets.note_sudo_account(alias, want.user)
    return value


def name_log_of_sudo(c: Connection, want: Settings, token: bool = False) -> None:
    """Say before the first secret that sudo would keep it. Raises SetupError without agreement.

    token: whether the run will also send JupyterLab's token.
    """
    place, line = facts(c).sudo_log
    if not place or not (token or sets_password(c, want)):
        return
    host = Host.of(c)
    file = line.partition(":")[0] or "/etc/sudoers"
    text = (
        f"sudo keeps what labfab types there, passwords too, in {place}"
        f"{f' ({line})' if line else ''}: log in as root, or write "
        f"`Defaults:{c.user} !log_input` at the end of {file}"
    )
    if host.first_time(text):
        kinds = [] if LOGGED in want.accept else [LOGGED]
        agreement.refuse_unasked(host, kinds, f"nothing was changed: {text}")
        console.warn(f"[{host.label}] {text}")
        agreement.confirm(host, kinds)


def sets_password(c: Connection, want: Settings) -> bool:
    """Return whether an account would be given a password."""
    have = facts(c).accounts
    account = have.get(want.user)
    needs = want.sudo == "password" and (account is None or account.password != "P")
    # A Mac's new account has a password from the beginning.
    added = facts(c).system.kernel == "Darwin" and want.lab_user and want.lab_user not in have
    return bool(needs or added)


def refuse_accounts(c: Connection, want: Settings) -> None:
    """Raise SetupError, before anything is changed, for accounts that must not get these rights."""
    refuse_admin_as_lab_user(c, want)
    for key, name in (("user", want.user), ("lab_user", want.lab_user)):
        if not name:
            continue
        if is_foreign(c, name):
            refuse_service(c, key, name)
            if name not in want.take_over:
                raise SetupError(
                    f"the account {name} exists already, and labfab did not make it; "
                    f"{ways_in(c, name)}: choose another {key}, "
                    f"or if it is yours, set take_over: [{name}]",
                    host=Host.of(c).label,
                )
        elif name not in facts(c).accounts:
            refuse_leftovers(c, key, name)
    for name in dict.fromkeys((want.user, want.lab_user)):
        account = facts(c).accounts.get(name)
        # On a Mac, the account may have none before its first login; finish_account() makes it.
        if account and facts(c).system.kernel != "Darwin":
            require_home(c, account)
        if account:
            refuse_others_keys(c, account)
    name_log_of_sudo(c, want)


def refuse_others_keys(c: Connection, account: Account) -> None:
    """Raise SetupError if a home, or the keys in it, are another account's.

    sshd does not take such keys. Once labfab makes the files the account's own, it would.
    """
    keys = account.keys.owner if account.keys else account.name
    for path, owner in (
        (account.home, account.home_stat.partition(" ")[2] or account.name),
        (f"{account.home}/.ssh/authorized_keys", keys),
    ):
        if owner not in (account.name, "root"):
            whose = "an account that is gone" if owner in ("UNKNOWN", "") else owner
            raise SetupError(
                f"{path} belongs to {whose}, not to {account.name}: move it away, "
                f"or chown it if you know what is in it",
                host=Host.of(c).label,
            )


def refuse_leftovers(c: Connection, key: str, name: str) -> None:
    """Raise SetupError for what a new account would get from an earlier one of its name.

    Who owned that one, or has a key to it, would get into the new one, with its rights.
    """
    left, host = facts(c).leftovers.get(name), Host.of(c)
    if left is None:
        return
    found = [*inherited(left, name), *(f"{path} has keys to it" for path in keys_kept(c, name))]
    if left.rule and key == "lab_user":
        found.append(f"a rule may let it become root ({left.rule})")
    if found:
        them = "them" if len(found) > 1 else "it"
        raise SetupError(
            f"{'; '.join(found)}: choose another {key}, or move {them} away", host=host.label
        )
    for text in (
        left.rule and f"a rule for {name} is there already: {left.rule}",
        left.skel and f"{left.skel} gives its keys to every new account, so to {name} too",
    ):
        if text and host.first_time(text):
            console.warn(f"[{host.label}] {text}")


def inherited(left: Leftovers, name: str) -> Iterator[str]:
    """Describe what a new account would take over: a home, jobs, a group."""
    if left.kind == "folder":
        yield f"{left.home} is there already and belongs to {left.whose}"
    elif left.kind == "link":
        yield f"{left.home} is there already, a link to {left.whose}"
    elif left.kind:
        problem = "is no folder" if left.kind == "file" else "does not answer"
        yield f"{left.home} is there already and {problem}"
    for job in left.jobs:
        yield f"{job} would run as {name}"
    if left.group:
        yield f"the group {name} is there already (groupdel {name} removes it)"


def keys_kept(c: Connection, name: str) -> tuple[str, ...]:
    """Return the files outside of its home that hold keys to an account that is not there yet."""
    return facts(c).ssh.left_keys.get(name, ())


def require_home(c: Connection, account: Account) -> None:
    """Raise SetupError if the account's home is missing, or its file system does not answer."""
    if not account.home_stat:
        raise SetupError(
            f"the home {account.home} of {account.name} is missing or does not answer: "
            f"look at it with {to_type('ls -ld', account.home) or 'ls -ld'}; if it is missing, "
            f"{to_type('mkhomedir_helper', account.name)} makes it; then run this again",
            host=Host.of(c).label,
        )


def refuse_to_move(c: Connection, want: Settings) -> None:
    """Raise SetupError if the host's JupyterLab runs as `user` and would get a second account."""
    have = facts(c).accounts.get(want.user)
    if want.lab_user and have and have.lab and have.known:
        if want.lab_user in facts(c).accounts:
            return
        raise SetupError(
            f"JupyterLab of this host belongs to {want.user}, not to lab_user {want.lab_user}: "
            "LABFAB_LAB_USER= (empty) keeps it there; "
            "backup.create, setup.undo, setup.full and backup.restore move it",
            host=Host.of(c).label,
        )


def is_foreign(c: Connection, name: str) -> bool:
    """Return whether the account is neither this login nor one that labfab made or worked with."""
    account = facts(c).accounts.get(name)
    return bool(account and name != c.user and not account.ours and not account.known)


def ways_in(c: Connection, name: str) -> str:
    """Describe what opens an account today, and stays."""
    account = facts(c).accounts[name]
    ways = ["its own password"] if account.password == "P" else []
    lines = account.keys.content.splitlines() if account.keys else []
    keys = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if keys:
        ways.append(f"{counted(len(keys), 'key')} in {account.home}/.ssh/authorized_keys")
    if account.link:
        ways.append(f"whatever {account.link} holds")
    opens = " and ".join(ways) or "neither a password nor a key"
    return f"{opens} would still open it" if ways else f"it has {opens}"


def refuse_service(c: Connection, key: str, name: str) -> None:
    """Raise SetupError for an account that a service runs as, even if take_over names it."""
    account = facts(c).accounts[name]
    if account.service:
        raise SetupError(
            f"the account {name} belongs to a service (uid {account.uid}, {account.shell}): "
            f"choose another {key}",
            host=Host.of(c).label,
        )


def refuse_admin_as_lab_user(c: Connection, want: Settings) -> None:
    """Raise SetupError if lab_user can become root: no account that runs JupyterLab should."""
    account = facts(c).accounts.get(want.lab_user)
    found = powers(account, platform(c)) if account else ""
    if found:
        raise SetupError(
            f"lab_user {want.lab_user} {found}, so code in a notebook could become root: "
            "choose another name, take that away from it, or leave lab_user empty",
            host=Host.of(c).label,
        )


def powers(account: Account, system: Platform) -> str:
    """Describe how an account can become root, in a few words; empty if it cannot."""
    groups = sorted(account.groups & {*system.POWERFUL_GROUPS.split()})
    ways = [f"the {'groups' if len(groups) > 1 else 'group'} {', '.join(groups)}"] if groups else []
    ways += [f"a rule of {program}" for program in sorted(account.rules)]
    if account.uid == 0:
        ways.append("its uid 0")
    if not ways:
        return ""
    sudo = account.groups & SUDO_GROUPS or "sudo" in account.rules
    return f"{'may use sudo' if sudo else 'can become root'} (by {' and '.join(ways)})"
