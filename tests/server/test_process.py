"""The wait for JupyterLab's answer."""

import os
import subprocess

import pytest

from labfab.errors import SetupError
from labfab.host.changes import fill
from labfab.host.shell import Result
from labfab.on_host import loader
from labfab.stages import lab


def test_the_wait_reads_the_log_as_its_account(ready):
    """root would follow a link of the account."""
    model = ready()
    model.answers = [("tail -n 3 ~/.jupyter/lab.log", Result(1, "sorry\x1b[2J\n", ""))]
    with pytest.raises(SetupError, match=r"sorry\?\[2J"):
        lab.start(model.c)
    assert "run_script_as lab " in model.told[-1] and "tail -n 3" in model.told[-1]


def test_a_folder_that_somebody_made_in_tmuxs_place_is_moved_away(ready):
    """The user learns who it was."""
    model = ready()
    model.answers = [("foreign_tmux lab", Result(0, "/tmp/tmux-1000 mallory\n", ""))]
    lab.start(model.c)
    why = "move /tmp/tmux-1000 away, which mallory made in the way of lab's tmux"
    assert model.whys[-2:] == [why, "start JupyterLab"]


def test_the_wait_does_not_take_itself_for_jupyterlab(tmp_path):
    """It ends immediately if no JupyterLab runs, although its own text mentions one."""
    (tmp_path / "curl").write_text("#!/bin/sh\nexit 7\n")
    (tmp_path / "curl").chmod(0o755)
    environment = {"HOME": str(tmp_path), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    script = fill(
        loader.as_command("wait_for_lab", 3, uses="port_owner"), "", 20, "http://127.0.0.1:9/api"
    ).replace("in/jupyter-lab", "in/no-such-lab")
    done = subprocess.run(["sh", "-c", script], env=environment, timeout=10, capture_output=True)
    assert done.returncode == 1


def test_the_wait_gives_up_a_tmux_that_does_not_answer(tmp_path):
    """The account may stop it; the wait has ended already, and only the log's end is missing."""
    for name, text in (("curl", "exit 7"), ("tmux", "exec sleep 60")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"HOME": str(tmp_path), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    url, path = "http://127.0.0.1:9/api", environment["PATH"]
    script = fill(
        loader.as_command("wait_for_lab", 5, uses="port_owner"), "", 20, url, "none", path
    ).replace("in/jupyter-lab", "in/no-such-lab")
    done = subprocess.run(["sh", "-c", script], env=environment, timeout=20, capture_output=True)
    assert done.returncode == 1
