"""Wire: a controller's place on the hosts' own network, at the end of a wire that can be made slow.

The controller gets a network namespace whose one way out is a wire to the bridge of the hosts. While the wire is
quick, the kernel switches its frames; while it is slow, each frame is held half a round trip in each direction, by
netem where the kernel has it, else by the program in delay.py. TCP runs from end to end either way, so handshakes,
acknowledgements and Nagle's stalls show as they do on a long line. What the hosts fetch from mirrors stays quick.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.rig.places import CLONE, RigError

HERE = Path(__file__).parent
FAR, MIDDLE = (
    f"labfab-far-{CLONE}",
    f"labfab-wire-{CLONE}",
)  # the controller's namespace and the wire's
BRIDGE_END, NEAR, END, OUT = f"lf{CLONE[:6]}a", "near", "end", "out"
TOOLS = ("ip", "nsenter", "tc")


class Wire:
    """The wire between the controller and the hosts."""

    def __init__(self, bridge: str, address: str) -> None:
        self.bridge = bridge
        self.address = address  # the controller's own, with the length of its network's prefix
        self.program: subprocess.Popen | None = None

    def prefix(self) -> list[str]:
        """What a command line begins with to run as the controller."""
        return ["nsenter", f"--net=/run/netns/{FAR}", "--"]

    def lay(self) -> None:
        """Make the namespaces, and connect them by the kernel's own switch."""
        self.take_up()
        for name in (FAR, MIDDLE):
            ip("netns", "add", name)
        ip("link", "add", BRIDGE_END, "type", "veth", "peer", "name", NEAR, "netns", MIDDLE)
        ip("link", "add", END, "netns", MIDDLE, "type", "veth", "peer", "name", OUT, "netns", FAR)
        ip("link", "set", BRIDGE_END, "master", self.bridge, "up")
        ip("-n", FAR, "link", "set", "lo", "up")
        ip("-n", FAR, "addr", "add", self.address, "dev", OUT)
        ip("-n", FAR, "link", "set", OUT, "up")
        ip("-n", MIDDLE, "link", "add", "switch", "type", "bridge")
        for name in (NEAR, END, "switch"):
            ip("-n", MIDDLE, "link", "set", name, "up")
        self.quicken()

    def take_up(self) -> None:
        """Remove what is there of the wire."""
        self.end_program()
        if Path("/sys/class/net", BRIDGE_END).exists():
            ip("link", "delete", BRIDGE_END)
        for name in (FAR, MIDDLE):
            if Path("/run/netns", name).exists():
                ip("netns", "delete", name)

    def quicken(self) -> None:
        """Let the kernel switch the frames."""
        self.end_program()
        for name in (NEAR, END):
            subprocess.run(
                ["tc", "-n", MIDDLE, "qdisc", "del", "dev", name, "root"],
                capture_output=True,
                check=False,
            )
            ip("-n", MIDDLE, "link", "set", name, "master", "switch")

    def slow_down(self, round_trip: float) -> str:
        """Hold each frame half a round trip (seconds); return what does it."""
        self.quicken()
        half = f"{round_trip * 500:g}ms"
        tc = [
            subprocess.run(
                [
                    "tc",
                    "-n",
                    MIDDLE,
                    "qdisc",
                    "add",
                    "dev",
                    name,
                    "root",
                    "netem",
                    "delay",
                    half,
                    "limit",
                    "10000",
                ],
                capture_output=True,
                check=False,
            )
            for name in (NEAR, END)
        ]
        if not any(done.returncode for done in tc):
            return "netem"
        for name in (NEAR, END):
            ip("-n", MIDDLE, "link", "set", name, "nomaster")
        command = [
            "nsenter",
            f"--net=/run/netns/{MIDDLE}",
            "--",
            sys.executable,
            str(HERE / "delay.py"),
            NEAR,
            END,
            str(round_trip / 2),
        ]
        self.program = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        if self.program.stdout.readline() != "ready\n":
            raise RigError("the delay of the wire could not be started: see above")
        return "a delay wire"

    def end_program(self) -> None:
        if self.program:
            self.program.communicate(timeout=10)  # closes its input, at which it ends
            self.program = None


@contextmanager
def wire_to(host_address: str, own_address: str) -> Iterator[Wire]:
    """Lend a wire to the network of a host, gone afterwards."""
    wire = Wire(bridge_of(host_address), own_address)
    try:
        wire.lay()
        yield wire
    finally:
        wire.take_up()


def refusal() -> str:
    """Why no wire can be laid here; empty where it can."""
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if not sys.platform.startswith("linux"):
        return "it takes Linux"
    if os.geteuid():
        return "it takes root (sudo .venv/bin/inv bench)"
    return f"it takes {', '.join(missing)} (iproute2, util-linux)" if missing else ""


def bridge_of(host_address: str) -> str:
    """The bridge that a host is reached by."""
    route = json.loads(ip("-j", "route", "get", host_address))[0]
    if not Path("/sys/class/net", route["dev"], "bridge").is_dir():
        raise RigError(
            f"{host_address} is not reached by a bridge of this machine, so no wire can be laid to it"
        )
    return route["dev"]


def ip(*words: str) -> str:
    """Run ip; its refusal is an error in one line."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RigError(f"`ip {' '.join(words)}` failed: {done.stderr.strip()}")
    return done.stdout
