"""A host that an older labfab has set up is at home here too: little to change, and the way back works."""

import re
import tarfile
from pathlib import Path

import pytest

from tests.rig.places import REPO
from tests.rig.snapshot import snapshot

pytestmark = pytest.mark.host

ENV = {"LABFAB_PYTHON": "venv", "LABFAB_UPDATE": "false"}
# What this version does better, and nothing else: all of it makes the host safer.
SAFER = "|".join(
    (
        r"close \S+ to other accounts",
        r"give strangers less time and fewer connections to try a login",
        r"stop offering \S.*",
        r"reload sshd",
        r"limit how often JupyterLab's login page can be tried",
        r"write Jupyter's configuration",
        r"write Apache's site for JupyterLab",
        r"serve JupyterLab through Apache",
        r"let systemd start sshd again whenever it ends",
        r"make a folder for systemd's options of sshd",
        r"reload systemd",
        # The alias leads to the account without sudo.
        r"make /home/jupyter/.ssh private",
        r"let your key log in as jupyter",
    )
)
# labfab as it was before it had rooms: its journal, its settings and its files.
OLDER = REPO / "tests/rig/older_version.tar.xz"


@pytest.fixture
def older(tmp_path) -> Path:
    """A checkout of the older version."""
    with tarfile.open(OLDER) as archive:
        archive.extractall(tmp_path / "older", filter="data")
    return tmp_path / "older"


@pytest.mark.parametrize(
    ("flavour", "more"),
    [("debian12", {"LABFAB_LAB_USER": "jupyter"}), ("ubuntu-like", {"LABFAB_PUBLISH": "apache"})],
)
def test_a_host_of_an_older_version_is_known_and_undone(fab, host, older, flavour, more):
    """Set up by the older version; this one only makes it safer, once, and takes it all back."""
    box, env = host(flavour, "older"), ENV | more
    if "LABFAB_PUBLISH" in more:
        env = env | {"LABFAB_NAMES": "lab.home.arpa"}
    before = snapshot(box)
    fab.on(box, "setup.full", env=env, cwd=older).ok()
    assert len(snapshot(box) ^ before) > 100
    planned = re.findall(r"\] would (.+)", fab.on(box, "setup.plan", env=env).out)
    assert planned and not [why for why in planned if not re.fullmatch(SAFER, why)]
    fab.on(box, "setup.full", env=env).ok()
    assert "nothing to change" in fab.on(box, "setup.full", env=env).ok().out
    fab.on(box, "setup.undo", "--yes", env=env).ok()
    assert snapshot(box) == before
