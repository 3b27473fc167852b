"""Ports: what listens on the host, what answers from here, and the firewall between them."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Iterable

from ..facts.reader import with_prefix
from .findings import Finding, NotChecked, Warned, Wrong
from .probe import Probe
from .rows import check

# Ports that people forget to close. These are tried, and all that listen.
WELL_KNOWN = (
    *(21, 22, 23, 25, 53, 80, 111, 139, 143, 292, 389, 443, 445, 631, 873, 1022, 2049, 2222, 2375),
    *(3306, 3389, 5000, 5432, 5900, 6379, 8000, 8080, 8443, 8787, 8888, 9000, 9090, 9999),
    *(11211, 27017),
)


@check(
    "ports-answering",
    "only wanted ports answer from here",
    mend="firewall.enable",
    needs=["ssh-login"],
)
def answering(probe: Probe) -> str:
    """Connect to the ports that listen, and to those that people forget to close."""
    outside(probe)
    want = probe.want
    kept = frozenset() if want.close_port_22 else probe.platform.ports_to_keep(probe.c)
    wanted = {probe.c.port, *kept, *want.open_ports, *want.public_ports}
    probe.knock({*WELL_KNOWN, *reachable(probe), want.lab_port, *wanted})
    found = {probe.c.port, *(port for port, answer in probe.knocks.items() if answer.result())}
    if found - wanted:
        raise too_open(probe, found - wanted, f"{numbers(found - wanted)}: not in open_ports")
    return f"{numbers(found)}, of {len(probe.knocks) + 1} tried"


@check(
    "ports-listening",
    "only wanted ports listen on the network",
    mend="firewall.enable",
    needs=["ports-answering"],
)
def listening_inside(probe: Probe) -> str:
    """Look at every listening socket that is not on loopback. JupyterLab's has its own row."""
    want, ssh = probe.want, probe.facts.ssh.ports or {probe.c.port}
    wanted = {*ssh, *want.open_ports, *want.public_ports}
    wanted |= set() if want.lab_socket else {want.lab_port}
    seen = {port: program for address, port, program in sockets(probe) if is_public(address)}
    more = {port: program for port, program in seen.items() if port not in wanted}
    if more:
        names = ", ".join(sorted(f"{port} ({program})" for port, program in more.items()))
        closes = probe.platform.FIREWALL_CLOSES_PORTS
        hidden = "; until then the firewall hides it" if closes else ""
        raise too_open(probe, more, f"{names}: stop it there, or add it to open_ports{hidden}")
    return numbers(seen)


def too_open(probe: Probe, ports: Iterable[int], detail: str) -> Finding:
    """Return a finding about open ports.

    On macOS it is a warning: its own programs listen, and its firewall does not filter ports.
    """
    if probe.platform.FIREWALL_CLOSES_PORTS:
        return Wrong(detail)
    if probe.facts.ssh.remote_login in ports:
        return Warned(detail, "ssh.close-port-22")
    return Warned(detail, probe.by_hand(probe.platform.SHOW_LISTENER.format(min(ports))))


@check(
    "ports-firewall", "the firewall refuses the rest", mend="firewall.enable", needs=["ssh-login"]
)
def firewall(probe: Probe) -> str:
    """Look at ufw's state and rules. For macOS's own firewall, report only its state."""
    if not probe.want.firewall:
        return "not wanted (firewall: false)"
    probe.needs_root()
    have = probe.facts.firewall
    if not probe.platform.FIREWALL_CLOSES_PORTS:
        state = "on" if have.active else "off"
        return (
            f"macOS's own is {state}; it filters programs, not ports, so labfab does not change it"
        )
    if not have.active:
        raise Wrong("it is off")
    if have.incoming != "deny":
        raise Wrong(f"incoming by default: {have.incoming or 'allow'}")
    wanted = probe.facts.ssh.ports | {*probe.want.open_ports, *probe.want.public_ports}
    missing = {port for port in wanted if not have.lets_in(port)}
    some = {port for port in missing if have.opens_for_some(port)}
    refused = missing - some
    if refused:
        raise Wrong(f"it refuses {numbers(refused)}")
    more = have.allowed - wanted
    if more:
        mend = probe.by_hand(f"ufw delete allow {min(more)}/tcp")
        raise Warned(f"it also lets in {numbers(more)}", mend)
    for_some = f", and some senders at {numbers(some)}" if some else ""
    return f"lets in {numbers(have.allowed)}{for_some}"


