"""What a run costs on the line, counted on a machine that boots; and what it does when that line breaks.

Times are for `inv bench`: they differ from machine to machine, the number of round trips does not.
"""

import re
import subprocess
import sys
import threading
import time

import pytest

from tests.rig.places import REPO

pytestmark = pytest.mark.host

VENV = {"LABFAB_PYTHON": "venv", "LABFAB_SUDO": "nopasswd", "LABFAB_UPDATE": "false"}
WIRE = {"LABFAB_DEBUG": "wire"}
TOLD = re.compile(
    r"offered (\d+), channels opened (\d+), requests (\d+), frames waited for (\d+): (\d+) round trips after the login"
)
# Ends the sshd that serves a login of this account, as a router that forgets the connection would.
CUT = "pkill -KILL -f '^sshd: lab( |@|$)'"


def wire(run) -> tuple[int, ...]:
    """What LABFAB_DEBUG=wire tells: keys offered, channels, requests, frames, and the sum of the last three."""
    found = TOLD.search(run.err)
    assert found, run.text
    return tuple(map(int, found.groups()))


@pytest.fixture(scope="module")
def box(module_lab):
    """A host with everything on it."""
    return module_lab("debian12", "speed", env=VENV)


def test_a_run_without_changes_takes_three_round_trips_after_the_login(box, module_fab):
    """The first key is the right one, one shell is opened, and one answer tells everything."""
    run = module_fab("-H", "homelab", "setup.full", env=VENV | WIRE).ok()
    assert "nothing to change" in run.out
    keys, channels, requests, frames, all_of_them = wire(run)
    assert (keys, channels, requests) == (
        1,
        1,
        1,
    ) and all_of_them == channels + requests + frames <= 3
    assert "round trips" not in module_fab("-H", "homelab", "setup.full", env=VENV).ok().text


def test_a_password_for_sudo_is_one_round_trip_more(host, fab):
    """The way in that needs most: sudo asks, and the answer is waited for."""
    box = host("debian12", "asks", user="admin", nopasswd=False, password="it's one")
    run = fab.on(
        box,
        "setup.plan",
        user="admin",
        env=WIRE | {"LABFAB_LOGIN_PASSWORD": "it's one", "LABFAB_SUDO_PASSWORD": "it's one"},
    )
    assert run.rc == 2 and wire(run)[4] == 5  # the plan of a new host: its survey


def test_a_changed_option_is_one_frame_for_the_file_and_one_look(box, module_fab):
    """A setting changed, and changed back: the file in a round trip, then what is there, once."""
    for value in ("true", "false"):
        option = {"LABFAB_JUPYTER_OPTIONS": f'{{"ServerApp": {{"quit_button": {value}}}}}'}
        run = module_fab("-H", "homelab", "setup.full", env=VENV | WIRE | option)
        assert run.ok().out.count("write Jupyter's configuration") == 1
        assert wire(run)[4] <= 5
        assert f'"quit_button": {value}' in box.run(
            "cat /home/lab/.jupyter/jupyter_server_config.json"
        )


PROBE = """\
import sys
from fabric import Config, Connection
from labfab.facts import facts
from labfab.host.changes import change
from labfab.host.session import Host
from labfab.run.task import host_task

@host_task
def probe(c):
    facts(c).system
    print("read", flush=True)
    sys.stdin.readline()
    change(c, WHAT, why="mark it", undo=("rm -f %s", "/tmp/mark"))
    print("made", Host.of(c).c.transport.is_active(), flush=True)

WHAT = sys.argv[2]
probe(Connection(sys.argv[1], user="lab", port=292, config=Config(overrides={"lab": {"sudo": "nopasswd"}})))
"""


@pytest.fixture
def probe(box, module_fab):
    """Run a change on the host that waits, after the facts were read, for what is done to its line."""

    def run(what: str, meanwhile) -> tuple[int, str]:
        words = [sys.executable, "-c", PROBE, box.address, what]
        with subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=module_fab.home,
            env=module_fab.environment({"PYTHONPATH": str(REPO)}),
        ) as process:
            try:
                said = ""
                while "read\n" not in said and (line := process.stdout.readline()):
                    said += line
                meanwhile()
                said += process.communicate("\n", timeout=60)[0]
            finally:
                process.kill()
        return process.returncode, said

    box.run("rm -f /tmp/mark")
    return run


def test_a_line_that_breaks_between_looking_and_doing_is_dialed_once_more(box, probe):
    """Nothing was begun, so it is done over a new line, once."""
    code, said = probe("echo x >>/tmp/mark", lambda: box.run(CUT))
    assert (code, "made True" in said) == (0, True), said
    assert box.run("cat /tmp/mark") == "x"


def test_a_change_that_had_begun_is_not_made_again(box, probe):
    """The line breaks in its middle: it may have happened, so the run says so and stops."""

    def cut_later() -> None:
        threading.Thread(target=lambda: (time.sleep(1.5), box.run(CUT)), daemon=True).start()

    code, said = probe("echo x >>/tmp/mark; sleep 3", cut_later)
    assert code != 0 and "the connection broke" in said and "made" not in said, said
    assert box.run("cat /tmp/mark") == "x"


def test_what_another_run_did_meanwhile_is_not_overlooked(box, probe, module_fab):
    """Facts that were read before somebody else was at work decide nothing."""

    def another() -> None:
        box.run(CUT)
        module_fab("-H", "homelab", "user.add", env=VENV).ok()

    code, said = probe("echo x >>/tmp/mark", another)
    assert code != 0 and "the connection broke" in said, said
    assert box.run("test -e /tmp/mark || echo none") == "none"


KEEPALIVE = """\
import sys
from fabric import Connection
from labfab.host.connection import dial
from labfab.settings import Settings
c = Connection(sys.argv[1], user="lab", port=292)
dial(c, Settings())
print(c.transport.packetizer._Packetizer__keepalive_interval)
"""


def test_keepalives_are_on(box, module_fab):
    """A silent connection says a word now and then, so that no router forgets it."""
    done = subprocess.run(
        [sys.executable, "-c", KEEPALIVE, box.address],
        capture_output=True,
        text=True,
        cwd=module_fab.home,
        env=module_fab.environment({"PYTHONPATH": str(REPO)}),
    )
    assert done.stdout.strip() == "15", done.stderr
