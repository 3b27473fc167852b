"""What a neighbor on the network meets: sshd's algorithms, as a program of others judges them."""

import json
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from labfab.platforms import locks
from tests.rig import network, package_index, ssh_audit
from tests.rig.finished import PORT
from tests.rig.places import REPO
from tests.rig.wheels import collect

pytestmark = pytest.mark.host

VENV = {"LABFAB_PYTHON": "venv"}
DROP_IN = "/etc/ssh/sshd_config.d/00-labfab.conf"
THEIRS = "/etc/ssh/sshd_config.d/50-own.conf"
MACS = "/usr/sbin/sshd -T | grep '^macs '"
FORGET = f"sed -i -E '/^(Kex|HostKeyA|MACs|Ciphers|LoginG|PerSource|MaxS)/d' {DROP_IN}; systemctl reload ssh"
SAFETY = REPO / "docs" / "safety.md"
# A client that asks what it is called with, and writes it down.
FAIL2BAN = """\
mkdir -p /etc/fail2ban/jail.d
printf '[DEFAULT]\nenabled = false\nport = 0:65535\n\n[sshd]\nport    = ssh\n' >/etc/fail2ban/jail.conf
printf '[sshd]\nenabled = true\n' >/etc/fail2ban/jail.d/defaults-debian.conf
printf '#!/bin/sh\necho "$@" >>/run/fail2ban.called\n' >/usr/local/bin/fail2ban-client
chmod 755 /usr/local/bin/fail2ban-client
"""
JAIL = "/etc/fail2ban/jail.d/zz-labfab.local"


@pytest.fixture(scope="module")
def box(module_lab):
    return module_lab("debian12", "algorithms", env=VENV)


@pytest.fixture(scope="module")
def newer(module_lab):
    return module_lab("debian13", "algorithms13", env=VENV)


def ssh(fab, *options: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    """Log in with OpenSSH, as the alias says and with these options."""
    home = fab.home / ".ssh"
    own = ("-F", str(home / "config"), "-o", f"UserKnownHostsFile={home / 'known_hosts'}")
    return subprocess.run(
        ["ssh", *own, "-o", "BatchMode=yes", *options, "homelab", "true"],
        capture_output=True,
        text=True,
        timeout=60,
        env=dict(os.environ) | (env or {}),
        check=False,
    )


def test_ssh_audit_finds_nothing_that_is_not_argued(box):
    audited(box)


def audited(host) -> None:
    """No failure; a warning about an algorithm is allowed if docs/safety.md names that algorithm."""
    found = ssh_audit.said(host.address, PORT)
    argued = SAFETY.read_text()
    assert found["fail"] == {}
    assert {name for name in found["warn"] if f"`{name}`" not in argued} == set(), found["warn"]


@pytest.mark.parametrize(
    "option, refused",
    [
        ("KexAlgorithms=ecdh-sha2-nistp256", "key exchange"),
        ("HostKeyAlgorithms=ecdsa-sha2-nistp256", "host key type"),
        ("MACs=hmac-sha1", "MAC"),
        ("KexAlgorithms=curve25519-sha256", ""),
        ("MACs=hmac-sha2-256-etm@openssh.com", ""),
    ],
)
def test_openssh_meets_what_is_left(box, module_fab, option, refused):
    """Ciphers that need no MAC are left out, so that the MAC counts."""
    done = ssh(module_fab, "-o", option, "-o", "Ciphers=aes256-ctr")
    assert (done.returncode == 0) is (not refused), done.stderr
    assert not refused or f"no matching {refused}" in done.stderr


def test_an_agent_with_six_keys_still_gets_in(box, module_fab, tmp_path):
    """The right key comes last, as it may in an agent of many keys."""
    socket = tmp_path / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL)
    try:
        env = {"SSH_AUTH_SOCK": str(socket)}
        keys = [tmp_path / f"key{number}" for number in range(5)]
        for key in keys:
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        while not socket.exists():
            assert agent.poll() is None
        for key in [*keys, module_fab.home / ".ssh" / "id_ed25519"]:
            subprocess.run(["ssh-add", "-q", key], env=os.environ | env, check=True)
        own = (
            "-o",
            "IdentitiesOnly=no",
            "-o",
            "IdentityFile=none",
            "-o",
            f"IdentityAgent={socket}",
        )
        done = ssh(module_fab, *own, env=env)
        assert done.returncode == 0, done.stderr
    finally:
        agent.terminate()
        agent.wait(10)


def test_a_stranger_is_offered_what_check_ssh_says(box, module_fab):
    """It reads the server, not its files: what a restart would change is not seen, what runs is."""
    _, found = checked_ssh(module_fab)
    assert found == "ok"
    box.run(f"cp {DROP_IN} /run/kept; sed -i '1i MACs hmac-sha1' {DROP_IN}; systemctl reload ssh")
    try:
        box.wait_for_ssh(PORT)
        detail, found = checked_ssh(module_fab)
        assert found == "fail" and "hmac-sha1" in detail
    finally:
        box.run(f"cat /run/kept >{DROP_IN}; systemctl reload ssh")


def checked_ssh(fab) -> tuple[str, str]:
    done = fab("-H", "homelab", "check.ssh", "--json", env=VENV)
    (row,) = [one for one in json.loads(done.out)["checks"] if one["id"] == "ssh-algorithms"]
    return row["detail"], row["state"]


