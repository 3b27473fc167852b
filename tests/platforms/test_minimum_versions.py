"""Which versions of JupyterLab and its server are safe."""

import pytest

from labfab.platforms import minimum_versions

FLOOR = {floor.package: floor for floor in minimum_versions.FLOORS}


@pytest.mark.parametrize(
    "version, safe",
    [
        ("2.21.0", True),
        ("2.21", True),
        ("2.21.0a0", False),
        ("2.21.0.dev1", False),
        ("2.21.0rc1", False),
        ("2.21.0.post1", True),
        ("2.20.9", False),
        ("2.9.9", False),
        ("10.0", True),
        ("2", False),
        ("", False),
        ("3.0a1", True),
        ("2.21.0; rm", False),
    ],
)
def test_the_server_is_compared_as_pep_440_says(version, safe):
    """2.9 is older than 2.21, a pre-release older than its release, and nothing is not safe."""
    assert FLOOR["jupyter_server"].admits(version) is safe


@pytest.mark.parametrize(
    "version, safe",
    [
        ("4.4.10", False),
        ("4.5.10", False),
        ("4.5.11", True),
        ("4.5.11rc1", False),
        ("4.5.99", True),
        ("4.6.0", False),
        ("4.6.0a3", False),
        ("4.6.3", False),
        ("4.6.4", True),
        ("4.6.4b1", False),
        ("4.7.0", True),
        ("5.0", True),
        ("3.6.8", False),
    ],
)
def test_each_line_of_jupyterlab_has_its_own_floor(version, safe):
    """4.6.3 is newer than 4.5.11 and has the holes that 4.5.11 has not."""
    assert FLOOR["jupyterlab"].admits(version) is safe


def test_what_is_asked_for_is_safe():
    """The requirement of each package admits no version below its floor."""
    for floor in minimum_versions.FLOORS:
        name, version = floor.requirement.split(">=")
        assert name == floor.package and floor.admits(version) and floor.holes
