"""launchlab starts what lab.start starts; here it runs with stand-ins for the programs it calls."""

import contextlib
import getpass
import os
import pty
import socket
import subprocess

import pytest

from labfab.on_host import loader
from labfab.platforms import launchd
from labfab.server import launchlab
from labfab.settings import Settings


@pytest.fixture
def text(fake) -> str:
    """The command for JupyterLab of the account lab."""
    model = fake("lab", python="venv", base_url="/j/", lab_port=9990)
    model.add_account("lab")
    return launchlab.text(model.c, Settings.of(model.c))


def test_it_starts_what_lab_start_starts(text):
    """The same tmux session, with the present settings."""
    assert loader.shared("start_in_tmux") in text
    given = "lab http://127.0.0.1:9990/j/ '' jupyter-venv /usr/local/bin:/usr/bin:/bin ''"
    assert f"\nset -- {given}\n" in text and loader.shared("port_owner") in text
    assert "%%" not in text.replace("%%[!0-9]", "").replace("${authority%%/*}", "")


def test_it_is_known_as_ours_by_its_second_line(text):
    first, second = text.splitlines()[:2]
    assert first == "#!/bin/sh" and second.startswith(launchlab.MARK)


@pytest.fixture
def run(tmp_path, text):
    """Run the command as this account; its programs leave their calls in a file.

    session: tmux has the session already. service: systemd is to run JupyterLab. ending: tmux has
    a session that ends while it is waited for. JupyterLab answers once a file `up` is there.
    """

    def run(session: bool = False, service: bool = False, ending: bool = False) -> tuple[str, str]:
        (tmp_path / "bin").mkdir()
        note = 'echo "$(basename "$0") $*" >>"$HOME/calls"'
        has = f"[ -e $HOME/up ] || {str(session).lower()}"
        if ending:
            has = "[ -e $HOME/up ] || [ ! -e $HOME/gone ]"
        for name, body in {
            "curl": "[ -e $HOME/up ]",
            "tmux": f"case $1 in has-session) {has} ;; *) {note}; touch $HOME/up ;; esac",
            "systemctl": f"{note}; case $* in *start*) touch $HOME/up ;; *) {str(service).lower()} ;; esac",
            "pgrep": "false",
            "sleep": "touch $HOME/gone" if ending else "touch $HOME/up",
        }.items():
            (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{body}\n")
            (tmp_path / "bin" / name).chmod(0o755)
        script = text.replace("set -- lab ", f"set -- {getpass.getuser()} ")
        script = script.replace("9990", str(port))
        script = script.replace(" /usr/local/bin:", f" {tmp_path}/bin:/usr/local/bin:")
        environment = {"HOME": str(tmp_path), "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
        done = subprocess.run(
            ["sh", "-c", script], env=environment, capture_output=True, text=True, timeout=20
        )
        assert done.returncode == 0, done.stderr
        calls = tmp_path / "calls"
        said = done.stdout.replace(str(port), "9990")
        return said, calls.read_text() if calls.exists() else ""

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        yield run


def test_one_that_answers_is_left_alone(run, tmp_path):
    (tmp_path / "up").touch()
    assert run() == ("JupyterLab runs already: http://127.0.0.1:9990/j/lab on this host\n", "")


def test_it_starts_jupyterlab_in_tmux(run):
    out, calls = run()
    assert out == "JupyterLab runs: http://127.0.0.1:9990/j/lab on this host\n"
    # The home of a test has a long path.
    runtime = 'env JUPYTER_RUNTIME_DIR="$HOME/.local/state/lab"'
    assert (
        f"tmux new-session -d -s jupyter /bin/sh -c exec {runtime} ~/jupyter-venv/bin/jupyter-lab"
        in calls
    )


def test_a_session_that_is_starting_is_waited_for(run):
    out, calls = run(session=True)
    assert out.startswith("JupyterLab runs: ") and "new-session" not in calls


def test_one_that_is_ending_is_waited_for_and_a_new_one_started(run):
    """After File > Shut Down the session lasts until all kernels have ended."""
    out, calls = run(ending=True)
    assert out.startswith("JupyterLab runs: ") and "new-session" in calls


def test_where_systemd_runs_jupyterlab_systemd_starts_it(run):
    out, calls = run(session=True, service=True)
    assert out.startswith("JupyterLab runs: ")
    assert "systemctl --user start jupyter.service" in calls and "new-session" not in calls


@pytest.mark.parametrize("by_hand", [None, launchd.START_BY_HAND])
def test_every_service_manager_fits(text, by_hand):
    """A platform's text for its service manager ends inside an `if`."""
    if by_hand:
        text = launchlab.BY_SERVICE % by_hand
    assert subprocess.run(["sh", "-n"], input=text, text=True, check=False).returncode == 0


@pytest.mark.parametrize("program, found", [("jupyter-lab", "port 8891\n"), ("vi", "")])
def test_a_server_started_by_hand_is_found_by_its_note(tmp_path, program, found):
    """port_of_running_lab.sh, which lab.open calls before it would start a second one."""
    notes = tmp_path / ".local/share/jupyter/runtime"
    notes.mkdir(parents=True)
    (notes / "jpserver-7.json").write_text('{\n  "port": 8891,\n  "token": "x"\n}\n')
    words = f'home_of() {{ echo "{tmp_path}"; }}; as_account() {{ shift; "$@"; }}\n'
    words += f"ps() {{ echo {program}; }}\n"
    script = words + loader.as_command("port_of_running_lab", 1) % "lab"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == found


def test_another_account_gets_no_terminal(tmp_path, text):
    """It has none to open, its input is empty and its output is a pipe; who typed it is told all."""
    look = "(: <>/dev/tty) 2>/dev/null && echo terminal; [ -t 0 ] || [ -t 1 ] || [ -t 2 ] || echo none; cat; exit 7"
    (tmp_path / "bin").mkdir()
    # sudo with a password: the first one has the terminal of whoever types it.
    sudo = 'case $1 in -n) shift 4; exec sh -c "$LOOK" ;; *) exec "$@" ;; esac'
    (tmp_path / "bin/sudo").write_text(f"#!/bin/sh\n{sudo}\n")
    (tmp_path / "bin/sudo").chmod(0o755)
    (tmp_path / "launchlab").write_text(text.replace("set -- lab ", "set -- nobody "))
    argv = ["sh", str(tmp_path / "launchlab")]
    child, terminal = pty.fork()
    if not child:
        path = f"{tmp_path}/bin:{os.environ['PATH']}"
        os.execvpe("sh", argv, {"PATH": path, "HOME": str(tmp_path), "LOOK": look})
    said = b""
    with contextlib.suppress(OSError):
        while data := os.read(terminal, 1000):
            said += data
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    lines = said.decode().splitlines()
    assert lines[-1] == "none" and "terminal" not in lines
