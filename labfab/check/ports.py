"""Ports: what listens on the host, what answers from here, and the firewall between."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Iterable

from ..facts.reader import below
from .probe import Look
from .rows import Doubtful, Finding, Unseen, Wrong, check

# What people forget to close; each is tried besides those that listen.
WELL_KNOWN = (
    21,
    22,
    23,
    25,
    53,
    80,
    111,
    139,
    143,
    389,
    443,
    445,
    631,
    873,
    1022,
    2049,
    2222,
    2375,
    3306,
    3389,
    5000,
    5432,
    5900,
    6379,
    8000,
    8080,
    8443,
    8787,
    8888,
    9000,
    9090,
    9999,
    11211,
    27017,
)
PATIENCE = 2  # seconds; a firewall that drops packets says nothing


def knock(look: Look, ports: Iterable[int]) -> None:
    """Begin to try ports, each once; a firewall's silence is waited out while other rows are asked."""
    for port in ports:
        if port not in look.knocks and port != look.c.port:  # that one has answered
            look.knocks[port] = look.pool.submit(answers, look.c.host, port)


@check(
    "ports-answering",
    "only wanted ports answer from here",
    mend="firewall.enable",
    needs=["ssh-login"],
)
def answering(look: Look) -> str:
    """Connect to what listens and to the well-known."""
    outside(look)
    kept = frozenset() if look.want.close_port_22 else look.platform.kept_ports(look.c)
    wanted = {look.c.port, *kept, *look.want.open_ports, *look.want.public_ports}
    knock(look, {*WELL_KNOWN, *reachable(look), look.want.lab_port, *wanted})
    found = {look.c.port, *(port for port, knocked in look.knocks.items() if knocked.result())}
    if found - wanted:
        raise beside(look, found - wanted, f"{numbers(found - wanted)}: not in open_ports")
    return f"{numbers(found)}, of {len(look.knocks) + 1} tried"


@check(
    "ports-listening",
    "only wanted ports listen on the network",
    mend="firewall.enable",
    needs=["ports-answering"],
)
def open_inside(look: Look) -> str:
    """Look at every listening socket that is not on loopback; Lab's has a row of its own."""
    ssh = look.facts.ssh.ports or {look.c.port}
    wanted = {*ssh, *look.want.open_ports, *look.want.public_ports, look.want.lab_port}
    seen = [
        (port, program) for address, port, program in listening(look) if not is_loopback(address)
    ]
    more = {port: program for port, program in seen if port not in wanted}
    if more:
        names = ", ".join(sorted(f"{port} ({program})" for port, program in more.items()))
        hidden = "; until then the firewall hides it" * look.platform.FILTERS
        raise beside(look, more, f"{names}: stop it there, or add it to open_ports{hidden}")
    return numbers({port for port, _ in seen})


def beside(look: Look, ports: Iterable[int], detail: str) -> Finding:
    """How bad other open ports are: a Mac has programs of its own that listen, and no firewall that knows ports."""
    if look.platform.FILTERS:
        return Wrong(detail)
    if look.facts.ssh.remote_login in ports:
        return Doubtful(detail, "ssh.close-port-22")
    return Doubtful(detail, look.by_hand(look.platform.LISTENER.format(min(ports))))


@check(
    "ports-firewall", "the firewall refuses the rest", mend="firewall.enable", needs=["ssh-login"]
)
def firewall(look: Look) -> str:
    if not look.want.firewall:
        return "not wanted (firewall: false)"
    look.needs_root()
    have = look.facts.firewall
    if not look.platform.FILTERS:
        return f"macOS's own is {'on' if have.active else 'off'}; it knows programs and no ports, and labfab leaves it alone"
    if not have.active or have.incoming != "deny":
        raise Wrong(
            f"incoming by default: {have.incoming or 'allow'}" if have.active else "it is off"
        )
    wanted = look.facts.ssh.ports | {*look.want.open_ports, *look.want.public_ports}
    if wanted - have.allowed:
        raise Wrong(f"it refuses {numbers(wanted - have.allowed)}")
    if have.allowed - wanted:
        more = have.allowed - wanted
        raise Doubtful(
            f"it also lets in {numbers(more)}", look.by_hand(f"ufw delete allow {min(more)}/tcp")
        )
    return f"lets in {numbers(have.allowed)}"


@check(
    "lab-loopback",
    "JupyterLab listens only where it should",
    mend="jupyter.configure lab.stop lab.start",
    needs=["ssh-login"],
)
def loopback(look: Look) -> str:
    if look.want.lab_socket:
        return closed_socket(look)
    found = sorted(address for address, port, _ in listening(look) if port == look.want.lab_port)
    wide = [address for address in found if not is_loopback(address)]
    if wide and look.want.publish != "https":
        raise Wrong(f"port {look.want.lab_port} listens on {', '.join(wide)}")
    if not found:
        raise Unseen(f"nothing listens on port {look.want.lab_port}")
    if not wide and look.want.publish == "https":
        raise Wrong(f"port {look.want.lab_port} listens on loopback alone, and is to be published")
    return ", ".join(found) + ", as published" * bool(wide)


def closed_socket(look: Look) -> str:
    """The Unix socket, which must be for its account alone."""
    mode = look.facts.lab.socket_mode
    if not mode:
        raise Unseen(f"nothing listens on {look.want.lab_place}")
    if int(mode, 8) & 0o077:
        raise Wrong(f"{look.want.lab_place} is open to others: its mode is {mode}")
    return f"{look.want.lab_place}, mode {mode}"


def outside(look: Look) -> None:
    """Stop a row that only a stranger's eyes can answer. Raises Unseen."""
    if look.c.gateway:
        raise Unseen("the host is behind a gateway")
    if is_loopback(socket.getaddrinfo(look.c.host, None)[0][4][0]):
        raise Unseen(f"{look.c.host} is your own machine's address: its own programs would answer")


def reachable(look: Look) -> set[int]:
    """The ports that listen on another address than loopback."""
    return {port for address, port, _ in listening(look) if not is_loopback(address)}


def listening(look: Look) -> list[tuple[str, int, str]]:
    """Address, port and program of each listening TCP socket."""
    found = []
    for line in below(look.audit, "listen").values():
        place, _, program = line.partition(" ")
        address, _, port = place.rpartition(":")
        found.append((address, int(port), program))
    return found


def is_loopback(address: str) -> bool:
    with contextlib.suppress(ValueError):
        inner = ipaddress.ip_address(address.strip("[]").partition("%")[0])
        return (getattr(inner, "ipv4_mapped", None) or inner).is_loopback
    return False


def answers(host: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=PATIENCE):
        return True
    return False


def numbers(ports: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(ports))) or "none"
