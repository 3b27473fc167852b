"""lab.status and lab.logs print nothing that moves the cursor; a pipe as the log blocks nobody."""

import os
import subprocess

import pytest

from labfab.host.changes import fill
from labfab.host.shell import Result
from labfab.on_host import loader
from labfab.stages import lab, python
from labfab.stages.lab import monitoring
from tests.server.activity import KERNEL, blob, said


@pytest.fixture
def ready(fake):
    """A host with Python and JupyterLab in place, whose JupyterLab says what it computes."""

    def make(*lines: str, **settings):
        model = fake(**({"python": "venv"} | settings))
        python.install(model.c)
        model.again()
        model.answers = [(r"\[activity\]", Result(0, said(*lines), ""))]
        return model

    return make


def test_names_of_notebooks_move_no_cursor(ready, capsys):
    """A notebook and a kernel may have any name."""
    session = {"path": "a\x1b]0;x\x07.ipynb", "kernel": {"id": KERNEL["id"]}}
    model = ready(
        f"kernels.7={blob([KERNEL | {'name': chr(0x9B)}])}", f"sessions.7={blob([session])}"
    )
    model.sections["lab"] |= {"session": "yes", "owner": "lab", "pid": "7", "api": "2.21.0"}
    lab.status(model.c)
    out = capsys.readouterr().out
    assert "a?]0;x?.ipynb" in out and all(char.isprintable() for char in out.replace("\n", ""))


@pytest.mark.parametrize("text", ["a\x1b[2Jb\tc\n", "a\x9b2Jb", "a\rb\n"])
def test_a_log_moves_no_cursor(ready, capsys, text):
    model = ready()
    model.answers = [("lab.log", Result(0, text, ""))]
    lab.logs(model.c)
    assert all(char.isprintable() for char in capsys.readouterr().out.replace("\n", ""))
    assert "run_script_as lab " in model.told[-1]


@pytest.mark.parametrize(
    "script", [fill(monitoring.LOG, 5), fill(loader.as_command("log_growth", 1), 0)]
)
def test_a_pipe_in_place_of_the_log_keeps_nobody(tmp_path, script):
    (tmp_path / ".jupyter").mkdir()
    os.mkfifo(tmp_path / ".jupyter/lab.log")
    done = subprocess.run(
        ["sh", "-c", script],
        capture_output=True,
        text=True,
        env=os.environ | {"HOME": str(tmp_path)},
        timeout=5,
    )
    assert done.returncode == 0 and done.stdout.strip() in ("", "0")


@pytest.mark.parametrize(
    "text", ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_a_damaged_certificate_has_no_days(ready, text, capsys):
    model = ready(publish="https")
    model.set_file("https", "cert", text, "644 lab")
    lab.status(model.c)
    assert "does not run" in capsys.readouterr().out
