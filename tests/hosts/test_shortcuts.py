"""The guide's three words in the guide's order, without a word of labfab, and the Lab that they lead to."""

import re
import socket
import subprocess
from contextlib import closing

import pytest

from labfab.laptop import kernel
from tests.rig import ending
from tests.rig.ports import free_port

pytestmark = pytest.mark.host

WORDS = ("callhome", "connectlab", "closelab", "launchlab")
THERE = "/home/lab/.local/bin/launchlab"


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def fab_on(module_lab, module_fab, port):
    """A host that was set up, and fab by its name; the machine itself is fab_on.box."""
    env = {"LABFAB_PYTHON": "venv", "LABFAB_UPDATE": "false", "LABFAB_LOCAL_PORT": str(port)}
    box = module_lab("debian13", "words", env=env)
    module_fab("-H", "homelab", "tunnel.close", env=env).ok()

    def run(*words: str, **more: str):
        return module_fab("-H", "homelab", *words, env=env | more)

    run.box, run.home, run.env = box, module_fab.home, env
    return run


@pytest.fixture(scope="module")
def shell(fab_on):
    """A shell of the laptop: its home, ~/.local/bin on its PATH, nothing of labfab."""
    path = f"{fab_on.home}/.local/bin:/usr/bin:/bin"

    def run(line: str, typed: str = "", timeout: float = 150) -> subprocess.CompletedProcess:
        env = {"HOME": str(fab_on.home), "PATH": path, "TERM": "dumb"}
        return subprocess.run(
            ["/bin/sh", "-c", line],
            env=env,
            input=typed,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


def test_they_are_written_once_on_both_sides(fab_on, shell):
    """With a word on what the PATH lacks; the second time there is nothing to do."""
    first = fab_on("shortcuts.install").ok()
    assert "5 changes" in first.out and ".local/bin is not on your PATH" in first.err
    assert all(f"{fab_on.home}/.local/bin/{word}" in first.out for word in WORDS)
    assert "nothing to change" in fab_on("shortcuts.install").ok().out
    assert shell("command -v fab").stdout == ""  # from here on nothing of labfab is at hand
    assert fab_on.box.run(f"stat -c %a:%U {THERE}") == "755:lab"


def test_the_three_words_in_the_guide_s_order_open_a_lab(fab_on, shell, port):
    """connectlab, callhome, and launchlab typed in the shell that callhome gives; a kernel computes through the tunnel."""
    fab_on("lab.stop").ok()
    url = f"http://127.0.0.1:{port}/"
    assert shell("connectlab").stdout == f"the tunnel is open: {url}lab\n"
    told = shell("callhome", typed="whoami\nlaunchlab\nexit\n")
    assert "lab\nJupyterLab runs: http://127.0.0.1:9999/lab on this host\n" in told.stdout, told
    password = (fab_on.home / ".config/labfab/homelab/jupyter-password").read_text().strip()
    with closing(kernel.login(url, password)) as client:
        assert kernel.execute(client, "print(6 * 7)") == "42"
    assert "runs as lab" in fab_on("lab.status").ok().out
    assert fab_on.box.run("runuser -u lab -- tmux list-sessions -F '#S'") == "jupyter"


def test_typed_again_they_say_so_and_change_nothing(fab_on, shell, port):
    """One tunnel, one server; fab knows of both."""
    before = fab_on("tunnel.status").ok().out
    assert re.search(r"ssh, pid \d+", before) and f":{port}/lab" in before
    again = shell("connectlab")
    assert (again.returncode, again.stdout) == (
        0,
        f"the tunnel is open already: http://127.0.0.1:{port}/lab\n",
    )
    assert (
        fab_on("tunnel.status").ok().out == before
        and "is open already" in fab_on("tunnel.open").ok().out
    )
    pids = "pgrep -u lab -f bin/jupyter-lab"
    running = fab_on.box.run(pids)
    assert (
        shell("launchlab").stdout
        == "JupyterLab runs already: http://127.0.0.1:9999/lab on this host\n"
    )
    as_root = fab_on.box.run(THERE)  # another account than JupyterLab's: by sudo
    assert "runs already" in as_root and fab_on.box.run(pids) == running


def test_launchlab_right_after_file_shut_down(fab_on, shell, port):
    """The one that is ending is waited for; then a new one is started and answers."""
    ending.restart_to_end_slowly(fab_on.box, lambda: fab_on("lab.restart", "--yes").ok())
    password = (fab_on.home / ".config/labfab/homelab/jupyter-password").read_text().strip()
    before = ending.shut_down(fab_on.box, f"http://127.0.0.1:{port}/", password)
    try:
        assert "JupyterLab runs: http://127.0.0.1:9999/lab" in shell("launchlab").stdout
        assert ending.server(fab_on.box) not in ("", before)
    finally:
        fab_on("lab.start")


def test_a_port_that_is_taken_is_told_with_the_way_out(shell, port):
    """Another program has the port: no tunnel, exit code 1; another port may be named."""
    assert shell("closelab").stdout == "the tunnel is closed\n"
    with socket.create_server(("127.0.0.1", port)):
        taken = shell("connectlab")
        assert (
            taken.returncode == 1
            and f"port {port} of this machine" in taken.stderr
            and "connectlab 9100" in taken.stderr
        )
        other = free_port()
        assert (
            shell(f"connectlab {other}").stdout
            == f"the tunnel is open: http://127.0.0.1:{other}/lab\n"
        )
        assert f":{other}/lab" in shell("connectlab").stdout


def test_closing_needs_no_host(fab_on, shell):
    """The host is frozen; the tunnel is gone all the same."""
    fab_on.box.pause()
    try:
        assert shell("closelab", timeout=20).stdout == "the tunnel is closed\n"
    finally:
        fab_on.box.resume()
    assert shell("closelab").stdout == "no tunnel was open\n"


def test_what_somebody_else_wrote_stays(fab_on, shell):
    """On either side it is named, and nothing is written anywhere."""
    assert (
        "remove" in fab_on("shortcuts.remove").ok().out
        and fab_on.box.run(f"ls {THERE} || true") == ""
    )
    assert list((fab_on.home / ".local/bin").iterdir()) == []
    mine = fab_on.home / ".local/bin/closelab"
    mine.write_text("mine")
    fab_on("shortcuts.install").fails("closelab exists and is not labfab's")
    assert mine.read_text() == "mine" and fab_on.box.run(f"ls {THERE} || true") == ""
    mine.unlink()
    fab_on.box.run(f"echo theirs >{THERE}")
    fab_on("shortcuts.install").fails("launchlab exists and is not labfab's")
    assert (
        fab_on.box.run(f"cat {THERE}") == "theirs"
        and list((fab_on.home / ".local/bin").iterdir()) == []
    )
    fab_on("shortcuts.remove").fails("not labfab's")
    fab_on.box.run(f"rm {THERE}")
    assert "there are no shortcuts here" in fab_on("shortcuts.remove").ok().out


def test_undo_takes_them_back(fab_on, shell):
    """launchlab goes with its stage, the laptop's with the alias; a login shell that does not know ~/.local/bin learns it."""
    fab_on.box.run("printf 'PATH=\"$HOME/jupyter-venv/bin:$PATH\"\\n' >/home/lab/.profile")
    profile = fab_on.box.run("sha256sum /home/lab/.profile")
    assert "let login shells look into ~/.local/bin" in fab_on("shortcuts.install").ok().out
    assert shell("callhome", typed="command -v launchlab\n").stdout.endswith(f"{THERE}\n")
    fab_on("setup.undo", "--yes", "--to", "shortcuts").ok()
    assert (
        fab_on.box.run(f"ls {THERE} || true") == ""
        and fab_on.box.run("sha256sum /home/lab/.profile") == profile
    )
    assert (fab_on.home / ".local/bin/callhome").exists()
    fab_on("setup.undo", "--yes").ok()
    assert list((fab_on.home / ".local/bin").iterdir()) == []
