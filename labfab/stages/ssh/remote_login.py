"""Remote Login: who may log in to a Mac over SSH, and on which port.

Owns: Remote Login's list of accounts, the group com.apple.access_ssh.  Undo: setup.undo --to ssh
sshd's own files and the port belong to hardening.py.
"""

from __future__ import annotations

from fabric import Connection

from ...errors import SetupError
from ...facts import facts
from ...host.changes import write_alias
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
    want, host, system = Settings.of(c), Host.of(c), platform(c)
    names = authorized_keys.accounts_to_open(want)
    with guarded(c, "let only the accounts on Remote Login's list log in"):
        before = len(host.changes)
        system.restrict_logins(c, names)
        if len(host.changes) > before and not host.planning:
            for name in names[1:]:
                guard.prove_account(c, host.login._replace(user=name))
    if want.lab_user:  # now the alias can lead there
        host.proven_for_notebooks(want.lab_user)
        write_alias(c, want)


@host_task(name="close-port-22")
def close_port_22(c: Connection) -> None:
    """Close Remote Login's own port (macOS).

    The run continues over the other port. Raises SetupError if there is no other.
    """
    host, have = Host.of(c), facts(c).ssh
    if not have.remote_login:
        return
    other = min(have.ports - {have.remote_login}, default=0)
    if not other and not host.planning:
        raise SetupError(
            f"sshd listens on port {have.remote_login} only: ssh.change-port first",
            host=host.label,
        )
    login = host.login._replace(port=other)
    if not host.planning:
        host.move_to_port(other)  # launchd may end what it started for the port that closes
    with guarded(c, f"close port {have.remote_login}", login):
        platform(c).close_remote_login(c)
