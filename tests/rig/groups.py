"""Group the tests that share a host, so that every other test can run on any worker.

Tests are in one group when they use the same module fixture, which boots something; a test that
boots its own host is a group by itself. One worker runs a group. Long groups start first, so that
no worker is left alone with one at the end.
"""

import json
import os
from collections import Counter
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

# About how many minutes a group takes. Only the order counts: a wrong number loses time, no test.
WEIGHTS = {
    "": 0.2,
    "hosts/test_machine.py": 6,  # on KVM one, emulated ten
    "hosts/test_attack_homes.py": 5,
    "hosts/test_keep.py": 5,  # two minutes of them a line without a packet
    "hosts/test_mac_lab.py": 5,
    "hosts/test_letsencrypt.py": 5,
    "hosts/test_bad_days.py": 4.5,
    "hosts/test_bad_days.py::test_cut_at_any_moment": 1.5,
    "hosts/test_mac_double.py": 4,
    "hosts/test_check_https.py": 4,
    "hosts/test_mac.py": 3,
    "hosts/test_attack_shell.py": 3,
    "hosts/test_attack_published.py": 3,
    "hosts/test_newer_ubuntu.py": 3,
    "hosts/test_attack_sudo_password.py": 2.6,
    "hosts/test_laptop_in_use.py": 2.6,
    "hosts/test_python.py": 3,
    "hosts/test_check.py": 3,
    "hosts/test_backup.py": 2.5,
    "hosts/test_jobs.py": 2.5,
    "hosts/test_files.py": 2.5,
    "hosts/test_daily.py": 2.5,
    "hosts/test_machine_in_use.py": 2.5,
    "hosts/test_attack_network.py": 2.2,
    "hosts/test_attack_port.py": 2.2,
    "hosts/test_older_version.py": 2.2,
    "hosts/test_stages.py": 2,
    "hosts/test_attack_accounts.py": 2,
    "hosts/test_attack_secrets.py": 2,
    "hosts/test_doors.py": 2,
    "hosts/test_firewalls.py": 2,
    "hosts/test_reader.py": 2,
    "hosts/test_attack_files.py": 2,
    "hosts/test_attack_words.py": 2,
    "hosts/test_old_homes.py": 2,
    "hosts/test_bans.py": 2,
    "hosts/test_demo.py": 2,
    "hosts/test_recipes.py": 2,
    "hosts/test_proxy.py": 2,
    "hosts/test_guard.py": 2,
    "hosts/test_undo.py": 1.5,
    "hosts/test_setup.py": 1.5,
    "hosts/test_browser.py": 1.5,
    "hosts/test_open.py": 1.5,
    "hosts/test_reuse.py": 1.5,
    "hosts/test_shortcuts.py": 1.5,
    "hosts/test_ahead.py": 1.2,
    "hosts/test_fleet.py": 1.2,
    "hosts/test_speed.py": 1.2,
    "hosts/test_plan.py": 1,
    "hosts/test_https.py": 1,
}


class ByGroup(LoadScopeScheduling):
    """Send whole groups to the workers, in the order in which the tests were collected.

    pytest-xdist's own `loadgroup` writes the group into the test's id, which pytest no longer
    allows. So each worker writes the groups into a file, which is read here.
    """

    def __init__(self, config: pytest.Config, path: Path) -> None:
        super().__init__(config)
        config.option.loadscopereorder = False
        self.path = path

    @cached_property
    def groups(self) -> dict[str, str]:
        return json.loads(self.path.read_text())

    def _split_scope(self, nodeid: str) -> str:
        return self.groups[nodeid]

    def _reschedule(self, node: WorkerController) -> None:
        """Keep one test in hand: a worker does not begin a test before it knows the next one."""
        if not self.workqueue and not node.shutting_down:
            node.shutdown()
        elif not node.shutting_down and self._pending_of(self.assigned_work[node]) <= 1:
            self._assign_work_unit(node)


def arrange(items: list[pytest.Item], path: Path) -> None:
    """Put the groups that take longest first, and write down which test is in which group."""
    groups = grouped(items)
    weights: dict[str, float] = {}
    for item in items:
        name = groups[item]
        weights[name] = max(weights.get(name, 0), weight(item))
    items.sort(key=lambda item: -weights[groups[item]])
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f"{path.name}.{os.getpid()}")
    half.write_text(json.dumps({item.nodeid: name for item, name in groups.items()}))
    half.rename(path)  # all workers write the same


def weight(item: pytest.Item) -> float:
    """Return how long the group of a test takes; the longest key that fits decides."""
    name = item.nodeid.removeprefix("tests/")
    found = [key for key in WEIGHTS if name.startswith(key)]
    return WEIGHTS[max(found, key=len)]


def grouped(items: list[pytest.Item]) -> dict[pytest.Item, str]:
    """Return the name of each test's group."""
    find, join = sets()
    for item in items:
        find(item.nodeid)
        for shared in hosts_of(item):
            join(item.nodeid, shared)
    names: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for item in items:
        module = item.nodeid.partition("::")[0].rpartition("/")[2].removesuffix(".py")
        if find(item.nodeid) not in names:
            counts[module] += 1
            names[find(item.nodeid)] = f"{module}-{counts[module]}"
    return {item: names[find(item.nodeid)] for item in items}


def sets() -> tuple[Callable[[str], str], Callable[[str, str], None]]:
    """Give a way to find the set of a name, and one to join the sets of two names."""
    parent: dict[str, str] = {}

    def find(name: str) -> str:
        parent.setdefault(name, name)
        while parent[name] != name:
            name = parent[name]
        return name

    def join(one: str, other: str) -> None:
        parent[find(one)] = find(other)

    return find, join


def hosts_of(item: pytest.Item) -> list[str]:
    """Name the module fixtures of a test that boot a host or run a server, with their parameter."""
    module = item.nodeid.partition("::")[0]
    params = getattr(getattr(item, "callspec", None), "params", {})
    found = []
    for name, definitions in item._fixtureinfo.name2fixturedefs.items():
        fixture = definitions[-1]
        if fixture.scope in ("module", "session") and fixture.baseid == module:
            found.append(f"{module}::{name}[{params.get(name, '')}]")
    return found
