"""User: an account with sudo, so that nobody logs in as root; if set, one without for JupyterLab.

Owns: the accounts it made, /etc/sudoers.d/90-labfab.
Undo: deluser NAME; rm /etc/sudoers.d/90-labfab
On macOS the first is the administrator you log in as, which exists already.

Whoever holds the password or a key of an account gets what labfab gives to it. So an account that
somebody else made is taken over only if the setting take_over names it, and gets sudo only together
with your key: the guard of keys.copy takes both back unless your login as that account works.
"""

from __future__ import annotations

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
from ..run.guard import guarded
from ..run.task import host_task
from ..settings import Settings
from ..text import counted, to_type

if TYPE_CHECKING:
    from ..facts.records import Account
    from ..platforms.base import Platform

SUDOERS = "/etc/sudoers.d/90-labfab"
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
    # In a setup, keys.copy does this inside its window.
    if not foreign or Host.of(c).task_depth == 1:
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


def grant_sudo_in_window(c: Connection, want: Settings, system: Platform) -> None:
    """Let an account that was taken over use sudo, within the guarded change of keys.copy."""
    if is_foreign(c, want.user):
        grant_sudo(c, want, system)
        if want.sudo == "nopasswd":
            allow_without_password(c, want.user)


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
    why = "let sudo ask for a password again"
    with guarded(c, why):
        change(
            c,
            "rm %s",
            SUDOERS,
            why=why,
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
    return value


def refuse_accounts(c: Connection, want: Settings) -> None:
    """Raise SetupError, before anything is changed, for accounts that must not get these rights."""
    refuse_admin_as_lab_user(c, want)
    for key, name in (("user", want.user), ("lab_user", want.lab_user)):
        if name and is_foreign(c, name):
            refuse_service(c, key, name)
            if name not in want.take_over:
                raise SetupError(
                    f"the account {name} exists already, and labfab did not make it; "
                    f"{ways_in(c, name)}: choose another {key}, "
                    f"or if it is yours, set take_over: [{name}]",
                    host=Host.of(c).label,
                )
    for name in dict.fromkeys((want.user, want.lab_user)):
        account = facts(c).accounts.get(name)
        # On a Mac, the account may have none before its first login; finish_account() makes it.
        if account and facts(c).system.kernel != "Darwin":
            require_home(c, account)


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
