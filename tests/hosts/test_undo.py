"""What setup.full did is taken back, all of it or down to a stage, whatever happened in between."""

import json
import os
import re
import signal
import subprocess

import pytest

from tests.rig.fab import BIN
from tests.rig.places import REPO
from tests.rig.snapshot import snapshot

pytestmark = pytest.mark.host

ENV = {"LABFAB_PYTHON": "venv", "LABFAB_UPDATE": "false"}
CONFIG = "/home/lab/.jupyter/jupyter_server_config.json"
MINE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ5tT1Ev0Sy0NbQ6Wc0jEFqhDxZfpxUuK4NnS4W1Kd0b somebody"


def undo(fab, host, *flags, **more):
    return fab.on(host, "setup.undo", "--yes", *flags, env=ENV | more)


def killed_after(fab, host, words: str) -> None:
    """Begin an undo and kill it the moment it says these words."""
    env = fab.environment({**ENV, "PYTHONUNBUFFERED": "1"})
    command = [str(BIN / "fab"), "-H", f"root@{host.address}", "setup.undo", "--yes"]
    with subprocess.Popen(
        command, cwd=REPO, env=env, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert any(words in line for line in process.stdout), f"it never said {words!r}"
        os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    "more",
    [{}, {"LABFAB_LAB_USER": "jupyter", "LABFAB_LISTEN": "socket"}],
    ids=["port", "socket of lab_user"],
)
def test_a_host_is_as_it_was_before(fab, host, more):
    """Fresh, setup.full, setup.undo: the same files, packages, accounts, units and ports, and a laptop that forgot it."""
    box = host("debian12", "undo")
    (fab.home / ".ssh" / "config").write_text("Host other\n    User me\n")
    before = snapshot(box)
    fab.on(box, "setup.full", env=ENV | more).ok()
    assert len(snapshot(box) ^ before) > 100  # it would have seen a difference
    assert "nothing to change" in fab.on(box, "setup.full", env=ENV | more).ok().out
    told = undo(fab, box, **more).ok().out
    assert re.search(r"\d\d changes undone", told)
    assert snapshot(box) == before
    assert (fab.home / ".ssh" / "config").read_text() == "Host other\n    User me\n"
    assert not list((fab.home / ".config").rglob("*password*"))
    assert "nothing to undo" in undo(fab, box, **more).ok().out
    assert snapshot(box) == before


def test_the_way_back_survives_everything_that_happened_meanwhile(fab, host):
    """Down to a stage; a file changed by hand; data in the home; a key of somebody else; killed twice; then to the end."""
    box = host("ubuntu-like", "undo")
    before = snapshot(box)
    fab.on(box, "setup.full", env=ENV).ok()

    assert "undone: start JupyterLab" in undo(fab, box, "--to", "lab").ok().out
    assert "JupyterLab does not run" in fab("-H", "homelab", "lab.status").ok().out
    states = {
        row["why"]: row["state"]
        for row in json.loads(fab("-H", "homelab", "setup.journal", "--json").ok().out)["changes"]
    }
    assert states["start JupyterLab"] == "undone" and states["refuse logins as root"] == "done"

    box.run(
        f"sed -i s/9999/9998/ {CONFIG}; echo result >/home/lab/notebooks/a.txt; echo '{MINE}' >>/home/lab/.ssh/authorized_keys"
    )
    kept = undo(fab, box, "--to", "jupyter").fails(f"{CONFIG} was changed by hand since", "1 stay")
    assert "notebooks stays: it is not empty" in kept.out
    assert "9998" in box.run(f"cat {CONFIG}")

    killed_after(fab, box, "undone: refuse logins as root")  # between the old way and its proof
    killed_after(fab, box, "undone: put ~/jupyter-venv/bin")
    undo(fab, box).fails("changed by hand since")
    undo(fab, box).ok()
    # An account is taken away with what is left in its home moved aside.
    after = snapshot(box)
    assert before - after == set() and after - before == {"/var/backups/labfab"}
    moved = box.run(
        "cd /var/backups/labfab/lab-*; cat notebooks/a.txt .ssh/authorized_keys; grep -c 9998 .jupyter/*.json"
    )
    assert moved.split("\n") == ["result", MINE, "1"]
    assert box.run("stat -c %a:%U /var/backups/labfab") == "700:root"


def test_nothing_is_undone_where_the_old_login_cannot_work(fab, host):
    """Somebody took the key out of root's account: that is known before anything is undone; with the key back it goes on."""
    box = host("debian13", "undo")
    before = snapshot(box)
    fab.on(box, "ssh.change-port", env=ENV).ok()
    fab.on(box, "ssh.disable-root", env=ENV).ok()
    box.run("mv /root/.ssh /root/away")
    undo(fab, box).fails("nothing was undone: root@", "has neither a key of yours nor a password")
    fab("-H", "homelab", "lab.status").ok()
    box.run("mv /root/away /root/.ssh")
    undo(fab, box).ok()
    assert snapshot(box) == before
