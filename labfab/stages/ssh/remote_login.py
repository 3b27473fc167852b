"""Access: who may log in to a Mac over SSH, and where.

Owns: Remote Login's list of accounts, the group com.apple.access_ssh.  Undo: setup.undo --to ssh
sshd's own files and the port are stages/ssh.py's.
"""

from __future__ import annotations

from fabric import Connection

from ...errors import SetupError
from ...facts import facts
from ...host.session import Host
from ...platforms import platform
from ...run import guard
from ...run.guard import guarded
from ...run.task import host_task
from ...settings import Settings
from ..keys import authorized_keys


@host_task
def restrict(c: Connection) -> None:
    """Let in only administrators and Lab's account (macOS)."""
    authorized_keys.copy(c)
    want = Settings.of(c)
    names = authorized_keys.owners(c, want)
    with guarded(c, "let only the accounts on Remote Login's list log in"):
        before = len(Host.of(c).changes)
        platform(c).restrict_logins(c, names)
        if len(Host.of(c).changes) > before and not Host.of(c).planning:
            for name in names[1:]:
                guard.prove_account(c, Host.of(c).login._replace(user=name))


@host_task(name="close-port-22")
def close_port_22(c: Connection) -> None:
    """Switch Remote Login's own port off (macOS).

    The login at the other port is dialled first, and goes on. Raises SetupError where there is no other.
    """
    have, host = facts(c).ssh, Host.of(c)
    if not have.remote_login:
        return
    other = min(have.ports - {have.remote_login}, default=0)
    if not other and not host.planning:
        raise SetupError(
            f"{host.label}: sshd listens at port {have.remote_login} alone: ssh.change-port first"
        )
    login = host.login._replace(port=other)
    if not host.planning:
        host.move_to_port(other)  # what launchd started for this port may end with it
    with guarded(c, f"close port {have.remote_login}", login):
        platform(c).close_remote_login(c)
