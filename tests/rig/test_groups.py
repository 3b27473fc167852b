"""Tests that share a host are one group, others stand alone; what takes longest starts first."""

import subprocess
import sys

from tests.rig import groups
from tests.rig.places import REPO

MODULE = """\
import pytest
from tests.rig import groups

@pytest.fixture(scope="module")
def box(): return 1

@pytest.fixture(scope="module")
def ready(box): return box

@pytest.fixture(scope="module", params=["a", "b"])
def each(request): return request.param

@pytest.fixture
def mine(): return 1

def test_one(box): pass
def test_two(ready): pass
def test_three(each): pass
def test_four(mine): pass
def test_five(mine): pass
"""
CONFTEST = """\
import json
from pathlib import Path
from tests.rig import groups

def pytest_collection_modifyitems(items):
    groups.WEIGHTS.update({"test_it.py::test_three[b]": 9, "test_it.py::test_two": 5})
    groups.arrange(items, Path("groups.json"))
    names = json.loads(Path("groups.json").read_text())
    for item in items:
        print("GROUP", item.name, names[item.nodeid])
"""


def test_who_shares_a_host_is_one_group_and_the_longest_comes_first(tmp_path):
    (tmp_path / "test_it.py").write_text(MODULE)
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-s", "-p", "no:anyio"]
    done = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(REPO)}, capture_output=True, text=True
    )
    found = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("GROUP")]
    assert [name for name, _ in found][:3] == ["test_three[b]", "test_one", "test_two"], done.stdout
    of = dict(found)
    assert of["test_one"] == of["test_two"]
    assert len(set(of.values())) == 5


def test_every_weight_is_of_tests_that_exist():
    for key in groups.WEIGHTS:
        module, _, test = key.partition("::")
        if not key:
            continue  # what stands for all the others
        text = (REPO / "tests" / module).read_text()
        assert test.partition("[")[0] in text, key
