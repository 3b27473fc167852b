"""Two hundred hosts: all done, in little memory, each at the cost of one among twenty."""

import json
import os
import re
import resource
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.rig.fab import BIN
from tests.rig.farm import Farm, farm
from tests.rig.places import REPO

pytestmark = [
    pytest.mark.local,
    pytest.mark.skipif(
        not sys.platform.startswith("linux"), reason="only on Linux all of 127/8 is this machine"
    ),
]
FABFILE = """\
from invoke import Collection

from labfab.run.task import host_task
from tests.rig.farm import STAGES


@host_task
def setup(c):
    \"\"\"Run the stages of setup.full, but for the tunnel.\"\"\"
    for stage in STAGES:
        stage(c)


ns = Collection(setup)
"""
MANY, FEW = 200, 20
MEMORY = 300_000  # kB


class Cost(NamedTuple):
    seconds: float
    cpu: float
    memory: int  # kB


@pytest.fixture(scope="module")
def fields(tmp_path_factory) -> Farm:
    """The farm, and somebody else's project."""
    home = tmp_path_factory.mktemp("farm")
    with farm(home, MANY) as found:
        (home / "stranger").mkdir()
        (home / "stranger/fabfile.py").write_text(FABFILE)
        (home / "stranger/fabric.yaml").write_text(
            "tasks:\n  executor_class: labfab.fleet.Executor\n"
        )
        yield found


def run(fields: Farm, names: list[str], **env: str) -> tuple[int, dict, str, Cost]:
    """Run fab on some hosts. Returns its exit code, its document, its stderr and its cost."""
    out, err = fields.home / "out", fields.home / "err"
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("LABFAB_", "SSH_", "XDG_"))
    }
    environment = (
        kept
        | {
            "HOME": str(fields.home),
            "PYTHONPATH": str(REPO),
            "LABFAB_RECAP": "json",
            "LABFAB_PYTHON": "venv",
        }
        | env
    )
    began = time.monotonic()
    with open(out, "w") as stdout, open(err, "w") as stderr:
        process = subprocess.Popen(
            [str(BIN / "fab"), "-H", ",".join(names), "setup"],
            cwd=fields.home / "stranger",
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        )
        memory, status, used = watched(process.pid)
    process.returncode = os.waitstatus_to_exitcode(status)
    cost = Cost(time.monotonic() - began, used.ru_utime + used.ru_stime, memory or used.ru_maxrss)
    return process.returncode, json.loads(out.read_text()), err.read_text(), cost


def watched(pid: int) -> tuple[int, int, resource.struct_rusage]:
    """Wait for a process. Returns its peak memory in kB (0 if unknown), status and usage.

    ru_maxrss starts with the memory of the parent, which here holds the whole farm: fork and
    exec keep it.
    """
    peak = 0
    while True:
        with suppress(OSError):
            found = re.search(
                r"^VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE
            )
            peak = max(peak, int(found[1])) if found else peak
        ended, status, used = os.wait4(pid, os.WNOHANG)
        if ended:
            return peak, status, used
        time.sleep(0.05)


def port_of(fields: Farm) -> str:
    return next(
        line.split()[1]
        for line in (fields.home / ".ssh/config").read_text().splitlines()
        if line.split()[:1] == ["Port"]
    )


def test_two_hundred_hosts(fields, capsys):
    """All are done, in bounded memory; each takes the time and work of one among twenty."""
    env = {"LABFAB_SSH_PORT": port_of(fields), "LABFAB_PARALLEL": "50"}
    costs = {}
    for count in (FEW, MANY):
        code, found, err, costs[count] = run(fields, fields.names[:count], **env)
        assert code == 0, err[-3000:]
        assert [host["host"] for host in found["hosts"]] == fields.names[:count]
        assert {(host["result"], host["changes"]) for host in found["hosts"]} == {("done", 0)}
        assert f"{count} of {count} hosts done" in err
    few, many = costs[FEW], costs[MANY]
    with capsys.disabled():
        for n, cost in costs.items():
            print(
                f"\n{n} hosts: {cost.seconds:.1f} s, {cost.cpu / n * 1000:.0f} ms of CPU a host, "
                f"{cost.memory // 1024} MB",
                end="",
            )
    assert many.memory < MEMORY
    assert many.seconds / MANY < 1.5 * few.seconds / FEW
    assert many.cpu / MANY < 1.5 * few.cpu / FEW


def test_one_after_the_other_and_some_that_are_not_there(fields):
    """A host that does not answer fails alone, and only it is named at the end."""
    names = [*fields.names[:3], "nobody@127.0.9.9:1", *fields.names[3:6]]
    code, found, err, _ = run(fields, names, LABFAB_SSH_PORT=port_of(fields), LABFAB_PARALLEL="1")
    assert code == 1 and found["summary"] == {"hosts": 7, "done": 6, "changes": 0}
    assert "failed on nobody@127.0.9.9:1: see above" in err
    log = Path(next(host["log"] for host in found["hosts"] if host["result"] == "failed"))
    assert "nothing listens on port 1" in log.read_text()
