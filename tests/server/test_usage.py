"""lab_usage.sh asks each server with the address and the token that it started with."""

import json
import os
import subprocess

import pytest

from labfab.host.changes import fill
from labfab.on_host import loader
from labfab.server import usage


@pytest.fixture
def home(tmp_path):
    """A home with a configuration, and programs that only say how they were called."""
    (tmp_path / "bin").mkdir()
    for name, text in {
        "curl": 'echo "$* $(cat)" >>"$HOME/calls"; echo "[]"',
        "pgrep": 'case "$*" in *ython*) echo 7; echo 8 ;; *) [ "$2" = 7 ] ;; esac',
        "ps": "true",
    }.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / ".jupyter").mkdir()
    (tmp_path / ".jupyter/jupyter_server_config.json").write_text(
        '{\n  "IdentityProvider": {\n    "token": "new"\n  }\n}\n'
    )
    return tmp_path


def asked(home, pid: str) -> dict[str, str]:
    """Run the script for real; the calls are left in a file."""
    script = fill(loader.called("lab_usage", 4), str(home), "http://127.0.0.1:9999/", "", pid)
    environment = {"HOME": str(home), "PATH": f"{home}/bin:{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, env=environment, check=True
    )
    return usage.parse(done.stdout, ("activity",))["activity"]


@pytest.mark.parametrize("data", [".local/share/jupyter", "Library/Jupyter"])
def test_a_server_is_asked_where_it_says_itself(home, data):
    """With the port, scheme, path and token it started with; macOS keeps the note elsewhere."""
    runtime = home / data / "runtime"
    runtime.mkdir(parents=True)
    note = {
        "base_url": "/old/",
        "pid": 7,
        "port": 8888,
        "secure": True,
        "sock": "",
        "token": "abc",
        "url": "https://x:8888/old/",
    }
    (runtime / "jpserver-7.json").write_text(json.dumps(note, indent=2))
    found = asked(home, "7")
    assert usage.listed(found["kernels.7"], usage.KernelAnswer) == [] and found["parent.7"] == "yes"
    calls = (home / "calls").read_text()
    assert (
        "https://127.0.0.1:8888/old/api/kernels" in calls
        and "token abc" in calls
        and "new" not in calls
    )


def test_a_server_without_a_note_is_asked_as_the_settings_say(home):
    assert set(asked(home, "7")) >= {"kernels.7", "sessions.7", "parent.7"}
    calls = (home / "calls").read_text()
    assert "http://127.0.0.1:9999/api/kernels" in calls and "token new" in calls


def test_where_the_port_is_nobodys_each_jupyterlab_is_asked(home):
    found = asked(home, "")
    assert {"kernels.7", "kernels.8", "parent.7"} <= set(found) and "parent.8" not in found