def test_a_stricter_list_of_the_owner_is_not_widened(box, module_fab):
    """The owner's file allows one MAC; a line of ours before it must not bring others back."""
    before = box.run(f"cat {DROP_IN}")
    box.run(f"{FORGET}; printf 'MACs hmac-sha2-512-etm@openssh.com,hmac-sha2-512\n' >{THEIRS}")
    try:
        module_fab("-H", "homelab", "ssh.harden", env=VENV).ok()
        assert box.run(MACS).split()[1] == "hmac-sha2-512-etm@openssh.com"
        assert "nothing to change" in module_fab("-H", "homelab", "ssh.harden", env=VENV).ok().text
    finally:
        box.run(f"rm {THEIRS}; {FORGET}")
    module_fab("-H", "homelab", "ssh.harden", env=VENV).ok()
    assert box.run(f"cat {DROP_IN}") == before


def test_fail2bans_jail_follows_the_port_and_goes_again(box, module_fab):
    """The jail of a real Debian names `ssh`, port 22, so a ban would close nothing."""
    before = box.run(f"cat {DROP_IN}")
    box.run(FAIL2BAN)
    try:
        done = module_fab("-H", "homelab", "ssh.change-port", env=VENV).ok()
        assert "let fail2ban close port 292" in done.text
        assert box.run(f"grep -c '^port = 292$' {JAIL}") == "1"
        assert box.run("tail -n 1 /run/fail2ban.called") == "reload sshd"
        module_fab("-H", "homelab", "ssh.change-port", env=VENV).ok()
        assert box.run("grep -c reload /run/fail2ban.called") == "1"
    finally:
        box.run("rm -rf /etc/fail2ban /usr/local/bin/fail2ban-client")
    assert box.run(f"cat {DROP_IN}") == before


def test_one_address_cannot_hold_all_places(box, module_fab):
    """An account of the host opens logins and never finishes them; yours gets in at once."""
    hold = "import socket,time; a=[socket.create_connection(('127.0.0.1',%d)) for _ in range(120)]; time.sleep(60)"
    box.run("useradd -m mallory 2>/dev/null; true")
    box.run(f'setsid runuser -u mallory -- python3 -c "{hold % PORT}" >/dev/null 2>&1 &')
    try:
        for _ in range(5):
            done = ssh(module_fab, "-o", "ControlPath=none")
            assert done.returncode == 0, done.stderr
    finally:
        box.run("pkill -KILL -u mallory; true")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory) -> Path:
    """An index with all that a venv gets."""
    folder = tmp_path_factory.mktemp("index")
    package_index.fill(folder, collect("3.11"))
    return folder


@pytest.mark.parametrize("name", ["jupyterlab", "uv"])
def test_a_wheel_that_was_changed_on_the_way_is_never_installed(box, module_fab, wheels, name):
    """A neighbor or a mirror gives the right version with one more file in it, which Python would run."""
    (wheel,) = (wheels / "simple" / name).glob(f"{name}-{locks.version(name)}-*.whl")
    honest = wheel.resolve()
    wheel.unlink()
    shutil.copy(honest, wheel)
    with zipfile.ZipFile(wheel, "a") as inside:
        inside.writestr("evil.pth", "import os; os.system('touch /tmp/evil')\n")
    box.run("rm -rf /tmp/evil; mv /home/lab/jupyter-venv /home/lab/kept")
    try:
        here = str(next(network.ensure(box.engine).hosts()))
        with package_index.served(wheels, here) as url:
            index = {"LABFAB_PACKAGE_INDEX": url, "LABFAB_ACCEPT_HTTP_INDEX": "true"}
            done = module_fab("-H", "homelab", "python.install", env=VENV | index)
        done.fails("homelab: could not", "does not have the SHA-256 of labfab's lock")
        assert box.run("ls -d /tmp/evil 2>/dev/null; find /home/lab -name evil.pth") == ""
    finally:
        box.run("rm -rf /home/lab/jupyter-venv; mv /home/lab/kept /home/lab/jupyter-venv")
        box.run("rm -f /home/lab/.cache/labfab/jupyter-venv.*")
        wheel.unlink()
        wheel.symlink_to(honest)


# What a company may set for all of its machines. None of it is our programs' business.
COMPANY = """
cat >/usr/local/share/ca-certificates/company.crt; update-ca-certificates >/dev/null 2>&1
cp /etc/environment /root/environment; mkdir /root/aside
for file in /etc/pip.conf /etc/uv/uv.toml; do [ ! -e $file ] || mv $file /root/aside/; done
printf 'http_proxy=http://192.0.2.1:3128\nno_proxy=%s\n' ADDRESS >>/etc/environment
printf 'JUPYTER_CONFIG_DIR=/nowhere\nPYTHONPATH=/nowhere\n' >>/etc/environment
"""
NO_COMPANY = """
rm /usr/local/share/ca-certificates/company.crt; update-ca-certificates --fresh >/dev/null 2>&1
cp /root/environment /etc/environment
[ ! -e /root/aside/pip.conf ] || mv /root/aside/pip.conf /etc/
[ ! -e /root/aside/uv.toml ] || mv /root/aside/uv.toml /etc/uv/
"""


def test_a_company_may_have_roots_proxies_and_variables(box, module_fab, wheels, tmp_path):
    """Whom the system trusts, uv trusts; loopback needs no proxy."""
    here = str(next(network.ensure(box.engine).hosts()))
    certificate = package_index.certificate(tmp_path, here)
    box.run(COMPANY.replace("ADDRESS", here), input=(tmp_path / "root.crt").read_text())
    box.run("rm -rf /home/lab/jupyter-venv")
    try:
        with package_index.served(wheels, here, certificate) as url:
            index = VENV | {"LABFAB_PACKAGE_INDEX": url}
            module_fab("-H", "homelab", "python.install", env=index).ok()
        module_fab("-H", "homelab", "lab.restart", "--yes", env=VENV).ok()
        module_fab("-H", "homelab", "check.lab", env=VENV).ok()
    finally:
        box.run(NO_COMPANY)


def test_the_newer_sshd_too(newer):
    """The last test, for the alias homelab leads to this host from here on."""
    audited(newer)
