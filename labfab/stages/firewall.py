"""Firewall: let in SSH and what you publish, refuse the rest.

Owns: ufw's rules; those for what is published have the comment `labfab`.  Undo: ufw disable
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fabric import Connection

from .. import console
from ..facts import facts
from ..host.changes import change
from ..platforms import platform
from ..run.guard import guarded
from ..run.task import host_task
from ..settings import Settings
from .keys import admission
from .ssh import endings

if TYPE_CHECKING:
    from ..facts.records import Facts
    from ..platforms.base import Platform

# From here on a UDP port of an account is most likely a client's, which nobody calls. Root's and
# the kernel's (WireGuard's 51820) are not. ufw lets in some by itself: DHCP, mDNS, SSDP.
FIRST_EPHEMERAL = 32768
UFW_LETS_IN = {68, 546, 1900, 5353}
OURS = "labfab"  # the comment of a rule that exists only for a published JupyterLab


@host_task(default=True)
def enable(c: Connection) -> None:
    """Let in SSH and what you publish, refuse the rest."""
    want, system = Settings.of(c), platform(c)
    if not system.FIREWALL_PACKAGE:
        system.report_firewall(c)
        return
    admission.require_sshd_settings(c)  # else nobody knows which port to open
    name_endings(c, want)
    system.install(c, system.FIREWALL_PACKAGE)
    with guarded(c, "switch the firewall on"):
        have = facts(c)
        open_ports(c, want, have, system)
        for port in unused_ports(want, have):
            close(c, system, port, have.ssh.listening.get(port, ""))
        refuse_the_rest(c, have)


def name_endings(c: Connection, want: Settings) -> None:
    """Name what answers others today and will not once the firewall is on."""
    for text in shut_ports(want, facts(c), c.port):
        endings.tell(c, text)


def shut_ports(want: Settings, have: Facts, *dialed: int) -> Iterator[str]:
    """Yield what answers others today and will not once the firewall is on.

    dialed: ports of the present login.
    """
    if not want.firewall or have.firewall.closes:
        return
    # In a plan sshd has moved already, and still listens where it did.
    ssh = {*have.ssh.ports, want.ssh_port, *dialed}
    kept = {*ssh, want.lab_port, *want.public_ports, *want.open_ports}
    shut = have.firewall.listens.keys() - kept - have.firewall.allowed
    shut_udp = {
        port
        for port, program in have.firewall.listens_udp.items()
        if port < FIRST_EPHEMERAL or "(uid " not in program
    }
    shut_udp -= {*want.open_udp_ports} | have.firewall.allowed_udp | UFW_LETS_IN
    for ports, listens, kind, setting in (
        (shut, have.firewall.listens, "port", "open_ports"),
        (shut_udp, have.firewall.listens_udp, "UDP port", "open_udp_ports"),
    ):
        for port in sorted(ports):
            yield (
                f"{listens[port]} answers others on {kind} {port}; "
                f"the firewall refuses that unless you set {setting}: [{port}]"
            )


def open_ports(c: Connection, want: Settings, have: Facts, system: Platform) -> None:
    """Open the ports of SSH, of what is published and of the setting open_ports."""
    ssh = have.ssh.ports
    # SSH first: never shut the door you came in by.
    for port in dict.fromkeys([*sorted(ssh), *want.public_ports, *want.open_ports]):
        if port not in have.firewall.allowed:
            published = port in want.public_ports and port not in ssh
            system.allow_port(c, port, OURS if published else "")
    for port in want.open_udp_ports:
        if port not in have.firewall.allowed_udp:
            system.allow_port(c, port, protocol="udp")


def refuse_the_rest(c: Connection, have: Facts) -> None:
    """Refuse other incoming traffic, and switch the firewall on."""
    if not have.firewall.active:
        change(
            c,
            "ufw default deny incoming && ufw --force enable",
            why="switch the firewall on",
            undo=("firewall_off",),
            keep=["/etc/default/ufw"],
            then={"firewall.active": "yes"},
        )
    elif have.firewall.incoming != "deny":
        change(
            c,
            "ufw default deny incoming",
            why="refuse other incoming traffic",
            undo=("firewall default %s incoming", have.firewall.incoming),
            then={"firewall.incoming": "deny"},
        )


def close(c: Connection, system: Platform, port: int, holder: str) -> None:
    """Close a port that was opened for JupyterLab, unless another program listens there now.

    holder: the program that listens on the port, or an empty string.
    """
    if holder and not holder.startswith(("jupyter", "python")):
        console.note(
            f"port {port} stays open in the firewall: {holder} listens there; "
            f"if nothing needs it: ufw delete allow {port}/tcp"
        )
    else:
        system.close_port(c, port, OURS)


def unused_ports(want: Settings, have: Facts) -> list[int]:
    """Return the ports that were opened to publish JupyterLab and are no longer needed."""
    rules = have.firewall.rules
    ours = {port for port in rules if any(rule[-2:] == ("comment", OURS) for rule in rules[port])}
    return sorted(ours - have.ssh.ports - {*want.public_ports, *want.open_ports})
