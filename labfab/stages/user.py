"""User: an account with sudo, so that nobody has to be root; where wanted, one without sudo for JupyterLab.

Owns: the accounts it made, /etc/sudoers.d/90-labfab.  Undo: deluser NAME; rm /etc/sudoers.d/90-labfab
On macOS the first is the administrator that you log in as, who is there already.
"""

from __future__ import annotations

from fabric import Connection

from ..errors import SetupError
from ..facts import facts
from ..facts.reader import as_file
from ..host.alias import alias_of
from ..host.changes import change, put
from ..host.session import Host
from ..local_state import passwords, secrets
from ..platforms import platform
from ..run.guard import guarded
from ..run.task import host_task
from ..settings import Settings

SUDOERS = "/etc/sudoers.d/90-labfab"


@host_task(default=True)
def add(c: Connection) -> None:
    """Add the sudo user, and lab_user if set."""
    want = Settings.of(c)
    refuse_powers(c, want)
    platform(c).install(c, "sudo")
    if want.user not in facts(c).accounts:
        platform(c).add_account(c, want.user)
    grant_sudo(c, want)
    if want.lab_user:
        if want.lab_user not in facts(c).accounts:
            platform(c).add_account(c, want.lab_user)
        platform(c).finish_account(c, want.lab_user)


def grant_sudo(c: Connection, want: Settings) -> None:
    """Give the account the right to use sudo, and a password for it where none is set."""
    have = facts(c).accounts[want.user]
    if platform(c).ADMINS not in have.groups:
        platform(c).join_group(c, want.user, platform(c).ADMINS)
    if want.sudo == "nopasswd":
        rule = f"{want.user} ALL=(ALL:ALL) NOPASSWD: ALL\n"
        why = f"let {want.user} use sudo without a password"
        with guarded(c, why):
            # The name has no dot, else sudo would skip it; visudo looks at the file before sudo can.
            put(
                c,
                SUDOERS,
                rule,
                why=why,
                old=facts(c).sudoers,
                mode="440",
                check='visudo -cqf "$NEW"',
                then=as_file("accounts.sudoers", rule, "440", "root"),
            )
        return
    if have.password != "P":
        platform(c).set_password(c, want.user, new_password(c, want))
    if facts(c).sudoers:
        with guarded(c, "let sudo ask for a password again"):
            change(
                c,
                "rm %s",
                SUDOERS,
                why="let sudo ask for a password again",
                undo=("restore %s", SUDOERS),
                keep=[SUDOERS],
                then={"accounts.sudoers.stat": None},
            )


def new_password(c: Connection, want: Settings) -> str:
    """The password to give for sudo: from the environment, kept from before, or generated; stored on the laptop."""
    alias = alias_of(c, want)
    given = secrets.take_from_environment("sudo-password") or secrets.load(alias, "sudo-password")
    value = given.reveal() if given else passwords.generate()
    if not Host.of(c).planning:
        secrets.store(alias, "sudo-password", value, replace=True)
    return value


def refuse_powers(c: Connection, want: Settings) -> None:
    """lab_user exists to have no rights; one that has them was named by mistake."""
    have = facts(c).accounts.get(want.lab_user)
    if have and have.groups & {"sudo", "admin", "wheel", "root"}:
        raise SetupError(
            f"{Host.of(c).label}: lab_user {want.lab_user} may use sudo: choose another name, or leave lab_user empty"
        )
