"""Hardening: keys only, no root, a port of your own.

Owns: /etc/ssh/sshd_config.d/00-labfab.conf, ssh.service.d/labfab.conf of systemd, and
ssh.socket.d/labfab.conf where that socket listens for sshd; on macOS 000-labfab.conf and a job of
launchd.
Undo: rm /etc/ssh/sshd_config.d/00-labfab.conf /etc/systemd/system/ssh.service.d/labfab.conf
/etc/systemd/system/ssh.socket.d/labfab.conf, then systemctl daemon-reload and reload sshd
sshd takes the first value it reads, so our file comes before those of others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

import paramiko
from fabric import Connection

from ... import console
from ...errors import SetupError
from ...facts import facts
from ...host import connection, dial_limit
from ...host.alias import alias_of
from ...host.changes import write_alias
from ...host.session import Host
from ...local_state import known_hosts
from ...local_state.aliases import pinned_as
from ...platforms import platform
from ...run import guard
from ...run.guard import guarded
from ...run.task import host_task
from ...settings import FIRST_UNPRIVILEGED, SSH_PORT, Settings
from ..keys import admission, authorized_keys
from . import endings, fail2ban
from .stranger import Stranger

if TYPE_CHECKING:
    from ...facts.records import Facts, Firewall, Ssh
    from ...host.connection import Place
    from ...platforms.base import Platform

# PAM asks for the password through keyboard-interactive, so that has to go as well.
NO_PASSWORDS = {
    "PasswordAuthentication": "no",
    "KbdInteractiveAuthentication": "no",
    "PermitEmptyPasswords": "no",
}


# The ways of sshd in which a password is typed.
PASSWORD_WAYS = {"password", "keyboard-interactive"}
TICKET = "a ticket of Kerberos logs in too, which is no password"
OTHER_WAYS = {
    "gssapi-with-mic": (TICKET, "gssapiauthentication"),
    "gssapi-keyex": (TICKET, "gssapiauthentication"),
    "hostbased": ("keys of other hosts log in too", "hostbasedauthentication"),
}
NO_ROOT = {"PermitRootLogin": "no"}


@host_task(name="disable-passwords", default=True)
def disable_passwords(c: Connection) -> None:
    """Refuse passwords; only keys log in."""
    before_passwords(c)
    authorized_keys.copy(c)
    if not passwords_accepted(c):
        return
    system = platform(c)
    stranger = Stranger(c, lambda inside: require_none_offered(c, inside))
    with guarded(c, "refuse passwords", then=stranger.from_here):
        system.set_options(c, NO_PASSWORDS, why="refuse passwords for every user")
        system.reload_sshd(c)
        require_none(c, passwords_accepted, "a Match block of sshd_config allows passwords for")
        stranger.from_inside()


def before_passwords(c: Connection) -> None:
    """Name what would keep passwords on and who loses them. Raises SetupError for either."""
    users = admission.require_sshd_settings(c).effective
    if not passwords_accepted(c):
        admission.warn_of_blocks(c, NO_PASSWORDS, users)
        return
    admission.refuse_lines(c, NO_PASSWORDS, users)
    admission.refuse_second_factor(c)
    endings.agree(c, endings.of_passwords(c))


def passwords_accepted(c: Connection) -> list[str]:
    """Return the accounts whose password sshd would accept."""
    return [
        user
        for user, options in sorted(facts(c).ssh.effective.items())
        if any(options.get(option.lower()) != value for option, value in NO_PASSWORDS.items())
    ]


def require_none_offered(c: Connection, inside: Place | None) -> None:
    """Raise SetupError if sshd offers a stranger a password.

    A ticket of Kerberos and the like are no passwords; they are named, and stay.
    """
    port, others = Host.of(c).login.port, set()
    for user in facts(c).accounts:
        ways = {*connection.offered_methods(c, user, port, inside)}
        others |= ways - {"publickey"} - PASSWORD_WAYS
        if ways & PASSWORD_WAYS:
            raise still_open("sshd still offers password logins for", user)
    for note in sorted({name_way(facts(c).ssh, way) for way in others}):
        console.note(note)


def name_way(have: Ssh, way: str) -> str:
    """Describe a way to log in that is neither a key nor a password, and which line offers it."""
    what, option = OTHER_WAYS.get(way, (f"{way} is offered besides keys", ""))
    lines = [line for line in have.lines if line.option == option and line.value == "yes"]
    return f"{what}; that stays" + (f" ({lines[0].place})" if lines else "")


@host_task(name="disable-root")
def disable_root(c: Connection) -> None:
    """Refuse logins as root.

    A fresh login proves the sudo user first.
    """
    before_root(c)
    authorized_keys.copy(c)
    if not root_accepted(c):
        return
    system = platform(c)
    stranger = Stranger(c, lambda inside: require_no_root(c, inside))
    with guarded(c, "refuse root", then=stranger.from_here):
        system.set_options(c, NO_ROOT, why="refuse logins as root")
        system.reload_sshd(c)
        require_none(c, root_accepted, "a Match block of sshd_config lets in")
        stranger.from_inside()


def before_root(c: Connection) -> None:
    """Name what would keep root's login on and what ends with it. Raises SetupError for either."""
    admission.require_sshd_settings(c)
    if root_accepted(c):
        admission.refuse_lines(c, NO_ROOT, ["root"])
        endings.agree(c, endings.of_root(c))
    else:
        admission.warn_of_blocks(c, NO_ROOT, ["root"])


