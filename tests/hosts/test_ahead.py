"""What begins ahead of its turn in a first run: it harms no change beside it, and what goes wrong with it is mended at its turn."""

import json
import os
import re
import signal
import subprocess
import threading

import pytest

from tests.rig import probes
from tests.rig.fab import BIN
from tests.rig.places import REPO

pytestmark = pytest.mark.host

ENV = {"LABFAB_PYTHON": "venv", "LABFAB_SUDO": "nopasswd"}
# From the window of the first change to sshd on, logins take longer than the host waits for a proof.
SLOW = """\
until [ -e /var/lib/labfab/guard/armed ] && [ -e /etc/ssh/sshd_config.d/00-labfab.conf ]; do sleep 0.02; done
echo sleep 20 >/etc/ssh/sshrc
"""
PACKAGES = "install curl, python3-pip-whl, tmux, ufw"
WHOLE = """\
dpkg --audit; dpkg-query -W -f '${db:Status-Status}\n' ufw tmux curl python3-pip-whl | grep -cx installed
cat /etc/ufw/ufw.conf /etc/default/ufw | wc -l
"""


def journal(fab, *way) -> list[dict]:
    """The host's journal."""
    return json.loads(fab(*way, "setup.journal", "--json").ok().out)["changes"]


def test_a_change_that_is_taken_back_leaves_alone_what_went_on_beside_it(fab, host):
    """ufw comes with its files while the guard takes back a change to sshd that no proof confirmed; the next run goes through."""
    box = host("debian12", "ahead")
    hand = threading.Thread(target=box.run, args=(SLOW,), daemon=True)
    hand.start()
    fab.on(box, "setup.full", env=ENV | {"LABFAB_REVERT_AFTER": "10"}).fails(
        "could not refuse passwords", "reverted everything"
    )
    hand.join(1)
    assert not hand.is_alive() and box.run("ls /etc/ssh/sshd_config.d") == ""
    audit, *settings = box.run(WHOLE).splitlines()
    assert audit == "4" and int(settings[0]) > 10, "a package is half there, or its files are gone"
    states = {row["why"]: row["state"] for row in journal(fab, "-H", f"root@{box.address}")}
    assert states["refuse passwords for every user"] == "undone" and states[PACKAGES] == "done"
    assert states["make the environment ~/jupyter-venv"] == "done"

    box.run("rm -f /etc/ssh/sshrc")  # the revert has done so
    run = fab.on(box, "setup.full", env=ENV).ok()
    assert (
        PACKAGES not in run.out
        and "make the environment" not in run.out
        and "start JupyterLab" in run.out
    )
    assert "nothing to change" in fab("-H", "homelab", "setup.full", env=ENV).ok().out


def test_the_order_of_the_stages_counts_and_not_that_of_the_clock(fab, host):
    """What comes after Python is taken back with it; what comes before it stays, though it was done later."""
    box = host("debian12", "order")
    fab.on(box, "setup.full", env=ENV).ok()
    rows = journal(fab, "-H", "homelab")
    stages = list(dict.fromkeys(row["stage"] for row in rows))
    assert stages == ["user", "keys", "ssh", "system", "firewall", "python", "jupyter", "lab"]
    when = {row["why"]: row["number"] for row in rows}
    assert when["make the environment ~/jupyter-venv"] < when["switch the firewall on"], (
        "it was not begun ahead"
    )

    fab("-H", "homelab", "setup.undo", "--yes", "--to", "python", env=ENV).ok()
    states = {row["why"]: row["state"] for row in journal(fab, "-H", "homelab")}
    assert states["make the environment ~/jupyter-venv"] == states["start JupyterLab"] == "undone"
    assert states["refuse passwords for every user"] == states["switch the firewall on"] == "done"
    assert probes.answering(box.address, [22, 292]) == [292]


def test_a_laptop_that_dies_meanwhile_leaves_nothing_half_done(fab, host):
    """Killed while apt and pip are at work: the next run waits for them, mends what they left and comes to the end."""
    box = host("debian12", "dies")
    env = fab.environment(
        {**ENV, "LABFAB_HOST_KEY": box.host_key_fingerprint(), "PYTHONUNBUFFERED": "1"}
    )
    command = [str(BIN / "fab"), "-H", f"root@{box.address}", "setup.full"]
    with subprocess.Popen(
        command, cwd=REPO, env=env, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        box.run("until pgrep -x dpkg && pgrep -f ' install .* uv'; do sleep 0.02; done", timeout=60)
        os.killpg(process.pid, signal.SIGKILL)
    fab.on(box, "setup.full", env=ENV).ok()
    assert box.run(WHOLE).splitlines()[0] == "4"
    assert "nothing to change" in fab("-H", "homelab", "setup.full", env=ENV).ok().out


def test_an_upgrade_and_a_reboot_come_between(fab, host):
    """SSH is hardened before them, the rest goes on over the new login, and JupyterLab is started once, by the new boot."""
    box = host("debian12", "between")
    box.run(
        r"sed -i '/^Package: hostname$/,/^$/s/^Version: .*/Version: 3.1/' /var/lib/dpkg/status; touch /run/reboot-required"
    )
    before, env = box.boot_id(), ENV | {"LABFAB_REBOOT": "true"}
    run = fab.on(box, "setup.full", env=env).ok()
    road = (
        "let sshd listen on port 292 only",
        "upgrade the system (1 package; upgraded: hostname)",
        "] reboot",
        "make the environment",
        "start JupyterLab",
    )
    places = [run.out.index(words) for words in road]
    assert (
        places == sorted(places)
        and run.out.count("start JupyterLab") == 1
        and box.boot_id() != before
    )
    assert "nothing to change" in fab("-H", "homelab", "setup.full", env=env).ok().out


def test_without_an_index_the_machine_is_safe_all_the_same(fab, host):
    """The stage tells it at its turn, when SSH and firewall are done; with an index again the rest follows."""
    box = host("debian12", "offline")
    dead = ENV | {"LABFAB_PACKAGE_INDEX": "https://127.0.0.1:9/simple"}
    run = fab.on(box, "setup.full", env=dead).fails("could not make the environment ~/jupyter-venv")
    assert re.search(r"Python, started early: could not make the environment", run.err)
    assert "switch the firewall on" in run.out and probes.answering(box.address, [22, 292]) == [292]
    assert "start JupyterLab" in fab("-H", "homelab", "setup.full", env=ENV).ok().out


def test_a_host_that_grants_one_session_is_set_up_one_after_the_other(fab, host):
    """No second shell, no work ahead, and no word about it."""
    box = host("debian12", "single")
    box.run("echo 'MaxSessions 1' >/etc/ssh/sshd_config.d/10-single.conf && systemctl reload ssh")
    run = fab.on(box, "setup.full", env=ENV).ok()
    assert "start JupyterLab" in run.out and "ahead" not in run.text and "beside" not in run.text
