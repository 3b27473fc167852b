"""A tunnel that lives: kept by systemd on a laptop that boots, through a dead line, a killed connection and the host's reboot."""

import re
import shlex
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.rig import wheels
from tests.rig.host import Host

pytestmark = pytest.mark.host

ENV = {"LABFAB_PYTHON": "venv", "LABFAB_UPDATE": "false", "LABFAB_CONNECT_TIMEOUT": "5"}
DEAD = 120  # seconds without a packet
INSTALL = """\
set -e
export DEBIAN_FRONTEND=noninteractive
(apt-get -qq update && apt-get -qq install -y --no-install-recommends python3-venv openssh-client) >/dev/null 2>&1
useradd -m -s /bin/bash me && loginctl enable-linger me
python3 -m venv /opt/labfab && /opt/labfab/bin/pip install -q --disable-pip-version-check %s
echo 'from labfab import ns' >/home/me/fabfile.py
runuser -u me -- sh -c 'umask 077; mkdir ~/.ssh; ssh-keygen -q -t ed25519 -N "" -f ~/.ssh/id_ed25519'
cat /home/me/.ssh/id_ed25519.pub
"""
API = "import json, urllib.request as u; print(json.load(u.urlopen('%sapi', timeout=5))['version'])"


class Laptop:
    """A machine of its own with labfab and an account that is logged in."""

    def __init__(self, machine: Host, wheel: Path, trusted: str):
        self.machine, self.env = machine, ENV | {"LABFAB_HOST_KEY": trusted}
        machine.engine.run("cp", str(wheel), f"{machine.id}:/opt/")
        self.key = machine.run(INSTALL % f"/opt/{wheel.name}", timeout=300)

    def run(self, command: str, **env: str) -> str:
        """Run a command as the laptop's owner; it gives both outputs and must not be refused by the engine."""
        given = " ".join(f"{name}={shlex.quote(value)}" for name, value in (self.env | env).items())
        inner = f"cd ~; export XDG_RUNTIME_DIR=/run/user/$(id -u) PATH=/opt/labfab/bin:$PATH {given}; {command}"
        return self.machine.run(
            f"runuser -l me -c {shlex.quote(f'({inner}) 2>&1; echo ended with $?')}", timeout=120
        )

    def ok(self, command: str, **env: str) -> str:
        said, _, code = self.run(command, **env).rpartition("ended with ")
        assert code.strip() == "0", f"{command}: {said}"
        return said

    def fails(self, command: str, **env: str) -> str:
        said, _, code = self.run(command, **env).rpartition("ended with ")
        assert code.strip() != "0" and "Traceback" not in said, f"{command}: {said}"
        return said.strip()

    @property
    def pid(self) -> str:
        return self.ok("systemctl --user show -p MainPID --value labfab-homelab").strip()

    def answers(self, url: str) -> bool:
        return self.run(f"python3 -c {shlex.quote(API % url)}").strip().endswith("ended with 0")

    def comes_back(self, url: str, before: str, seconds: float) -> None:
        """Wait until the same address answers by another ssh."""
        end = time.monotonic() + seconds
        while not (self.pid not in ("0", before) and self.answers(url)):
            assert time.monotonic() < end, self.run(
                "cat ~/.config/labfab/homelab/tunnel.log; systemctl --user status labfab-homelab"
            )
            time.sleep(1)


@pytest.fixture(scope="module")
def both(module_host, module_lab, module_fab, tmp_path_factory) -> tuple[Host, Laptop]:
    """Boot a lab while labfab is installed on a laptop, and let the laptop's key in."""
    machine, host = module_host("debian12", "laptop"), module_lab("debian12", "kept", env=ENV)
    with ThreadPoolExecutor(1) as aside:
        installing = aside.submit(
            Laptop,
            machine,
            wheels.build(tmp_path_factory.mktemp("wheel")),
            host.host_key_fingerprint(),
        )
        module_fab(
            "-H", "homelab", "lab.service", env=ENV
        ).ok()  # so that JupyterLab too is there after a reboot
        laptop = installing.result()
    module_fab("-H", "homelab", "keys.copy", env=ENV | {"LABFAB_PUBLIC_KEYS": laptop.key}).ok()
    assert "no browser can be opened here" in laptop.ok(f"fab -H lab@{host.address}:292 lab.open")
    return host, laptop


@pytest.fixture(scope="module")
def host(both) -> Host:
    return both[0]


@pytest.fixture(scope="module")
def laptop(both) -> Laptop:
    return both[1]


