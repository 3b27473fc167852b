"""Firewall: let in SSH and what you publish, refuse the rest.

Owns: ufw's rules; those for what is published have the comment `labfab`.  Undo: ufw disable
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fabric import Connection

from .. import console
from ..errors import SetupError
from ..facts import facts
from ..host.changes import change
from ..host.session import Host
from ..platforms import platform
from ..run.guard import guarded
from ..run.task import host_task
from ..settings import Settings
from .keys import admission
from .ssh import endings, hardening

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..facts.records import Facts, Firewall
    from ..platforms.base import Platform

# From here on a UDP port of an account is most likely a client's, which nobody calls. Root's and
# the kernel's (WireGuard's 51820) are not. ufw lets in some by itself: DHCP, mDNS, SSDP.
FIRST_EPHEMERAL = 32768
UFW_LETS_IN = {68, 546, 1900, 5353}
# apt removes them to install ufw; with them go the rules that they load at boot.
REMOVED_BY_UFW = ("iptables-persistent", "netfilter-persistent")
ON = "switch the firewall on"
OURS = "labfab"  # the comment of a rule that exists only for a published JupyterLab


@host_task(default=True)
def enable(c: Connection) -> None:
    """Let in SSH and what you publish, refuse the rest."""
    want, system = Settings.of(c), platform(c)
    if not system.FIREWALL_PACKAGE:
        system.report_firewall(c)
        return
    admission.require_sshd_settings(c)  # else nobody knows which port to open
    refuse_another(c)
    name_endings(c, want)
    hardening.remember_limit(c, want)
    system.install(c, system.FIREWALL_PACKAGE)
    with guarded(c, ON):
        have = facts(c)
        open_ports(c, want, have, system)
        for port in unused_ports(want, have):
            close(c, system, port, have.ssh.listening.get(port, ""))
        if want.firewall_forward and have.firewall.forward != "allow":
            system.allow_forwarding(c)
        refuse_the_rest(c, have)


def refuse_another(c: Connection) -> None:
    """Raise SetupError if the host has a firewall of its own that ufw would replace or join."""
    found = others(facts(c))
    if found:
        raise SetupError(
            f"this host has a firewall of its own, so nothing was changed: {'; '.join(found)}; "
            "to keep it, set firewall: false (LABFAB_FIREWALL=false), and labfab leaves ufw alone; "
            "or remove it there by hand, then repeat the command",
            host=Host.of(c).label,
        )


def others(have: Facts) -> list[str]:
    """Return what else than ufw is the host's firewall: packages, services, rules.

    A ufw that is on is the host's firewall, whatever else there is.
    """
    firewall, packages = have.firewall, have.system.packages
    if firewall.active:
        return []
    found = []
    in_the_way = [name for name in REMOVED_BY_UFW if name in packages]
    if in_the_way and "ufw" not in packages:
        found.append(
            f"installing ufw would remove the packages {', '.join(in_the_way)}, "
            "which load the rules in /etc/iptables"
        )
    for name in sorted(firewall.loaders):
        if name == "nftables":
            if firewall.nftables_conf:
                found.append("nftables.service loads the rules in /etc/nftables.conf")
        elif name not in in_the_way or "ufw" in packages:
            found.append(f"{name}.service loads rules")
    if firewall.own.own:
        first, more = firewall.own.refusal() or firewall.own.own[0], len(firewall.own.own) - 1
        found.append(f"the kernel has rules: '{first}'" + (f" and {more} more" if more else ""))
    return found


def name_endings(c: Connection, want: Settings) -> None:
    """Name what answers others today and will not once the firewall is on.

    Raises SetupError, unless that is agreed to, if the way in would be among it.
    """
    way_in, others_use = shut(want, facts(c), c.port)
    endings.agree(c, way_in)
    for text in others_use:
        endings.tell(c, text)


def shut(want: Settings, have: Facts, dialed: int) -> tuple[list[endings.Ending], list[str]]:
    """Return what the firewall will refuse: of the tunnel that we came by, and of others.

    dialed: the port of the present login.
    """
    if not want.firewall or have.firewall.closes:
        return [], []
    # In a plan sshd has moved already, and still listens where it did.
    ssh = {*have.ssh.ports, want.ssh_port, dialed}
    kept = {*ssh, want.lab_port, *want.public_ports, *want.open_ports}
    tcp = {port for port in have.firewall.listens.keys() - kept if not have.firewall.lets_in(port)}
    udp = {
        port
        for port, program in have.firewall.listens_udp.items()
        if port < FIRST_EPHEMERAL or "(uid " not in program
    }
    udp -= {*want.open_udp_ports} | UFW_LETS_IN
    udp = {port for port in udp if not have.firewall.lets_in_udp(port)}
    way_in = of_tunnel(have.firewall, tcp, udp)
    if have.firewall.tunnel:
        udp_of_tunnel, tcp_of_tunnel = tunnel_ports(have.firewall, tcp, udp)
        tcp, udp = tcp - tcp_of_tunnel, udp - udp_of_tunnel
    others_use = [
        *narrowed_ssh(have),
        *shut_ports(have.firewall, tcp, udp),
        *ended_forwards(want, have.firewall),
    ]
    return way_in, others_use


def narrowed_ssh(have: Facts) -> Iterator[str]:
    """Yield the ports of SSH that a ufw which is off has rules for: only some senders will pass."""
    for port in sorted(have.ssh.ports):
        if have.firewall.opens_for_some(port) and not have.firewall.lets_in(port):
            yield f"everybody reaches SSH on port {port}; by ufw's own rules only some senders will"


def shut_ports(have: Firewall, tcp: set[int], udp: set[int]) -> Iterator[str]:
    """Yield what answers others on these ports, and the setting that keeps it."""
    for ports, listens, kind, setting in (
        (tcp, have.listens, "port", "open_ports"),
        (udp, have.listens_udp, "UDP port", "open_udp_ports"),
    ):
        for port in sorted(ports):
            some = kind == "port" and have.opens_for_some(port)
            yield (
                f"{listens[port]} answers others on {kind} {port}; "
                f"the firewall refuses that {'to all but some ' if some else ''}"
                f"unless you set {setting}: [{port}]"
            )


def of_tunnel(have: Firewall, shut: set[int], shut_udp: set[int]) -> list[endings.Ending]:
    """Return the ports that the tunnel needs through which this login came in.

    shut, shut_udp: TCP and UDP ports that will be refused.
    """
    if not have.tunnel:
        return []
    udp, tcp = tunnel_ports(have, shut, shut_udp)
    found = [("UDP ", "open_udp_ports", udp), ("", "open_ports", tcp)]
    return [
        endings.Ending(
            endings.VPN,
            f"your login through {have.tunnel}, a tunnel that ends on this host: its other end "
            f"calls {kind}{hardening.spoken_ports(ports)}, which the firewall refuses "
            f"unless you set {setting}: {sorted(ports)}",
        )
        for kind, setting, ports in found
        if ports
    ]


def tunnel_ports(have: Firewall, shut: set[int], shut_udp: set[int]) -> tuple[set[int], set[int]]:
    """Return the UDP and the TCP ports that the other end of the tunnel may call."""
    udp = of_programs(have.listens_udp, shut_udp, have.tunnel_programs) or shut_udp
    return udp, of_programs(have.listens, shut, have.tunnel_programs)


def of_programs(listens: Mapping[int, str], ports: set[int], names: Iterable[str]) -> set[int]:
    """Return the ports at which one of these programs listens. The kernel's own has no name."""
    wanted = {*names} or {"unknown"}
    return {port for port in ports if listens[port].partition(" (uid ")[0] in wanted}


