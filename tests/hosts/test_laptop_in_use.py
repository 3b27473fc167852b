"""A laptop whose ssh is configured for more than labfab: the whole way from a bare host to JupyterLab and back."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.rig import Host
from tests.rig.fab import Fab
from tests.rig.relay import RELAY

pytestmark = pytest.mark.host

ENV = {"LABFAB_PYTHON": "venv", "LABFAB_UPDATE": "false"}
CONFIG = """\
Include config.d/*
Match final all
    ForwardX11Trusted yes
Host *
    IdentityFile ~/.ssh/id_work  # was at the last job
    IdentityFile {home}/.ssh/id_ed25519
    UserKnownHostsFile /dev/null
    StrictHostKeyChecking no
    LocalForward 127.0.0.1:{taken} localhost:8888
    ExitOnForwardFailure yes
    PermitLocalCommand yes
    LocalCommand touch {home}/ran
    ControlMaster auto
    ControlPath {home}/.ssh/shared-%C
    RequestTTY force
"""
VPS = """\
Host vps
    HostName box.internal
    User root
    HostKeyAlias the-vps
    ProxyCommand {relay} {address} %p 2>/dev/null
"""


@dataclass
class Laptop:
    """A home, and a host that only its ProxyCommand reaches."""

    fab: Fab
    host: Host

    def ssh(self, *words: str) -> str:
        """Type ssh, as the user would, but leave no trace."""
        argv = ["ssh", "-F", self.fab.home / ".ssh/config"]
        for option in ("ClearAllForwardings=yes", "PermitLocalCommand=no", "ControlPath=none"):
            argv += ["-o", option]
        return subprocess.run(
            [*argv, *words], check=True, capture_output=True, text=True, timeout=30
        ).stdout


@pytest.fixture(scope="module")
def laptop(module_fab: Fab, module_host) -> Laptop:
    host, home = module_host("debian12"), module_fab.home
    relay = home / "relay.py"
    relay.write_text(RELAY)
    (home / ".ssh/config.d").mkdir(mode=0o700)
    (home / ".ssh/config").write_text(CONFIG.format(home=home, taken=host.port))
    (home / ".ssh/config.d/hosts").write_text(
        VPS.format(relay=f"{sys.executable} {relay}", address=host.address)
    )
    certify(home)
    return Laptop(module_fab, host)


def certify(home: Path) -> None:
    """Put a certificate beside the key, which has ended."""
    authority, key = home / "ca", home / ".ssh/id_ed25519.pub"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", authority], check=True)
    words = ["-q", "-s", authority, "-I", "me", "-n", "root", "-V", "-2d:-1d"]
    subprocess.run(["ssh-keygen", *words, key], check=True)


def test_a_host_of_the_user_s_own_stops_the_first_run(laptop):
    """In whichever file it is: before anything is changed on the host."""
    mine = laptop.fab.home / ".ssh/config.d/mine"
    mine.write_text("Host homelab\n    HostName 198.51.100.9\n")
    trusted = {"LABFAB_HOST_KEY": laptop.host.host_key_fingerprint()}
    said = laptop.fab("-H", "vps", "setup.full", env=ENV | trusted)
    said.fails("config.d/mine has a Host homelab of your own", "alias")
    assert laptop.host.run("getent passwd lab || true") == ""
    mine.unlink()


def test_a_fixed_port_in_the_proxy_command_stops_the_first_run(laptop):
    """A login through it would prove nothing about the port that sshd moves to."""
    place = laptop.fab.home / ".ssh/config.d/hosts"
    text = place.read_text()
    place.write_text(text.replace("%p", str(laptop.host.port)))
    laptop.fab("-H", "vps", "setup.full", env=ENV).fails("does not say %p", "ssh_port")
    assert laptop.host.run("getent passwd lab || true") == ""
    place.write_text(text)


def test_from_a_bare_host_to_a_tunnel(laptop):
    """By the way that the configuration names, and without the forwards and commands in it."""
    laptop.fab("-H", "vps", "setup.full", env=ENV).ok()
    assert laptop.ssh("homelab", "id -un").strip() == "lab"
    found = laptop.ssh("-G", "homelab").splitlines()
    assert "hostkeyalias the-vps" in found and "hostname box.internal" in found
    assert laptop.fab("-H", "homelab", "tunnel.status", env=ENV).ok().out.count("answers") == 1
    laptop.fab("-H", "homelab", "tunnel.close", "tunnel.open", env=ENV).ok()
    assert not (laptop.fab.home / "ran").exists()


def test_the_first_command_line_still_leads_there(laptop):
    """And changes nothing, nor does the alias; the checks are content."""
    for name in ("vps", "homelab"):
        said = laptop.fab("-H", name, "setup.full", env=ENV).ok()
        assert "nothing to change" in said.out, said.out
    laptop.fab("-H", "homelab", "check.ssh", env=ENV).ok()


def test_files_go_the_same_way(laptop):
    """Through rsync's ssh."""
    (laptop.fab.home / "note.txt").write_text("hello")
    words = ("files.push", str(laptop.fab.home / "note.txt"), "--yes")
    laptop.fab("-H", "homelab", *words, env=ENV).ok()
    assert not (laptop.fab.home / "ran").exists()
    assert not list((laptop.fab.home / ".ssh").glob("shared-*"))
