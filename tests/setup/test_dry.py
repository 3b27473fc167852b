"""Plan mode: no laptop task changes anything, whatever tunnel is open or kept."""

import os
from pathlib import Path

import pytest
from invoke import Config, Context

from labfab import ns
from labfab.errors import SetupError
from labfab.laptop import browser, shortcuts, systemd_user, tunnel
from labfab.laptop.openssh import Target
from labfab.local_state import files, secrets, ssh_config
from labfab.run.task import LaptopTask
from tests.fake import alone

__all__ = ["alone"]

TASKS = [name for name in ns.task_names if isinstance(ns[name], LaptopTask)]
# Replaces programs that could change something, and records every call except those that only read.
PROGRAM = """\
#!/bin/sh
case "$*" in *show*|*is-active*|*"-O check"*) exit 0 ;; esac
echo "$0 $*" >>"$HOME/called"
"""
WORDS = {"lab.url": {"with_token": True}}
PLANNED = {
    "keys.generate": "make .*id_ed25519",
    "lab.open": "open the tunnel and the browser",
    "lab.url": "print the address with the token",
    "lab.close": "close the tunnel",
    "tunnel.close": "close the tunnel",
    "tunnel.keep": "keep a tunnel",
    "tunnel.open": "open a tunnel",
    "tunnel.forget": "stop keeping it",
    "shortcuts.remove": "remove the shortcuts",
}
SILENT = {
    "tunnel.status",
    "backup.list",
    "https.trust",
    "https.untrust",
}  # they look, or there is nothing to be done in this home
ASKS = {"jupyter.hash"}  # and prints


@pytest.fixture
def home(alone, monkeypatch) -> Path:
    """A laptop with a lab: alias, token, shortcuts and a tunnel."""
    home = alone / "home"
    (home / ".ssh").mkdir(mode=0o700)
    ssh_config.write(home / ".ssh/config", ssh_config.Alias("homelab", "203.0.113.5", "root", 22))
    secrets.store("homelab", "jupyter-token", "0" * 48)
    for path, text in shortcuts.texts(
        Target("homelab"), "http://127.0.0.1:9000/", 9000, 9999, "/home/lab", False
    ).items():
        shortcuts.write(path, text)
    (alone / "bin").mkdir()
    for name in ("ssh", "systemctl", "launchctl", "xdg-open"):
        (alone / "bin" / name).write_text(PROGRAM)
        (alone / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{alone}/bin:/usr/bin:/bin")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(browser, "log_in", lambda *_: pytest.fail("the browser was opened"))
    return home


def tree(home: Path) -> dict[str, bytes]:
    """Return the content of every file, without locks."""
    return {
        str(path): path.read_bytes()
        for path in home.rglob("*")
        if path.is_file() and path.name != "lock"
    }


@pytest.mark.parametrize("how", ["none", "open", "kept"])
@pytest.mark.parametrize("name", TASKS)
def test_a_plan_of_a_laptop_s_task_changes_nothing(home, monkeypatch, capsys, name, how):
    """Files, processes and the tunnel stay, and the task prints what it would do."""
    state = {
        "target": {},
        "wanted_port": 9000,
        "remote_port": 9999,
        "local_port": 9000,
        "pid": 2,
        "control": "/nowhere",
    }
    if how != "none":
        tunnel.save("homelab", state | ({"keeper": "systemd"} if how == "kept" else {}))
        monkeypatch.setattr(tunnel, "process", lambda alias, state: os.getpid())
    if how == "kept":
        files.make_private(systemd_user.path("homelab").parent)
        systemd_user.path("homelab").write_text("[Service]\n")
    before = tree(home)
    words = (name, WORDS.get(name, {}))
    if name in ASKS:
        monkeypatch.setenv("LABFAB_JUPYTER_PASSWORD", "of 14 letters and more")
    try:
        ns[name](Context(Config(overrides={"run": {"dry": True}})), **words[1])
    except SetupError as error:
        assert name in ("https.trust", "jupyter.hash"), error  # without a host, or a terminal
    assert tree(home) == before
    told = capsys.readouterr().out
    assert ("would" in told) == (name in planned(how)), told


def planned(how: str) -> set[str]:
    """Return the tasks that have something to do."""
    idle = {
        "none": {"lab.close", "tunnel.close", "tunnel.forget"},
        "open": {"tunnel.open", "tunnel.forget"},
        "kept": {"tunnel.open"},
    }
    return set(PLANNED) - idle[how]


def test_no_task_is_forgotten():
    """A new task must be listed here, with what it prints in plan mode or as silent."""
    assert set(TASKS) == set(PLANNED) | SILENT | ASKS
