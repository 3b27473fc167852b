"""An account without rights wants sshd's port: it binds in a loop while sshd restarts."""

import time
from contextlib import contextmanager

import pytest

from labfab.settings import SSH_PORT
from tests.rig import probes

pytestmark = pytest.mark.host

ENV = {"LABFAB_PYTHON": "venv", "LABFAB_UPDATE": "false"}
# Says `got` once it holds the port, and then listens on it until it is ended.
TAKE = """
import socket, sys, time
while True:
    taken = socket.socket(socket.AF_INET6)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind(("::", int(sys.argv[1])))
        taken.listen()
        break
    except OSError:
        taken.close()
print("got", flush=True)
time.sleep(600)
"""
MAIN_PID = "systemctl show -P MainPID ssh"


@pytest.fixture(scope="module")
def box(module_lab):
    found = module_lab("debian12", "port", env=ENV)
    found.run("useradd -m mallory && cat >/home/mallory/take.py", input=TAKE)
    return found


@contextmanager
def mallory(box, port: int):
    """Let mallory try to take the port; yields whether it has."""
    box.run(
        f"runuser -u mallory -- python3 /home/mallory/take.py {port} >/run/mallory 2>&1 & "
        "echo $! >/run/mallory.pid; sleep 0.5"
    )
    try:
        yield lambda: box.run("cat /run/mallory").strip() == "got"
    finally:
        box.run("pkill -KILL -u mallory; true")


def until(question, seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while not (found := question()) and time.monotonic() < end:
        time.sleep(0.2)
    return bool(found)


def answers(box, port: int) -> bool:
    return probes.answering(box.address, [port]) == [port]


def test_the_default_port_cannot_be_taken(box, module_fab):
    """Restarts, a move and an sshd that is ended: mallory gets nothing, and sshd is there again."""
    with mallory(box, SSH_PORT) as has_it:
        for _ in range(3):
            box.run("systemctl restart ssh")
        box.run(f"kill -TERM $({MAIN_PID}); sleep 1.5")
        assert until(lambda: answers(box, SSH_PORT))
        module_fab("-H", "homelab", "ssh.change-port", "--port=300", env=ENV).ok()
        module_fab("-H", "homelab", "ssh.change-port", f"--port={SSH_PORT}", env=ENV).ok()
        assert not has_it() and answers(box, SSH_PORT)
    row = module_fab("-H", "homelab", "check.ssh", env=ENV).ok().out
    assert "only root can listen there" in row


@pytest.mark.parametrize("signal", ["TERM", "KILL"])
def test_sshd_comes_back_whoever_ended_it(box, signal):
    assert until(lambda: box.run(MAIN_PID) != "0")
    before = box.run(MAIN_PID)
    box.run(f"kill -{signal} $({MAIN_PID})")
    assert until(lambda: box.run(MAIN_PID) not in ("0", before) and answers(box, SSH_PORT))


def test_a_port_that_can_be_taken_is_named_and_sshd_gets_it_back(box, module_fab):
    """2222 is a choice: it is warned of, and sshd tries until mallory lets go."""
    run = module_fab("-H", "homelab", "ssh.change-port", "--port=2222", env=ENV).ok()
    assert "any account of the host can take port 2222" in run.err
    try:
        assert "any account of the host can take port 2222" in (
            module_fab("-H", "homelab", "check.ssh", env=ENV).ok().out
        )
        assert "nothing to change" in module_fab("-H", "homelab", "setup.full", env=ENV).ok().out
        with mallory(box, 2222) as has_it:
            box.run("systemctl stop ssh")
            assert until(has_it)
            box.run("systemctl start ssh; sleep 3; true")
            assert not box.run("ss -Hltnp 'sport = :2222'").count("sshd")
        assert until(lambda: box.run("ss -Hltnp 'sport = :2222'").count("sshd"))
    finally:
        module_fab("-H", "homelab", "ssh.change-port", f"--port={SSH_PORT}", env=ENV).ok()


def test_the_way_back_leaves_nothing_of_systemds_options(box, module_fab):
    """setup.undo of the stages after the key: the drop-in and its folder go, sshd stays."""
    module_fab("-H", "homelab", "setup.undo", "--yes", "--to", "ssh", env=ENV).ok()
    assert box.run("ls -d /etc/systemd/system/ssh.service.d 2>/dev/null || echo gone") == "gone"
    assert box.run("systemctl show -P Restart ssh") == "on-failure" and answers(box, 22)
