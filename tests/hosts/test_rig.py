"""The machines the tests stand on behave like machines."""

import subprocess

import pytest

pytestmark = pytest.mark.host


@pytest.fixture(scope="module")
def box(module_host, module_fab):
    return module_host("ubuntu-like", key=module_fab.key, password="pä'ss \"$x\\ ")


def ssh(fab, host, command: str, port: int | None = None) -> str:
    """Log in with the OpenSSH client and the home's key."""
    options = [
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "BatchMode=yes",
        "LogLevel=ERROR",
    ]
    words = [word for option in options for word in ("-o", option)]
    key = str(fab.home / ".ssh" / "id_ed25519")
    command = [
        "ssh",
        "-F",
        "none",
        *words,
        "-i",
        key,
        "-p",
        str(port or host.port),
        f"root@{host.address}",
        command,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=30).stdout.strip()


def test_key_lets_in_and_the_machine_is_bare(box, module_fab):
    assert ssh(module_fab, box, "whoami; command -v ufw tmux curl pip3") == "root"


def test_password_lets_in(box):
    import paramiko

    with paramiko.Transport((box.address, box.port)) as transport:
        transport.connect(username="root", password="pä'ss \"$x\\ ")
        assert transport.is_authenticated()


def test_reboot_is_one_and_changes_nothing(box):
    before, sums = box.boot_id(), box.checksums()
    box.reboot()
    assert box.boot_id() != before
    assert box.checksums() == sums
    box.run("touch /etc/changed")
    assert set(box.checksums().items()) ^ set(sums.items())


def test_power_cut_keeps_the_disk(box):
    box.run("echo here >/root/file && sync")
    box.kill_power()
    assert box.run("cat /root/file") == "here"


def test_attempts_to_leave_are_counted(box):
    box.cut_off()
    before = box.attempts_outside()
    assert box.run("cat /etc/hostname") and box.attempts_outside() == before
    box.run(
        "python3 -c 'import socket; socket.create_connection((\"198.51.100.7\", 80), 1)' 2>/dev/null || true"
    )
    assert box.attempts_outside() > before
    box.reconnect()
    assert "default" in box.run("ip route")


def test_ubuntu_moves_its_port_with_the_socket(box, module_fab):
    box.run("echo 'Port 292' >/etc/ssh/sshd_config.d/00-port.conf; systemctl daemon-reload")
    assert "ListenStream=0.0.0.0:292" in box.run(
        "cat /run/systemd/generator/ssh.socket.d/addresses.conf"
    )
    box.run("systemctl restart ssh.socket")
    box.wait_for_ssh(292)
    assert ":22 " not in box.run("ss -Hltn")
    box.run("echo nonsense >/etc/ssh/sshd_config.d/01-broken.conf; systemctl daemon-reload")
    assert "ssh.socket.d" not in box.run("ls /run/systemd/generator")


def test_root_of_a_cloud_image_sends_you_to_its_user(module_host, module_fab):
    cloud = module_host("debian12", "cloud", key=module_fab.key, user="debian")
    assert 'login as the user "debian" rather than' in ssh(module_fab, cloud, "true")
    assert cloud.run("su debian -c 'sudo -n id -u'") == "0"
