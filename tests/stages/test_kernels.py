"""What computes is asked of the servers that run, whatever the settings say by now, and with the rights of their account."""

import base64
import json
import os
import subprocess

import pytest

from labfab.errors import SetupError
from labfab.host.changes import fill
from labfab.host.shell import Result
from labfab.on_host import loader
from labfab.server import consent, usage
from labfab.settings import Settings
from labfab.stages import lab, python
from labfab.stages.lab import monitoring

KERNEL = {
    "id": "0" * 36,
    "name": "python3",
    "execution_state": "busy",
    "last_activity": "2026-01-01T00:00:00Z",
}


def blob(value: object) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


def said(*lines: str) -> str:
    return "\n".join(["[activity]", *lines, ""])


@pytest.fixture
def ready(fake):
    """A host with Python and JupyterLab in place, whose JupyterLab tells what it computes."""

    def make(*lines: str, **settings):
        model = fake(**({"python": "venv"} | settings))
        python.install(model.c)
        model.again()
        model.answers = [(r"\[activity\]", Result(0, said(*lines), ""))]
        return model

    return make


def ask(c, yes: bool = False) -> None:
    consent.require(c, Settings.of(c), yes, "restart")


BUSY = f"kernels.7={blob([KERNEL])}"
ELSEWHERE = {
    "session": "yes",
    "stale": "yes",
}  # it runs, and listens where an earlier configuration said


@pytest.mark.parametrize(
    "have", [ELSEWHERE, {"service": "yes"}, {"session": "yes", "owner": "lab", "pid": "7"}]
)
def test_kernels_of_a_lab_with_other_settings_count(ready, have):
    """Another port, scheme or path since it started: a restart would end its kernels all the same."""
    model = ready(BUSY)
    model.sections["lab"] |= have
    with pytest.raises(
        SetupError,
        match="python3 computes right now, and a restart would end that: wait, or add --yes",
    ):
        ask(model.c)
    assert "become lab " in model.told[-1]


@pytest.mark.parametrize(
    "answer", ["", "bm8=", blob({"message": "Forbidden"}), blob([1]), blob([{"id": "x"}])]
)
def test_a_lab_that_does_not_tell_counts_as_busy(ready, answer):
    """A wrong token, a server that hangs: with programs below it nobody knows what a restart would end."""
    model = ready(f"kernels.7={answer}", "parent.7=yes")
    model.sections["lab"] |= {"session": "yes", "owner": "lab", "pid": "7", "api": "2.21.0"}
    with pytest.raises(
        SetupError, match=r"JupyterLab \(pid 7\) does not tell what it computes, and a restart"
    ):
        ask(model.c)
    ask(model.again(), yes=True)


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["kernels.7="],
        [f"kernels.7={blob([KERNEL | {'execution_state': 'idle'}])}", "parent.7=yes"],
    ],
)
def test_what_computes_nothing_needs_no_yes(ready, lines):
    """No server, one without any program below it, one with idle kernels."""
    model = ready(*lines)
    model.sections["lab"] |= ELSEWHERE
    ask(model.c)


def test_where_the_account_cannot_be_asked_nothing_is_ended(ready):
    model = ready()
    model.sections["lab"] |= ELSEWHERE
    model.answers = [(r"\[activity\]", Result(1, "", "runuser: cannot set user id: x"))]
    with pytest.raises(
        SetupError, match="cannot ask as lab what computes there: runuser: cannot set"
    ):
        ask(model.c)


def test_where_nothing_runs_nothing_is_asked(ready):
    model = ready(BUSY)
    ask(model.c)
    model.sections["lab"] |= {"owner": "root", "pid": "1"}
    ask(model.again())
    assert model.questions == []


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


# The script ------------------------------------------------------------------------------------------


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
    """Its port, scheme, path and token are those it started with; macOS has another folder for the note."""
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


# Log and certificate ---------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["a\x1b[2Jb\tc\n", "a\x9b2Jb", "a\rb\n"])
def test_a_log_moves_no_cursor(ready, capsys, text):
    model = ready()
    model.answers = [("lab.log", Result(0, text, ""))]
    lab.logs(model.c)
    assert all(char.isprintable() for char in capsys.readouterr().out.replace("\n", ""))
    assert "become lab " in model.told[-1]


@pytest.mark.parametrize(
    "script", [fill(monitoring.LOG, 5), fill(loader.called("log_growth", 1), 0)]
)
def test_a_pipe_in_place_of_the_log_keeps_nobody(home, script):
    os.mkfifo(home / ".jupyter/lab.log")
    done = subprocess.run(
        ["sh", "-c", script],
        capture_output=True,
        text=True,
        env=os.environ | {"HOME": str(home)},
        timeout=5,
    )
    assert done.returncode == 0 and done.stdout.strip() in ("", "0")


def test_the_wait_reads_the_log_as_its_account(ready):
    """root would follow a link of the account."""
    model = ready()
    model.answers = [("tail -n 3 ~/.jupyter/lab.log", Result(1, "sorry\x1b[2J\n", ""))]
    with pytest.raises(SetupError, match=r"sorry\?\[2J"):
        lab.start(model.c)
    assert "become lab " in model.told[-1] and "tail -n 3" in model.told[-1]


def test_the_wait_does_not_take_itself_for_jupyterlab(tmp_path):
    """It ends at once where no JupyterLab runs, though its own text speaks of one."""
    (tmp_path / "curl").write_text("#!/bin/sh\nexit 7\n")
    (tmp_path / "curl").chmod(0o755)
    environment = {"HOME": str(tmp_path), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    script = fill(loader.called("wait_for_lab", 3), "", 20, "http://127.0.0.1:9/api").replace(
        "bin/jupyter-lab", "bin/no-such-lab"
    )
    done = subprocess.run(["sh", "-c", script], env=environment, timeout=10, capture_output=True)
    assert done.returncode == 1


@pytest.mark.parametrize(
    "text", ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_a_damaged_certificate_has_no_days(ready, text, capsys):
    model = ready(publish="https")
    model.set_file("https", "cert", text, "644 lab")
    lab.status(model.c)
    assert "does not run" in capsys.readouterr().out


# A crash loop ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "state, stopped",
    [("activating", True), ("active", True), ("failed", False), ("inactive", False)],
)
def test_a_unit_that_crashes_again_and_again_is_stopped(ready, state, stopped):
    """It has no port and no session in between."""
    model = ready()
    model.sections["lab"] |= {"service": "yes", "state": state}
    lab.stop(model.c)
    assert model.whys == ["stop JupyterLab"] * stopped and all(
        "systemctl --user stop" in write.command for write in model.writes
    )
