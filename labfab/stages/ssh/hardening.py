"""SSH: keys only, no root, a port of your own.

Owns: /etc/ssh/sshd_config.d/00-labfab.conf (on macOS 000-labfab.conf, and launchd's job for the port): the first value wins.
Undo: rm /etc/ssh/sshd_config.d/00-labfab.conf, then make sshd read it
"""

from __future__ import annotations

import time
from collections.abc import Callable

import paramiko
from fabric import Connection

from ...errors import SetupError
from ...facts import facts
from ...host import connection
from ...host.changes import remember
from ...host.session import Host
from ...local_state import known_hosts
from ...platforms import platform
from ...run import guard
from ...run.guard import guarded
from ...run.task import host_task
from ...settings import Settings
from ..keys import authorized_keys

# PAM asks for the password through keyboard-interactive, so that has to go as well.
NO_PASSWORDS = {
    "PasswordAuthentication": "no",
    "KbdInteractiveAuthentication": "no",
    "PermitEmptyPasswords": "no",
}


@host_task(name="disable-passwords", default=True)
def disable_passwords(c: Connection) -> None:
    """Refuse passwords; only keys log in."""
    authorized_keys.copy(c)
    if not passwords_accepted(c):
        return
    with guarded(c, "refuse passwords"):
        platform(c).set_options(c, NO_PASSWORDS, why="refuse passwords for every user")
        platform(c).reload_sshd(c)
        prove(c, passwords_accepted, "a Match block of sshd_config gives passwords back to")
        prove(c, passwords_offered, "from outside a password is still asked of")


def passwords_accepted(c: Connection) -> list[str]:
    """The accounts whose password sshd would take."""
    return [
        user
        for user, have in sorted(facts(c).ssh.effective.items())
        if any(have.get(option.lower()) != value for option, value in NO_PASSWORDS.items())
    ]


def passwords_offered(c: Connection) -> list[str]:
    """The accounts that a stranger is offered more than a key for."""
    port = Host.of(c).login.port
    return [
        user for user in facts(c).accounts if connection.offered(c, user, port) != ["publickey"]
    ]


@host_task(name="disable-root")
def disable_root(c: Connection) -> None:
    """Refuse logins as root.

    The login of the sudo user is proven before.
    """
    authorized_keys.copy(c)
    if not root_accepted(c):
        return
    with guarded(c, "refuse root"):
        platform(c).set_options(c, {"PermitRootLogin": "no"}, why="refuse logins as root")
        platform(c).reload_sshd(c)
        prove(c, root_accepted, "a Match block of sshd_config lets in")
        prove(c, root_let_in, "your key still opens")


def root_accepted(c: Connection) -> list[str]:
    return ["root"] * (facts(c).ssh.effective.get("root", {}).get("permitrootlogin") != "no")


def root_let_in(c: Connection) -> list[str]:
    """Try to log in as root with the key that should not open any more."""
    login = Host.of(c).login
    try:
        connection.fresh(c, "root", login.port, login.identity).close()
    except paramiko.AuthenticationException:
        return []
    return ["root"]


def prove(c: Connection, still_open: Callable[[Connection], list[str]], problem: str) -> None:
    """Raise SetupError when accounts are left that should be shut out."""
    left = [] if Host.of(c).planning else still_open(c)
    if left:
        raise SetupError(
            f"{problem} {', '.join(left)}: look at `sshd -T -C user={left[0]},host=h,addr=192.0.2.1` there"
        )


@host_task(
    name="change-port", help={"port": "TCP port from 1 to 65535; without it the setting ssh_port"}
)
def change_port(c: Connection, port: int | str = "") -> None:
    """Move sshd to a port of your own.

    It listens on both ports first, and after a login on the new one only there; on macOS Remote Login keeps its own.
    """
    new = Settings.of(c, ssh_port=None if port == "" else port).ssh_port
    have, kept = facts(c).ssh, platform(c).kept_ports(c)
    if have.ports - kept == {new} - kept and listens(c, new):
        return
    refuse(c, new)
    old = have.ports - {new}
    login = Host.of(c).login._replace(port=new)
    with guarded(c, f"move sshd to port {new}", login):
        open_port(c, new)
        platform(c).listen(c, old | {new}, why=f"let sshd listen on port {new} too")
        if not Host.of(c).planning:
            guard.prove(c, login)
        if old - kept:
            platform(c).listen(c, kept | {new}, why=f"let sshd listen on port {new} only")
        for port in sorted((old - kept) & facts(c).firewall.allowed):
            platform(c).close_port(c, port)
    Host.of(c).proven_as(login)
    remember(c, Settings.of(c))


def listens(c: Connection, port: int) -> bool:
    """Whether somebody listens there, asked twice: an sshd that is just reading its files anew closes its sockets and opens them again."""
    if port not in facts(c).ssh.listening and not Host.of(c).planning:
        time.sleep(1)
        Host.of(c).forget()
    return port in facts(c).ssh.listening


def refuse(c: Connection, new: int) -> None:
    """Stop before anything is changed where the port cannot be had."""
    have, label = facts(c).ssh, Host.of(c).label
    holder = have.listening.get(new)
    if holder and new not in have.ports:
        raise SetupError(f"{label}: port {new} is taken by {holder}: choose another ssh_port")
    if have.other_ports:
        place, _, line = have.other_ports[0].rpartition(":")
        raise SetupError(
            f"{label}: {place} says '{line.strip()}' and ports add up: delete that line, then ssh.change-port again"
        )


def open_port(c: Connection, new: int) -> None:
    """Let the port through the firewall, and pin the same host key to its name."""
    if facts(c).firewall.active and new not in facts(c).firewall.allowed:
        platform(c).allow_port(c, new)
    if not Host.of(c).planning:
        known_hosts.pin(
            connection.known_hosts_path(), c.host, new, c.transport.get_remote_server_key()
        )
