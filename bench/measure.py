"""Measure: boot hosts, run every tool on them in turn, over a quick and over a slow line."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from tests.rig import Host, network, package_index, rings, wheels
from tests.rig.engine import find
from tests.rig.fab import BIN, fab_with_home
from tests.rig.leftovers import clear_leftovers
from tests.rig.places import RigError, say

from . import machine, recipe, table, wire
from .tools import Contender, Kit

ROUND_TRIP = 0.1  # seconds, of the slow line
SLOW = ("pyinfra", "Ansible")  # what takes long is run less often with --quick
FLAVOUR = "debian12"
VERDICT = "rm -f /var/cache/labfab/verdict"
CONNECT = """\
import socket, sys, time
for _ in range(9):
    began = time.perf_counter()
    with socket.create_connection((sys.argv[1], int(sys.argv[2]))):
        print(time.perf_counter() - began)
"""
UNCHANGED = r"(?s)\A(?!.*\b[1-9]\d* changes?\b)"  # of all hosts


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    runs: int = 5
    slow: int = 5  # of the tools that take long
    first: int = 3
    hosts: int = 8
    fleet_over: Sequence[str] = (table.FAR, table.NEAR)
    scenes: Sequence[str] = (table.NO_CHANGE, table.CHANGE, table.FIRST, table.FLEET, table.START)

    def of(self, name: str) -> int:
        """How often this contender is run."""
        return self.slow if name.startswith(SLOW) else self.runs


QUICK = Plan(runs=5, slow=2, first=1, fleet_over=(table.FAR,))


@dataclass
class Found:
    """What was measured, and on what."""

    times: dict[str, dict[str, dict[str, list[float]]]] = field(default_factory=dict)
    round_trips: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    delay: str = ""
    local_index: bool = False
    load: float = 0  # of the machine as it began


class Bench:
    """The hosts, the laptop's home and the line for one measurement."""

    def __init__(
        self,
        plan: Plan,
        kit: Kit,
        line: wire.Wire | None,
        found: Found,
        index: str,
        stack: ExitStack,
    ) -> None:
        self.plan, self.kit, self.line, self.found, self.index, self.stack = (
            plan,
            kit,
            line,
            found,
            index,
            stack,
        )

    def boot(self, name: str) -> Host:
        """Boot a bare host whose key is known here; it ends with the measurement."""
        host = Host.boot(FLAVOUR, name, key=self.kit.fab.key)
        self.stack.callback(host.stop)
        with (self.kit.fab.home / ".ssh" / "known_hosts").open("a") as known:
            known.write(
                f"{host.address} {host.host_key()}\n[{host.address}]:{recipe.PORT} {host.host_key()}\n"
            )
        if self.index:
            place = self.index.split("/")[2].split(":")[0]
            host.run(
                "cat >/etc/pip.conf",
                input=f"[global]\nindex-url = {self.index}\ntrusted-host = {place}\n",
            )
            host.run(
                "mkdir -p /etc/uv && cat >/etc/uv/uv.toml",
                input=f'[[index]]\nurl = "{self.index}"\ndefault = true\n',
            )
        return host

    def set_up(self, *hosts: Host) -> None:
        """Set hosts up with labfab, and keep the files that it wrote for the others."""
        say(f"setting up {len(hosts)} host{'s' * (len(hosts) > 1)} with labfab")
        self.kit.labfab("setting up", *(f"root@{host.address}" for host in hosts), settled="").run()
        self.kit.folder.mkdir(exist_ok=True)
        (self.kit.folder / "90-labfab").write_text(
            f"{recipe.ACCOUNT} ALL=(ALL:ALL) NOPASSWD: ALL\n"
        )
        for name, path in recipe.FILES.items():
            (self.kit.folder / name).write_text(hosts[0].run(f"cat {path}") + "\n")

    @contextmanager
    def over(self, line: str, host: Host, port: int = recipe.PORT) -> Iterator[bool]:
        """Have a line as it is called; False where it cannot be had."""
        if line == table.FAR and not self.line:
            yield False
            return
        if line == table.FAR:
            self.found.delay = self.line.slow_down(ROUND_TRIP)
        try:
            self.found.round_trips.setdefault(line, self.round_trip(host, port))
            yield True
        finally:
            if self.line:
                self.line.quicken()

    def round_trip(self, host: Host, port: int) -> float:
        """How long a TCP connection takes to be made, in ms; the first one also asks for the host's address."""
        command = [*self.kit.prefix, sys.executable, "-c", CONNECT, host.address, str(port)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return 1000 * median([float(line) for line in done.stdout.split()][1:])

    def in_turn(
        self,
        scene: str,
        line: str,
        contenders: Sequence[Contender],
        warm: bool = True,
        repeat: int = 1,
    ) -> None:
        """Run them A B C, A B C, …, and note the times; before, each once uncounted."""
        # The last first: what a peer does to apt's lists would make labfab look anew in the first round that counts.
        for contender in reversed(contenders) if warm else ():
            contender.run(warming=True)
        times = self.found.times.setdefault(scene, {}).setdefault(
            line, {one.name: [] for one in contenders}
        )
        rounds = max(self.plan.of(one.name) for one in contenders) * repeat
        for number in range(rounds):
            for contender in contenders:
                if number < self.plan.of(contender.name) * repeat:
                    times[contender.name].append(contender.run())
            latest = ", ".join(f"{name} {table.seconds(runs[-1])}" for name, runs in times.items())
            say(f"{scene}, {line}, round {number + 1} of {rounds}: {latest}")

    def skip(self, scene: str, line: str) -> None:
        why = wire.refusal() or "the hosts' addresses are not reached from here"
        self.found.skipped.append(f"{scene}, {line}: {why}")
        say(f"left out: {scene} at {line}: {why}")

    def no_change(self) -> None:
        """Everything is as it should be, and each tool says so."""
        host, kit = self.host(), self.kit
        alias, place = f"lab-{host.address}", [host.address]
        contenders = [
            kit.ssh(alias),
            kit.labfab(table.LABFAB, alias),
            kit.labfab(table.ASKED, alias, before=lambda: host.run(VERDICT)),
            kit.pyinfra(table.PYINFRA, place),
            kit.ansible(table.MITOGEN, place, "tuned", mitogen=True),
            kit.ansible(
                table.ANSIBLE, place, "idiomatic"
            ),  # the first that is warmed: it brings python3-apt, which Mitogen does not
        ]
        for warm, line in ((True, table.NEAR), (False, table.FAR)):
            with self.over(line, host) as there:
                if there:
                    self.in_turn(table.NO_CHANGE, line, contenders, warm)
                else:
                    self.skip(table.NO_CHANGE, line)

    def change(self) -> None:
        """One option of Jupyter is another one each time."""
        host, kit, number = self.host(), self.kit, itertools.count(100_000)
        alias, config = f"lab-{host.address}", kit.folder / "jupyter_server_config.json"

        def choose() -> None:
            option = {"shutdown_no_activity_timeout": next(number)}
            labfab.env["LABFAB_JUPYTER_OPTIONS"] = json.dumps({"ServerApp": option})

        def write() -> None:
            whole = json.loads(config.read_text())
            whole["ServerApp"]["shutdown_no_activity_timeout"] = next(number)
            config.write_text(json.dumps(whole, indent=2) + "\n")

        labfab = kit.labfab(table.LABFAB, alias, settled=r"\b1 change\b", before=choose)
        pyinfra = kit.pyinfra(
            table.PYINFRA, [host.address], settled=r"Grand total +\d+ +1 ", before=write
        )
        with self.over(table.FAR, host) as there:
            if there:
                self.in_turn(table.CHANGE, table.FAR, [kit.ssh(alias), labfab, pyinfra])
            else:
                self.skip(table.CHANGE, table.FAR)

    def first(self) -> None:
        """A bare host each time, for each tool; what they make of it has to be the same.

        No host goes before all are measured: for minutes, ext4 looks long for a place among files that were just deleted.
        """
        self.stack.enter_context(room_for(3 * self.plan.first))
        self.host()  # its files are what the others write
        times: dict[str, list[float]] = {table.LABFAB: [], table.PYINFRA: [], table.TUNED: []}
        for number in range(self.plan.first):
            states = {name: self.from_bare(name, runs) for name, runs in times.items()}
            say(
                f"first run, round {number + 1}: "
                + ", ".join(f"{name} {table.seconds(runs[-1])}" for name, runs in times.items())
            )
            for name, state in states.items():
                if state != states[table.LABFAB]:
                    raise RigError(
                        f"{name} left another state than labfab:\n{state}\ninstead of\n{states[table.LABFAB]}"
                    )
        self.found.times[table.FIRST] = {table.NEAR: times}

    def from_bare(self, name: str, runs: list[float]) -> str:
        """Measure one tool on a new host, with nothing in the machine's memory that an earlier one put there; tell its state."""
        host = self.boot("bare")
        self.stack.callback(self.forget, host)
        kit, place = self.kit, [host.address]
        make: dict[str, Callable[[], Contender]] = {
            table.LABFAB: lambda: kit.labfab(
                name, f"root@{host.address}", settled=r"\b\d\d changes\b"
            ),
            table.PYINFRA: lambda: kit.pyinfra(name, place, fresh=True),
            table.TUNED: lambda: kit.ansible(name, place, "tuned", fresh=True),
        }
        drop_caches()
        runs.append(make[name]().run())
        state = host.run(recipe.STATE)
        host.pause()
        return state

    def forget(self, host: Host) -> None:
        """Close the tunnel to a host that ends."""
        words = [*self.kit.prefix, str(BIN / "fab"), "-H", f"lab-{host.address}", "tunnel.close"]
        subprocess.run(words, env=self.kit.environment({}), capture_output=True, check=False)

    def fleet(self) -> None:
        """Several hosts in one command, beside one."""
        if not self.line:
            self.skip(table.FLEET, table.FAR)
            return
        count, kit = self.plan.hosts, self.kit
        self.stack.enter_context(room_for(count))
        hosts = [self.boot(f"b{number}") for number in range(1, count + 1)]
        self.set_up(*hosts)
        aliases, places = (
            [f"lab-{host.address}" for host in hosts],
            [host.address for host in hosts],
        )
        contenders = [
            kit.labfab(table.FEW.format(table.LABFAB), aliases[0]),
            kit.labfab(table.MANY.format(table.LABFAB, count), *aliases, settled=UNCHANGED),
            kit.pyinfra(table.FEW.format(table.PYINFRA), places[:1]),
            kit.pyinfra(table.MANY.format(table.PYINFRA, count), places),
        ]
        for number, line in enumerate(self.plan.fleet_over):
            with self.over(line, hosts[0]):
                self.in_turn(table.FLEET, line, contenders, warm=number == 0)

    def start(self) -> None:
        """The tasks are listed, and nothing is dialed."""
        empty = self.kit.fab.home / "empty"
        empty.mkdir()
        (empty / "fabfile.py").touch()
        words, env = [str(BIN / "fab"), "--list"], self.kit.environment({})
        contenders = [
            Contender(table.LIST, words, env, "setup.full"),
            Contender(table.EMPTY, words, env, "No tasks", cwd=empty, codes=(0, 1)),
        ]
        self.in_turn(table.START, table.NEAR, contenders, repeat=3)

    def host(self) -> Host:
        """The one host that most is measured on, set up."""
        if not hasattr(self, "_host"):
            self._host = self.boot("bench")
            self.set_up(self._host)
            self.found.versions = machine.versions(self._host)
        return self._host


SCENES = {
    table.NO_CHANGE: Bench.no_change,
    table.CHANGE: Bench.change,
    table.FIRST: Bench.first,
    table.FLEET: Bench.fleet,
    table.START: Bench.start,
}


def measure(plan: Plan, found: Found) -> None:
    """Measure what the plan says and note it; everything that was started is gone afterwards, also after Ctrl-C."""
    with ExitStack() as stack:
        stack.enter_context(rings.engine(with_browser=False))
        engine = find()
        clear_leftovers(engine)
        subnet = network.ensure(engine)
        fab = stack.enter_context(fab_with_home())
        line, hosts = None, stack.enter_context(ExitStack())
        if not wire.refusal() and engine.reaches_containers:
            line = stack.enter_context(
                wire.wire_to(str(subnet[2]), f"{subnet[252]}/{subnet.prefixlen}")
            )
        index = (
            stack.enter_context(local_index(str(subnet[1]))) if engine.reaches_containers else ""
        )
        found.local_index, found.load = bool(index), os.getloadavg()[0]
        bench = Bench(plan, Kit(fab, line.prefix() if line else []), line, found, index, hosts)
        for scene in plan.scenes:
            SCENES[scene](bench)


@contextmanager
def local_index(address: str) -> Iterator[str]:
    """Lend a package index on this machine, so that a first run measures no mirror; empty where its wheels cannot be had."""
    try:
        folder = wheels.collect("3.11")
    except RigError as error:
        say(f"without a local package index: {error}")
        yield ""
        return
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        package_index.fill(place, folder)
        yield stack.enter_context(package_index.served(place, address))


@contextmanager
def room_for(count: int) -> Iterator[None]:
    """Let so many hosts boot on one kernel: each systemd takes a dozen inotify instances, and the usual limit is 128 for all."""
    place, wanted = Path("/proc/sys/fs/inotify/max_user_instances"), 128 + 16 * count
    before = int(place.read_text()) if place.exists() else wanted
    with suppress(OSError):
        if before < wanted:
            place.write_text(str(wanted))
            say(f"fs.inotify.max_user_instances is {wanted} instead of {before} until the end")
    try:
        yield
    finally:
        with suppress(OSError):
            if before < wanted:
                place.write_text(str(before))


def drop_caches() -> None:
    """Let no tool find in memory what the one before it read, where this machine lets us."""
    with suppress(OSError):
        subprocess.run(["sync"], check=False)
        Path("/proc/sys/vm/drop_caches").write_text("3\n")
