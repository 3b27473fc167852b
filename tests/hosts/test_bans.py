"""Hosts that take no more connections from an address that has asked too much."""

import pytest

from tests.rig import probes

pytestmark = pytest.mark.host

CONF = "/etc/ssh/sshd_config.d"
# Each connection that ends without a login costs five minutes, and so does each refused one.
PENALTIES = "PerSourcePenalties crash:300 authfail:300 noauth:300 min:1"
ACCESS = (
    *("keys.copy", "ssh.disable-passwords", "ssh.disable-root"),
    *("ssh.change-port", "ssh.harden"),
)


def test_no_question_of_a_stranger_comes_before_a_proof(host, fab):
    """All stages of SSH come through although one question would shut this laptop out."""
    box = host("debian13", "bans")
    box.run(f"echo '{PENALTIES}' >{CONF}/10-pen.conf; systemctl restart ssh")
    fab.on(box, *ACCESS).ok()
    assert probes.takes_key(box.address, "lab", box.next_port, fab.home)
    assert "nothing to change" in fab("-H", "homelab", *ACCESS).ok().text
    # Now a stranger asks from this address.
    assert probes.offered(box.address, "lab", box.next_port) == ["publickey"]
    fab("-H", "homelab", "ssh.harden", env={"LABFAB_CONNECT_TIMEOUT": "5"}).fails(
        "takes no more connections from here for now (fail2ban, PerSourcePenalties)"
    )
    box.run("systemctl restart ssh")  # the penalties are in its memory
    fab("-H", "homelab", "ssh.harden").ok()
