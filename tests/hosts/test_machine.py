"""A lab on a machine with a kernel, a packet filter, a boot and a power cord of its own.

One story, told in order, because each step takes many times what it takes in a container.
"""

import re
import signal
import time
from dataclasses import dataclass

import pytest

from tests.hosts.test_guard import LEFT, Attempt
from tests.rig import package_index, probes
from tests.rig.fab import Fab
from tests.rig.snapshot import snapshot
from tests.rig.virtual_machine import VirtualMachine

pytestmark = [pytest.mark.host, pytest.mark.machine]

PORT, NEXT = 292, 293
BIG = ("home/lab/jupyter-venv", "home/lab/.cache")  # a minute to read in emulation
# No login over a new port ends before the power does.
SSHRC = f"if grep -q {NEXT} /etc/ssh/sshd_config.d/00-labfab.conf; then sleep 120; fi\n"
# Somebody serves everybody, so that a closed port is the firewall's doing.
SERVICE = """\
[Service]
ExecStart=/usr/bin/python3 -m http.server --bind 0.0.0.0 8765
[Install]
WantedBy=multi-user.target
"""
# pip asks no index over plain HTTP that is not named so.
TRUST = """\
[ -e /etc/pip.conf ] || echo '[global]' >/etc/pip.conf
sed -i '/^\\[global\\]/a trusted-host = %s' /etc/pip.conf
"""
# In the middle of the window: its first change is made, its login not proven.
MIDDLE = f"[ -e /var/lib/labfab/guard/armed ] && ss -Hltn | grep -q ':{NEXT} '"
# What a JupyterLab that runs, or ran, leaves in its home, and what is gone with the power.
PASSING = re.compile(
    r"/\.local/share/jupyter/|/\.ipython/|/\.cache/|^(active|listens) |^/tmp/tmux|/\.bash_history$"
)


@dataclass
class Lab:
    """The machine, the laptop and what is the same for all commands."""

    box: VirtualMachine
    fab: Fab
    env: dict[str, str]

    def first(self, *words: str, **options):
        """Type the command line of the first day."""
        return self.fab.on(self.box, *words, env=self.env, timeout=900, **options)

    def later(self, *words: str, **options):
        """Type a command with the name that the host has now."""
        return self.fab("-H", "homelab", *words, env=self.env, timeout=600, **options)

    def kept(self) -> set[str]:
        """Look at what a power cut must not change."""
        look = snapshot(self.box, by_size=BIG)
        return {line for line in look if not PASSING.search(line)}


@pytest.fixture(scope="module")
def lab(module_machine, module_fab, tmp_path_factory):
    """The bare machine, and an index near it with what setup.full installs."""
    folder, here = tmp_path_factory.mktemp("index"), module_machine.tap.here
    package_index.fill(folder, module_machine.wheels)
    module_machine.run(TRUST % here)
    module_machine.run("cat >/etc/systemd/system/open.service", input=SERVICE)
    module_machine.run("systemctl enable --now open.service; cat >/etc/ssh/sshrc", input=SSHRC)
    with package_index.served(folder, here) as url:
        env = {"PYTHON": "venv", "UPDATE": "false", "PACKAGE_INDEX": url}
        env |= {"ACCEPT_HTTP_INDEX": "true", "LOCKED": "false"}  # the wheels were compiled anew
        env |= {"REVERT_AFTER": "300", "CONNECT_TIMEOUT": "60"}
        yield Lab(module_machine, module_fab, {f"LABFAB_{key}": env[key] for key in env})


@pytest.fixture
def told(capfd):
    """Tell how long each step took, seen with -s and where a test fails."""
    began = time.monotonic()

    def tell(text: str) -> None:
        with capfd.disabled():
            print(f"\n  machine: {text} ({time.monotonic() - began:.0f} s)", flush=True)

    return tell


def test_a_lab_outlives_a_power_cut_and_can_be_undone(lab, told):
    told(f"runs on {lab.box.accelerator}")
    bare = snapshot(lab.box)
    told("bare")
    said = lab.first("setup.full").ok().out
    told("set up")
    print(said)
    assert probes.answering(lab.box.address, (22, PORT, NEXT, 8765, 9999)) == [PORT]
    before, boot = lab.kept(), lab.box.boot_id()
    assert len(before - bare) > 30  # it sees what setup did
    told("looked at")

    attempt = Attempt(
        lab.fab, lab.box, ("ssh.change-port",), "lab", lab.env | {"LABFAB_SSH_PORT": str(NEXT)}
    )
    lab.box.run(f"until {MIDDLE}; do sleep 0.1; done")
    told("in the window")
    lab.box.cut_power()
    attempt.signal(signal.SIGKILL)
    attempt.end()
    lab.box.switch_on(PORT)
    told("booted again")
    until_settled(lab.box)
    assert lab.box.boot_id() != boot
    assert lab.kept() == before
    told("looked at")
    assert probes.answering(lab.box.address, (22, PORT, NEXT, 8765, 9999)) == [PORT]

    lab.later("setup.full", "check.lab").ok()
    told("computes again")

    assert re.search(r"\d\d changes undone", lab.later("setup.undo", "--yes").ok().out)
    told("undone")
    # A kernel has computed: what IPython keeps of it is the account's, and so is its home.
    assert snapshot(lab.box) ^ bare == {"/var/backups/labfab"}
    told("looked at")


def until_settled(box: VirtualMachine) -> None:
    """Wait until the boot is over and nothing is left of the window."""
    box.run("systemctl is-system-running --wait >/dev/null || true")
    end = time.monotonic() + 60
    while left := box.run(LEFT):
        assert time.monotonic() < end, left
        time.sleep(1)
