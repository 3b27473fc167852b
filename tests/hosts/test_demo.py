"""The demo on a clean clone: what a newcomer does, from `make demo` to `inv demo --stop`."""

import contextlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from labfab.errors import SetupError
from labfab.laptop import kernel
from tests.rig.places import REPO

pytestmark = pytest.mark.host


@pytest.fixture(scope="module")
def clone(tmp_path_factory, engine):
    """A fresh clone that shares nothing with this one but the engine."""
    folder = tmp_path_factory.mktemp("clone") / "labfab"
    subprocess.run(["git", "clone", "-q", str(REPO), str(folder)], check=True)
    yield folder
    run(folder, engine, ".venv/bin/inv", "demo", "--stop")
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def first(clone, engine):
    return run(clone, engine, "make", "demo")


def run(folder: Path, engine, *words: str) -> str:
    """Run a command in the clone and return all it said."""
    kept = {name: value for name, value in engine.env.items() if not name.startswith("LABFAB_")}
    done = subprocess.run(
        words, cwd=folder, env=kept, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def traces(folder: Path, engine) -> list[str]:
    """List what a demo of the clone has running on this machine."""
    mine = f"label=labfab.repo={folder}"
    found = (
        engine.run("ps", "-aq", "--filter", mine).split()
        + engine.run("network", "ls", "-q", "--filter", mine).split()
    )
    table = subprocess.run(
        ["ps", "-ax", "-o", "args="], capture_output=True, text=True, check=True
    ).stdout
    return found + [line for line in table.splitlines() if str(folder / ".cache") in line]


def test_demo_computes(first):
    assert "JupyterLab computes: " in first
    assert "setup.full" in first


def test_second_call_changes_nothing(first, clone, engine):
    again = run(clone, engine, "make", "demo")
    assert "nothing to change" in again
    assert "JupyterLab computes: " in again
    assert "installing" not in again


def test_kernel_and_password_are_really_asked(first, clone):
    folder = clone / ".cache/demo/home/.config/labfab/demo"
    url = f"http://127.0.0.1:{json.loads((folder / 'tunnel.json').read_text())['local_port']}"
    password = (folder / "jupyter-password").read_text().strip()
    with pytest.raises(SetupError, match="refuses the password"):
        kernel.login(url, password + "x")
    with contextlib.closing(kernel.login(url, password)) as client:
        assert kernel.execute(client, "print('ä'); 6 * 7") == "ä\n42"
        with pytest.raises(SetupError, match="ZeroDivisionError"):
            kernel.execute(client, "1 / 0")
        assert client.get("api/kernels").json() == []


def test_stop_leaves_nothing_behind(first, clone, engine):
    real = Path(os.path.expanduser("~/.ssh/config"))
    assert traces(clone, engine)
    run(clone, engine, ".venv/bin/inv", "demo", "--stop")
    assert traces(clone, engine) == []
    assert not (clone / ".cache" / "demo").exists()
    assert not real.exists() or str(clone) not in real.read_text()


def test_half_made_environment_heals(first, clone, engine):
    (clone / ".venv" / "ready").unlink()
    shutil.rmtree(clone / ".venv" / "lib")
    assert "installing the locked packages" in run(clone, engine, "make", "prepare")
    assert "demo" in run(clone, engine, ".venv/bin/inv", "--list")