def ended_forwards(want: Settings, have: Firewall) -> Iterator[str]:
    """Yield that traffic which this host forwards for others will be refused."""
    carries = have.forwards > 1 or (have.forwards and have.own.translates)
    if want.firewall_forward or have.forward == "allow" or not carries:
        return
    if not have.own.refuses_forwards:
        yield (
            "this host forwards traffic of others (a VPN, containers, virtual machines?); the "
            "firewall refuses what no rule of theirs lets through, unless you set "
            "firewall_forward: true"
        )


def open_ports(c: Connection, want: Settings, have: Facts, system: Platform) -> None:
    """Open the ports of SSH, of what is published and of the setting open_ports."""
    ssh = have.ssh.ports
    # SSH first: never shut the door you came in by.
    for port in dict.fromkeys([*sorted(ssh), *want.public_ports, *want.open_ports]):
        # A rule that lets in some senders alone is kept; a fresh login proves that it lets us in.
        for_some = port in ssh and have.firewall.opens_for_some(port)
        if not (have.firewall.lets_in(port) or for_some):
            published = port in want.public_ports and port not in ssh
            system.allow_port(c, port, OURS if published else "")
    for port in want.open_udp_ports:
        if not have.firewall.lets_in_udp(port):
            system.allow_port(c, port, protocol="udp")


def refuse_the_rest(c: Connection, have: Facts) -> None:
    """Refuse other incoming traffic, and switch the firewall on."""
    if not have.firewall.active:
        change(
            c,
            "ufw default deny incoming && ufw --force enable",
            why=ON,
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