def root_accepted(c: Connection) -> list[str]:
    """Return root if sshd's configuration lets it in."""
    options = facts(c).ssh.effective.get("root", {})
    return [] if options.get("permitrootlogin") == "no" else ["root"]


def require_no_root(c: Connection, inside: Place | None) -> None:
    """Try to log in as root with your key. Raises SetupError if that works.

    fail2ban counts one such try as three failures: where it watches sshd, none comes from here.
    """
    login = Host.of(c).login
    if facts(c).ssh.jail and not inside:
        return
    try:
        connection.log_in_again(c, "root", login.port, login.identity, inside).close()
    except paramiko.AuthenticationException:
        return
    raise still_open("your key still opens", "root")


def require_none(c: Connection, let_in: Callable[[Connection], list[str]], problem: str) -> None:
    """Raise SetupError if any account is still let in.

    let_in: finds such accounts on the changed host. problem: the text before their names.
    """
    left = [] if Host.of(c).planning else let_in(c)
    if left:
        raise still_open(problem, *left)


def still_open(problem: str, *users: str) -> SetupError:
    """Return the error for accounts that are still let in."""
    return SetupError(
        f"{problem} {', '.join(users)}: "
        f"look at `sshd -T -C user={users[0]},host=h,addr=192.0.2.1` there"
    )


@host_task(
    name="change-port", help={"port": "TCP port from 1 to 65535 (default: the setting ssh_port)"}
)
def change_port(c: Connection, port: int | str = "") -> None:
    """Move sshd to a port of your own.

    sshd listens on both ports until a login on the new one works, and only there afterwards.
    On macOS Remote Login keeps its own port.
    """
    want = Settings.of(c, ssh_port=None if port == "" else port)
    host, system, have = Host.of(c), platform(c), admission.require_sshd_settings(c)
    new = want.ssh_port if port != "" else wanted_port(c, want)
    if must_move(c, new) or not listens(c, host, have, new):
        refuse_port(c, new)
        refuse_fixed_way(c, new)
        warn_unprivileged(c, new)
        move(c, host, system, have, new)
        write_alias(c, want)
    else:  # a host of an earlier version may lack this
        keep_sshd_running(c, system)
    fail2ban.follow_port(c)
    remember_limit(c, want)


def remember_limit(c: Connection, want: Settings) -> None:
    """Note on the laptop whether the host's firewall limits how often somebody may dial."""
    if not Host.of(c).planning:
        have = facts(c)
        limited = have.firewall.limited & have.ssh.ports
        dial_limit.remember(alias_of(c, want), bool(limited))


