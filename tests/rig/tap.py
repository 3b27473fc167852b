"""The network of one virtual machine: a tap in a namespace, bridged to a veth that ends here.

The namespace tells what a machine left behind: its name has the owner's process and the subnet, and
the machine's processes and interfaces are in it.
"""

import ipaddress
import os
import secrets
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from . import network
from .leftovers import alive
from .places import CLONE, RigError, locked

NAMESPACES = Path("/run/netns")
PREFIX = f"labfab-{CLONE}-machine-"
FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
SUBNETS = 250  # 10.250.0.0/24 to 10.250.249.0/24


class Tap:
    """A tap, the namespace it lies in, and the addresses at both ends."""

    def __init__(self, namespace: str, subnet: ipaddress.IPv4Network) -> None:
        self.namespace, self.subnet = namespace, subnet
        self.here, self.there = str(subnet[1]), str(subnet[2])

    @classmethod
    def make(cls) -> "Tap":
        """Make one on the first free subnet, with a way out to the package mirrors."""
        with locked("taps"):
            clear_leftovers()
            subnet = free_subnet()
            tap = cls(f"{PREFIX}{os.getpid()}-{secrets.token_hex(2)}-{subnet[0]}", subnet)
            try:
                tap.connect()
            except BaseException:
                tap.remove()
                raise
        return tap

    def connect(self) -> None:
        wire = f"lf{secrets.token_hex(5)}"
        ip("netns", "add", self.namespace)
        ip("link", "add", wire, "type", "veth", "peer", "name", "wire", "netns", self.namespace)
        self.inside("link", "add", "switch", "type", "bridge")
        self.inside("tuntap", "add", "tap", "mode", "tap")
        for name in ("wire", "tap"):
            self.inside("link", "set", name, "master", "switch")
        for name in ("wire", "tap", "switch", "lo"):
            self.inside("link", "set", name, "up")
        ip("address", "add", f"{self.here}/{self.subnet.prefixlen}", "dev", wire)
        # User-mode Linux throws away what is longer than one packet.
        ip("link", "set", wire, "gso_max_segs", "1", "gso_max_size", "1500")
        ip("link", "set", wire, "up")
        network.allow(self.subnet)
        if FORWARD.read_text().strip() != "1":
            FORWARD.write_text("1\n")

    def inside(self, *words: str) -> None:
        ip("-n", self.namespace, *words)

    def remove(self) -> None:
        """End what runs in the namespace and remove it; the wire goes with it."""
        if (NAMESPACES / self.namespace).exists():
            self.end_processes()
            ip("netns", "delete", self.namespace)
        network.forbid(self.subnet)

    def end_processes(self) -> None:
        """Kill what runs in the namespace, and wait until it is gone."""
        while pids := [pid for pid in ip("netns", "pids", self.namespace).split() if runs(pid)]:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            time.sleep(0.02)


def runs(pid: str) -> bool:
    """Tell whether a process is more than an exit code that its parent has not read yet."""
    try:
        return Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def clear_leftovers() -> None:
    """Remove what machines of this clone left behind whose process died without stopping them."""
    for path in NAMESPACES.glob(f"{PREFIX}*"):
        owner, _, subnet = path.name.removeprefix(PREFIX).split("-")
        if not alive(int(owner)):
            Tap(path.name, ipaddress.ip_network(f"{subnet}/24")).remove()


def free_subnet() -> ipaddress.IPv4Network:
    """Find a subnet that this machine has no route to."""
    taken, first = network.routes(), int(CLONE, 16)
    for step in range(SUBNETS):
        subnet = ipaddress.ip_network(f"10.250.{(first + step) % SUBNETS}.0/24")
        if not any(subnet.overlaps(route) for route in taken):
            return subnet
    raise RigError("no free subnet for a machine")


def ip(*words: str) -> str:
    """Run ip; its refusal is an error in one line."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RigError(f"`ip {' '.join(words)}` failed: {done.stderr.strip()}")
    return done.stdout