@check(
    "lab-loopback",
    "JupyterLab listens only where it should",
    mend="jupyter.configure lab.stop lab.start",
    needs=["ssh-login"],
)
def loopback(probe: Probe) -> str:
    """Look at the addresses of JupyterLab's port, or at who can reach its socket."""
    want, port = probe.want, probe.want.lab_port
    if want.lab_socket:
        return closed_socket(probe)
    found = sorted(address for address, number, _ in sockets(probe) if number == port)
    public = [address for address in found if is_public(address)]
    if public and want.publish != "https":
        raise Wrong(f"port {port} listens on {', '.join(public)}")
    if not found:
        raise NotChecked(f"nothing listens on port {port}")
    if want.publish == "https" and not public:
        raise Wrong(f"port {port} listens on loopback only, but should be published")
    return ", ".join([*found, "as published"] if public else found)


def closed_socket(probe: Probe) -> str:
    """Look at the Unix socket, which only its account may open, and for a port beside it."""
    want, lab = probe.want, probe.facts.lab
    if not lab.socket_mode:
        raise NotChecked(f"nothing listens on {want.lab_place}")
    if int(lab.socket_mode, 8) & 0o077:
        raise Wrong(f"{want.lab_place} is open to others: its mode is {lab.socket_mode}")
    mode, _, owner = probe.facts.jupyter.folder_stat.partition(" ")
    if not mode:
        raise Wrong("~/.jupyter is a link that leads away from its account, or missing")
    if (int(mode, 8) & 0o077, owner) != (0, want.jupyter_user):
        raise Wrong(f"~/.jupyter is open to others: its mode is {mode}, its owner {owner}")
    ports = sorted(with_prefix(probe.audit, "lab_listens").values())
    if ports:
        raise Wrong(f"JupyterLab listens on {', '.join(ports)} too", "lab.restart")
    return f"{want.lab_place}, mode {lab.socket_mode}; {owner}'s folder, mode {mode}; no port"


def outside(probe: Probe) -> None:
    """Raise NotChecked if the host cannot be tested from outside."""
    if probe.c.gateway:
        raise NotChecked("the host is behind a gateway")
    host = probe.c.host
    if is_loopback(str(socket.getaddrinfo(host, None)[0][4][0])):
        raise NotChecked(f"{host} is an address of this machine, so its own programs would answer")


def reachable(probe: Probe) -> set[int]:
    """Return the ports that listen on an address other than loopback."""
    return {port for address, port, _ in sockets(probe) if is_public(address)}


def sockets(probe: Probe) -> list[tuple[str, int, str]]:
    """Return address, port and program of each listening TCP socket."""
    found = []
    for line in with_prefix(probe.audit, "listen").values():
        place, _, program = line.partition(" ")
        address, _, port = place.rpartition(":")
        found.append((short(address), int(port), program))
    return found


def short(address: str) -> str:
    """Return an address as people write it: [::] for an IPv6 address of zeros."""
    with contextlib.suppress(ValueError):
        if address.startswith("["):
            return f"[{ipaddress.ip_address(address.strip('[]'))}]"
    return address


def is_public(address: str) -> bool:
    """Return whether a socket with this address can be reached over the network."""
    return not is_loopback(address)


def is_loopback(address: str) -> bool:
    """Return whether an address, as the kernel or netstat prints it, is a loopback address."""
    with contextlib.suppress(ValueError):
        inner = ipaddress.ip_address(address.strip("[]").partition("%")[0])
        return (getattr(inner, "ipv4_mapped", None) or inner).is_loopback
    return False


def numbers(ports: Iterable[int]) -> str:
    """Return ports as text, in order."""
    return ", ".join(map(str, sorted(ports))) or "none"