def must_move(c: Connection, new: int) -> bool:
    """Return whether sshd's settings, now or after the next boot, are for other ports than this."""
    have, kept = facts(c).ssh, platform(c).ports_to_keep(c)
    stays = have.ports_after_boot is None or new in have.ports_after_boot
    return have.ports - kept != {new} - kept or not stays


def move(c: Connection, host: Host, system: Platform, have: Ssh, new: int) -> None:
    """Let sshd listen on the new port too, prove a login there, and close the old ports."""
    if any(can_be_taken(have, system, port) for port in have.ports):
        keep_sshd_running(c, system)  # a revert of the move must not take this back
    old, kept = have.ports - {new}, system.ports_to_keep(c)
    login = host.login._replace(port=new)
    with guarded(c, f"move sshd to port {new}", login):
        # First, so that sshd tries again if somebody holds the port when it restarts.
        system.keep_sshd_running(c)
        open_port(c, host, system, facts(c).firewall, old, new)
        system.listen_on(c, old | {new}, why=f"let sshd listen on port {new} too")
        if not host.planning:
            guard.prove_login(c, login)
        if old - kept:
            system.listen_on(c, kept | {new}, why=f"let sshd listen on port {new} only")
        require_after_boot(c, new)
        for left in sorted(old - kept):
            close_rules(c, system, left)
    host.proven_as(login)


def require_after_boot(c: Connection, port: int) -> None:
    """Raise SetupError unless something listens on the port after the next boot, too."""
    found = facts(c).ssh.ports_after_boot
    if found is not None and port not in found and not Host.of(c).planning:
        raise SetupError(
            f"after the next boot SSH would listen on {spoken_ports(found)}, not on port {port}: "
            "look at `systemctl cat ssh.socket ssh.service` there"
        )


def spoken_ports(ports: Iterable[int]) -> str:
    """Return ports in words."""
    found = sorted(ports)
    many = "ports" if len(found) > 1 else "port"
    return f"{many} {', '.join(map(str, found))}" if found else "no port"


def keep_sshd_running(c: Connection, system: Platform) -> None:
    """Make the system start sshd again whenever it ends, as a change of its own."""
    with guarded(c, "let the system start sshd again whenever it ends"):
        system.keep_sshd_running(c)


def wanted_port(c: Connection, want: Settings) -> int:
    """Return the port for sshd: the setting, or if nobody set one, the port that it moved to."""
    moved = facts(c).ssh.ports - platform(c).ports_to_keep(c)
    if any("Listen" in line for line in facts(c).ssh.other_ports):
        return want.ssh_port  # a port that nobody finds under Port is kept only on purpose
    if len(moved) == 1 and 22 not in moved and not Settings.sets(c, "ssh_port"):
        return min(moved)
    return want.ssh_port


def can_be_taken(have: Ssh, system: Platform, port: int) -> str:
    """Return why any account of the host could take the port while sshd restarts; empty: it cannot.

    From which port on accounts may listen is a setting of the kernel, usually 1024.
    """
    if port < have.first_unprivileged or have.socket_activated or system.SSH_JOB:
        return ""
    why = f"any account of the host can take port {port} while sshd restarts"
    if port < FIRST_UNPRIVILEGED:
        why += f" (net.ipv4.ip_unprivileged_port_start is {have.first_unprivileged} there)"
    return why


def warn_unprivileged(c: Connection, port: int) -> None:
    """Warn before sshd moves to a port that any account of the host can take."""
    why = can_be_taken(facts(c).ssh, platform(c), port)
    if why:
        first = min(facts(c).ssh.first_unprivileged, FIRST_UNPRIVILEGED)
        better = (
            f"choose an ssh_port below {first}, e.g. {SSH_PORT}"
            if first > SSH_PORT
            else f"set that to {FIRST_UNPRIVILEGED} with sysctl"
        )
        console.warn(
            f"[{Host.of(c).label}] {why}, and nobody logs in until it gives it back: {better}"
        )


