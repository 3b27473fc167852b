"""What a neighbour on the network meets: sshd's algorithms, as a program of others judges them."""

from pathlib import Path

import pytest

from tests.rig import ssh_audit
from tests.rig.finished import PORT
from tests.rig.places import REPO

pytestmark = pytest.mark.host

VENV = {"LABFAB_PYTHON": "venv"}
DROP_IN = "/etc/ssh/sshd_config.d/00-labfab.conf"
SERVER = "/usr/sbin/sshd -T | grep -E '^(kexalgorithms|macs|ciphers|hostkeyalgorithms|login|maxa|persourcemaxs)'"
SAFETY = REPO / "docs" / "safety.md"


def fresh(host) -> None:
    """Forget the penalties of an address that connects often."""
    host.run("systemctl restart ssh 2>/dev/null || systemctl restart ssh.socket")
    host.wait_for_ssh_on(22, PORT)


@pytest.fixture(scope="module", params=["debian12", "debian13"])
def box(module_lab, request):
    return module_lab(request.param, f"algorithms-{request.param}", env=VENV)


@pytest.fixture(scope="module")
def mine(module_fab, tmp_path_factory) -> Path:
    """An ssh_config that logs in to no other host and reads nothing of this machine's."""
    return module_fab.home / ".ssh" / "config"


def test_ssh_audit_finds_no_failure_and_nothing_that_is_not_argued(box):
    """A warning about an algorithm is allowed if docs/safety.md names that algorithm."""
    fresh(box)
    found = ssh_audit.said(box.address, PORT)
    argued = SAFETY.read_text()
    assert found["fail"] == {}
    assert {name for name in found["warn"] if f"`{name}`" not in argued} == set(), found["warn"]