@pytest.fixture(scope="module")
def url(laptop) -> str:
    """Keep the tunnel; its address from now on."""
    said = laptop.ok("fab tunnel.keep")
    assert "the tunnel is kept by systemd" in said
    return re.search(r"http://127\.0\.0\.1:\d+/", said).group()


def test_what_is_kept_is_known_to_the_other_tasks(laptop, url):
    """Seen, used again, never doubled; the unit holds no secret."""
    assert laptop.answers(url) and "kept by systemd" in laptop.ok("fab tunnel.status")
    assert "is kept already" in laptop.ok("fab tunnel.keep")
    assert f"is open already: {url}lab" in laptop.ok("fab tunnel.open")
    assert laptop.ok("fab lab.url").strip() == f"{url}lab"
    assert len(laptop.ok("pgrep -x ssh").split()) == 1
    token = laptop.ok("cat ~/.config/labfab/homelab/jupyter-token").strip()
    assert token not in laptop.ok("cat ~/.config/systemd/user/labfab-homelab.service")


def test_closed_it_comes_back_when_asked(laptop, url):
    """tunnel.close stops it and tells of tunnel.forget; tunnel.open starts the kept one."""
    assert "tunnel.forget" in laptop.ok("fab tunnel.close") and not laptop.answers(url)
    assert "not open" in laptop.ok("fab tunnel.status")
    assert url in laptop.ok("fab tunnel.open") and laptop.answers(url)
    assert "kept by systemd" in laptop.ok("fab tunnel.status")


def test_it_survives_a_killed_connection(host, laptop, url):
    """By the kernel where it can (ss -K), else by the end of the host's sshd."""
    before = laptop.pid
    laptop.machine.run(f"ss -K dst {host.address} dport = 292 2>/dev/null || true")
    time.sleep(1)
    if laptop.pid == before:
        host.run("pkill -KILL -f '^sshd: lab( |@|$)'")
    laptop.comes_back(url, before, 30)


def test_it_survives_the_reboot_of_the_host(host, laptop, url):
    before = laptop.pid
    host.reboot(port=host.next_port)
    laptop.comes_back(url, before, 60)


def test_it_survives_a_line_that_drops_everything(host, laptop, url):
    """Neither side hears of it; ssh finds out by itself."""
    before, laptops = laptop.pid, laptop.machine.address
    host.run(f"iptables -I INPUT -s {laptops} -j DROP; iptables -I OUTPUT -d {laptops} -j DROP")
    try:
        time.sleep(DEAD)
        assert not laptop.answers(url)
    finally:
        host.run(f"iptables -D INPUT -s {laptops} -j DROP; iptables -D OUTPUT -d {laptops} -j DROP")
    laptop.comes_back(url, before, 30)


def test_forgotten_it_is_gone_with_the_host_down_too(host, laptop, url):
    host.pause()
    try:
        assert "no longer kept" in laptop.ok("fab tunnel.forget")
        assert "no tunnel was kept" in laptop.ok("fab tunnel.forget")
    finally:
        host.resume()
    assert "labfab" not in laptop.ok(
        "ls -R ~/.config/systemd; systemctl --user list-units --all --no-pager"
    )
    assert not laptop.answers(url)


def test_a_key_with_a_passphrase_needs_an_agent_that_systemd_knows(laptop):
    """Found out by trying; nothing stays behind, and with the agent it is kept."""
    laptop.ok("ssh-keygen -q -p -P '' -N long-enough -f ~/.ssh/id_ed25519")
    said = laptop.fails("fab tunnel.keep")
    assert "has a passphrase" in said and "ssh-add" in said and "import-environment" in said
    assert "labfab" not in laptop.ok("ls -R ~/.config/systemd")
    laptop.ok(
        "ssh-agent -a ~/agent >/dev/null; export SSH_AUTH_SOCK=$HOME/agent; printf '#!/bin/sh\\necho long-enough' >ask; chmod +x ask; "
        "SSH_ASKPASS=$HOME/ask SSH_ASKPASS_REQUIRE=force ssh-add -q ~/.ssh/id_ed25519; systemctl --user import-environment SSH_AUTH_SOCK"
    )
    assert "is kept by systemd" in laptop.ok("fab tunnel.keep")


def test_without_systemd_for_users_it_says_so(laptop):
    """A container, WSL 1, another init: one line, and the way that works."""
    said = laptop.fails(
        "fab tunnel.keep",
        XDG_RUNTIME_DIR="/nonexistent",
        DBUS_SESSION_BUS_ADDRESS="unix:path=/nonexistent",
    )
    assert "user services" in said and "tunnel.open" in said and "\n" not in said
