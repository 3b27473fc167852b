"""User: an account with sudo, so that nobody logs in as root; if set, one without for JupyterLab.

Owns: the accounts it made, /etc/sudoers.d/90-labfab.
Undo: deluser NAME; rm /etc/sudoers.d/90-labfab
On macOS the first is the administrator you log in as, which exists already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fabric import Connection

from ..errors import SetupError
from ..facts import facts
from ..facts.reader import planned_file
from ..host.account_files import close_folder
from ..host.alias import alias_of
from ..host.changes import change, put
from ..host.session import Host
from ..local_state import passwords, secrets
from ..platforms import platform
from ..run.guard import guarded
from ..run.task import host_task
from ..settings import Settings

if TYPE_CHECKING:
    from ..platforms.base import Platform

SUDOERS = "/etc/sudoers.d/90-labfab"
ADMIN_GROUPS = {"sudo", "admin", "wheel", "root"}


@host_task(default=True)
def add(c: Connection) -> None:
    """Add the sudo user, and lab_user if set."""
    want, system = Settings.of(c), platform(c)
    refuse_admin_as_lab_user(c, want)
    system.install(c, "sudo")
    if want.user not in facts(c).accounts:
        system.add_account(c, want.user)
    grant_sudo(c, want, system)
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


def grant_sudo(c: Connection, want: Settings, system: Platform) -> None:
    """Let the account use sudo, and give it a password for that if it has none."""
    account = facts(c).accounts[want.user]
    if system.ADMIN_GROUP not in account.groups:
        system.join_group(c, want.user, system.ADMIN_GROUP)
    if want.sudo == "nopasswd":
        drop_sudo_password(c, want.user)
        return
    if account.password != "P":
        system.set_password(c, want.user, sudo_password(c, want))
    if facts(c).sudoers:
        require_sudo_password(c)


def drop_sudo_password(c: Connection, user: str) -> None:
    """Let the account use sudo without a password."""
    why, rule = f"let {user} use sudo without a password", f"{user} ALL=(ALL:ALL) NOPASSWD: ALL\n"
    with guarded(c, why):
        # sudo skips files with a dot in their name; visudo checks the file before sudo reads it.
        put(
            c,
            SUDOERS,
            rule,
            why=why,
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
    stored = Host.of(c).stored_sudo_password(want)
    given = secrets.take_from_environment("sudo-password") or stored
    value = given.reveal() if given else passwords.generate()
    if not Host.of(c).planning:
        Host.of(c).keep_sudo_password(alias, value)
    return value


def refuse_admin_as_lab_user(c: Connection, want: Settings) -> None:
    """Raise SetupError if lab_user may use sudo: no account that runs JupyterLab should."""
    account = facts(c).accounts.get(want.lab_user)
    if account and account.groups & ADMIN_GROUPS:
        raise SetupError(
            f"lab_user {want.lab_user} may use sudo: choose another name, or leave lab_user empty",
            host=Host.of(c).label,
        )
