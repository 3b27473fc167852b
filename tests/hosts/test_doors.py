"""Hosts that others have configured: which unit listens, which file decides, who else gets in."""

import re

import pytest

from labfab.local_state import keypair
from tests.rig import probes

pytestmark = pytest.mark.host

ACCESS = (
    *("keys.copy", "ssh.disable-passwords", "ssh.disable-root"),
    *("ssh.change-port", "ssh.harden"),
)
CONF = "/etc/ssh/sshd_config.d"
# Without the first, systemd refuses the sixth restart within ten seconds.
RESTART = "systemctl reset-failed ssh; systemctl restart ssh"
SHORT = {"LABFAB_CONNECT_TIMEOUT": "3"}
# As Debian's README says it.
BY_SOCKET = "systemctl disable --now ssh; systemctl enable --now ssh.socket"


@pytest.mark.parametrize("flavour", ["debian12", "debian13"])
def test_a_socket_of_systemd_listens_on_the_proven_port_after_a_boot_too(host, fab, flavour):
    box = host(flavour)
    if box.port != 22:
        pytest.skip("this engine shows the published ports only")
    box.run(BY_SOCKET)
    assert probes.takes_key(box.address, "root", 22, fab.home)  # from now on ssh.service runs too
    if flavour == "debian13":  # the port cannot be moved: everything is as before
        box.run("mkdir -p /etc/systemd/system/ssh.socket.d")
        late = "/etc/systemd/system/ssh.socket.d/zz.conf"
        box.run(f"printf '[Socket]\\nListenStream=2299\\n' >{late}; systemctl daemon-reload")
        fab.on(box, "ssh.change-port").fails(f"{late}:2", "ListenStream=2299", "delete that line")
        box.run(f"rm {late}; systemctl daemon-reload")
    else:  # nobody reaches the new port: the way back has to bring the socket back too
        block = "Match LocalPort 2299\\n  DenyUsers *\\n"
        box.run(f"printf '{block}' >{CONF}/99-shut.conf; {RESTART}")
        said = fab.on(box, "ssh.change-port", env=SHORT | {"LABFAB_SSH_PORT": "2299"}).fails(
            "could not move sshd to port 2299", "reverted everything"
        )
        assert "does not work" in said.text
        assert probes.takes_key(box.address, "root", 22, fab.home)
        assert box.run("systemctl is-active ssh.socket") == "active"
    fab.on(box, *ACCESS).ok()
    assert probes.answering(box.address, (22, 292)) == [292]
    assert "nothing to change" in fab("-H", "homelab", "ssh.change-port").ok().text
    assert "ssh.socket is enabled" in fab("-H", "homelab", "check.ssh").ok().text
    box.reboot(port=292)
    assert probes.answering(box.address, (22, 292)) == [292]
    assert probes.takes_key(box.address, "lab", 292, fab.home)
    # What an earlier version left: sshd's file says 292, the socket 22.
    box.run("rm /etc/systemd/system/ssh.socket.d/labfab.conf; systemctl daemon-reload")
    said = fab("-H", "homelab", "check.ssh").fails("ssh-boot").text
    assert "which a boot starts, on port 22" in said and "ssh.change-port" in said
    fab("-H", "homelab", "ssh.change-port").ok()
    fab("-H", "homelab", "check.ssh").ok()
    fab("-H", "homelab", "setup.undo", "--yes", "--force").ok()
    assert probes.answering(box.address, (22, 292)) == [22]
    box.reboot(port=22)
    assert probes.takes_key(box.address, "root", 22, fab.home)


# One account with a password alone, one with a key too, one that nobody logs in to.
COLLEAGUES = """
for name in alice bob; do useradd -m -s /bin/bash $name; echo $name:not-yours-7 | chpasswd; done
useradd -m -s /usr/sbin/nologin carol; echo carol:not-yours-7 | chpasswd
install -d -m 700 -o bob -g bob /home/bob/.ssh
install -m 600 -o bob -g bob /dev/stdin /home/bob/.ssh/authorized_keys
"""


@pytest.fixture(scope="module")
def shared(module_host):
    return module_host("debian13", "shared")


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> dict:
    """Key pairs of others, by name: path and public line."""
    folder = tmp_path_factory.mktemp("keys")
    paths = {
        name: keypair.generate(folder / name, comment=f"{name}@nas")
        for name in ("second", "third", "ended", "revoked", "backup", "bob")
    }
    return {name: (path, keypair.public_line(path)) for name, path in paths.items()}


def test_a_list_that_keeps_the_new_account_out_is_named_before_anything_changes(shared, module_fab):
    shared.run(f"echo 'AllowUsers root' >{CONF}/01-hard.conf; {RESTART}")
    for task in ("setup.plan", "setup.full", "keys.copy"):
        module_fab.on(shared, task).fails(
            f"AllowUsers in {CONF}/01-hard.conf:1 does not let lab in", "add lab to that line"
        )
    assert shared.run("id lab 2>&1 || echo none").endswith("none")
    shared.run(f"echo 'AllowGroups root' >{CONF}/01-hard.conf; {RESTART}")
    module_fab.on(shared, "keys.copy").fails("AllowGroups in", "does not let lab in")
    shared.run(f"rm {CONF}/01-hard.conf; {RESTART}")