def listens(c: Connection, host: Host, have: Ssh, port: int) -> bool:
    """Return whether anything listens on the port.

    Ask twice: an sshd that is reloading its configuration closes its sockets for a moment.
    """
    if port in have.listening or host.planning:
        return port in have.listening
    time.sleep(1)
    host.forget()
    return port in facts(c).ssh.listening


def refuse_port(c: Connection, port: int) -> None:
    """Raise SetupError, before anything is changed, if sshd cannot use the port."""
    problem = conflict(facts(c).ssh, port) or refused_port(facts(c), port)
    if problem:
        raise SetupError(problem, host=Host.of(c).label)


def refused_port(have: Facts, port: int) -> str:
    """Return why the host's own firewall refuses the port, or an empty string if it may not."""
    rule = have.firewall.own.certainly_refuses(port, have.firewall.login_from)
    if not rule or port in have.ssh.ports:
        return ""
    stays = f", or set ssh_port: {min(have.ssh.ports)}" if len(have.ssh.ports) == 1 else ""
    return f"the host's own firewall refuses port {port} ({rule}): let it in there{stays}"


def refuse_fixed_way(c: Connection, port: int) -> None:
    """Raise SetupError if the ProxyCommand leads to the present port, whichever is asked for.

    A login through it would prove nothing about another port.
    """
    if isinstance(c.gateway, str) and port != c.port and "%p" not in c.gateway:
        raise SetupError(
            "the ProxyCommand of your ssh_config does not say %p, so it cannot lead to port "
            f"{port}: write %p in it, or set ssh_port to {c.port}",
            host=Host.of(c).label,
        )


def conflict(have: Ssh, port: int) -> str:
    """Return why sshd cannot use the port, or an empty string if it can."""
    holder = have.listening.get(port)
    if holder and port not in have.ports:
        return f"port {port} is taken by {holder}: choose another ssh_port"
    if have.other_ports:
        file, number, line = have.other_ports[0].split(":", 2)
        keeps = f"; ssh_port: {min(have.ports)} keeps it" if len(have.ports) == 1 else ""
        return (
            f"{file}:{number} says '{line.strip()}' and ports add up: "
            f"delete that line, then ssh.change-port again{keeps}"
        )
    if have.units_known and not have.boots:
        return (
            "neither ssh.service nor ssh.socket is enabled, so nobody could log in after a boot: "
            "`systemctl enable ssh` there, then ssh.change-port again"
        )
    return ""


def open_port(
    c: Connection,
    host: Host,
    system: Platform,
    firewall: Firewall,
    old: AbstractSet[int],
    port: int,
) -> None:
    """Open the port in the firewall, and pin the host key under it on the laptop."""
    if not firewall.lets_in(port):
        open_like(c, system, firewall, old, port)
    if not host.planning:
        key = c.transport.get_remote_server_key()
        known_hosts.pin(connection.known_hosts_path(), *pinned_as(c, port), key)


def open_like(
    c: Connection, system: Platform, firewall: Firewall, old: AbstractSet[int], port: int
) -> None:
    """Open a port to those to whom the old ones are open, and with ufw's limit if they have it."""
    for rule in [rule for other in sorted(old) for rule in firewall.partial.get(other, ())]:
        system.copy_rule(c, rule, port)
    everybody = old & firewall.allowed
    some = any(firewall.opens_for_some(other) for other in old)
    if everybody or (firewall.active and not some):
        plain = any(rule[0] == "allow" for other in everybody for rule in firewall.rules[other])
        limit = everybody & firewall.limited and not plain
        system.allow_port(c, port, action="limit" if limit else "allow")


def close_rules(c: Connection, system: Platform, port: int) -> None:
    """Delete the firewall's rules for a port that sshd has left."""
    if port in facts(c).firewall.allowed:
        system.close_port(c, port)
    for rule in facts(c).firewall.partial.get(port, ()):
        system.delete_rule(c, rule, port)