def test_the_line_that_really_decides_is_named_before_anything_changes(shared, module_fab):
    before = shared.checksums()
    text = "PasswordAuthentication yes\nPermitRootLogin yes\n"
    shared.run(f"printf '{text}' >{CONF}/00-custom.conf; {RESTART}")
    for task in ("ssh.disable-passwords", "setup.full"):
        module_fab.on(shared, task).fails(
            f"{CONF}/00-custom.conf:1 says 'PasswordAuthentication yes'", "delete that line"
        )
    module_fab.on(shared, "ssh.disable-root").fails(
        f"{CONF}/00-custom.conf:2 says 'PermitRootLogin yes'", "delete that line"
    )
    block = "Match User root\n  PasswordAuthentication yes\n"
    shared.run(f"printf '{block}' >{CONF}/00-custom.conf; {RESTART}")
    module_fab.on(shared, "ssh.disable-passwords").fails(
        f"{CONF}/00-custom.conf:2", "in the block `Match User root`"
    )
    shared.run(f"rm {CONF}/00-custom.conf; {RESTART}")
    assert shared.checksums() == before


def test_who_would_be_shut_out_is_named_and_agreed_to(shared, module_fab, keys):
    """A colleague with a password alone; a backup that logs in as root with a forced command."""
    shared.run(COLLEAGUES, input=keys["bob"][1] + "\n")
    forced = f'restrict,command="/usr/bin/true" {keys["backup"][1]}'
    ended = f'expiry-time="20200101" {keys["ended"][1]}'
    shared.run("cat >>/root/.ssh/authorized_keys", input=f"{forced}\n{ended}\n")
    shared.run("install -m 600 /dev/stdin /root/.ssh/authorized_keys2", input=keys["second"][1])
    shared.run(
        "mkdir -p /etc/ssh/keys && cat >/etc/ssh/keys/root",
        input=f'from="*" {keys["third"][1]}\n{keys["revoked"][1]}\n',
    )
    shared.run("cat >/etc/ssh/gone", input=keys["revoked"][1] + "\n")
    files = ".ssh/authorized_keys .ssh/authorized_keys2 /etc/ssh/keys/%u"
    conf = f"GSSAPIAuthentication yes\nAuthorizedKeysFile {files}\nRevokedKeys /etc/ssh/gone\n"
    shared.run(f"cat >{CONF}/04-ours.conf && {RESTART}", input=conf)
    before = shared.checksums()
    planned = module_fab.on(shared, "setup.plan").text
    alice, backup = "alice logs in with a password", "backup@nas may run /usr/bin/true as root"
    assert f"this will end: {alice}" in planned and f"this will end: {backup}" in planned
    assert "accept: [passwords]" in planned and "accept: [forced-commands]" in planned
    assert "bob logs in" not in planned and "carol" not in planned and "as root" in planned
    module_fab.on(shared, "ssh.disable-passwords").fails(alice, "LABFAB_ACCEPT=passwords")
    module_fab.on(shared, "ssh.disable-root").fails(backup, "LABFAB_ACCEPT=forced-commands")
    module_fab.on(shared, "setup.full", env={"LABFAB_ACCEPT": "passwords"}).fails(backup)
    assert shared.checksums() == before

    agreed = {"LABFAB_ACCEPT": "passwords,forced-commands"}
    said = module_fab.on(shared, "ssh.disable-passwords", "ssh.disable-root", env=agreed).ok().text
    assert "a ticket of Kerberos logs in too" in said and f"{CONF}/04-ours.conf:1" in said
    for name, why in (("ended", "it has expired"), ("revoked", "it is revoked")):
        assert re.search(rf"not copied: {name}@nas in \S+: {why}", said), said
    again = module_fab("-H", "homelab", "ssh.disable-passwords", "ssh.disable-root").ok()
    assert "nothing to change" in again.text and "will end" not in again.text
    assert "password" not in probes.offered(shared.address, "alice", 22)
    # Last: sshd keeps those waiting whose keys it refuses (PerSourcePenalties).
    for name, opens in (
        *(("second", True), ("third", True)),
        *(("ended", False), ("revoked", False), ("backup", False)),
    ):
        assert probes.takes_key_file(shared.address, "lab", 22, keys[name][0]) is opens, name
    assert 'from="*"' in shared.run("cat /home/lab/.ssh/authorized_keys")


def test_a_match_block_for_a_port_blinds_nobody(host, fab):
    """sshd -T says nothing then unless it is asked for a port; and an address may have its own."""
    box = host("debian12")
    box.run(
        f"printf 'Match LocalPort 22\n  X11Forwarding no\n' >{CONF}/90-port.conf; "
        "sed -i 's/^#*PasswordAuthentication.*/PasswordAuthentication yes/' /etc/ssh/sshd_config; "
        f"{RESTART}"
    )
    assert "password" in probes.offered(box.address, "root", 22)
    fab.on(box, "ssh.disable-passwords").ok()
    assert probes.offered(box.address, "root", 22) == ["publickey"]
    listen = f"{CONF}/10-listen.conf"
    box.run(f"echo 'ListenAddress 0.0.0.0:2300' >{listen}; {RESTART}")
    fab(
        "-H",
        f"lab@{box.address}:2300",
        "firewall.enable",
        env={"LABFAB_HOST_KEY": box.host_key_fingerprint()},
    ).ok()
    assert "2300/tcp" in box.run("ufw status")
    fab("-H", f"lab@{box.address}:2300", "ssh.change-port").fails(
        f"{listen}:1 says 'ListenAddress 0.0.0.0:2300'", "delete that line", "ssh_port: 2300"
    )
    box.run(
        "ufw allow 2222/tcp; /usr/sbin/sshd -p 2222 -o PidFile=none -o ListenAddress=0.0.0.0:2222"
    )
    trust = {"LABFAB_HOST_KEY": box.host_key_fingerprint()}
    fab("-H", f"lab@{box.address}:2222", "ssh.disable-root", env=trust).fails(
        "came in on port 2222", "(2300)"
    )
    box.run(f"rm {listen}; echo 'Bogus yes' >{CONF}/99-bogus.conf")
    fab("-H", f"lab@{box.address}:2300", "ssh.disable-root").fails(
        "sshd does not tell its settings"
    )
