"""Floors: the oldest versions of JupyterLab and its server that have no known vulnerability.

Owns: the table. A lab below a floor is raised by python.install, and named by check.lab.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Floor(NamedTuple):
    """The releases of one package that are safe, and what was wrong with the earlier ones."""

    package: str
    # The first safe release of each maintained line, oldest line first. Later lines are safe.
    releases: tuple[str, ...]
    holes: tuple[str, ...]

    @property
    def newest(self) -> str:
        """Return the first safe release of the newest line."""
        return self.releases[-1]

    @property
    def requirement(self) -> str:
        """Return the requirement that raises an old installation."""
        return f"{self.package}>={self.newest}"

    def admits(self, version: str) -> bool:
        """Return whether a version is safe, in the order of PEP 440: 2.21.0a0 precedes 2.21."""
        from packaging.version import InvalidVersion, Version

        try:
            found = Version(version)
        except InvalidVersion:
            return False
        if found >= Version(self.newest):
            return True
        first = [Version(one) for one in self.releases]
        return any(found >= one and found.release[:2] == one.release[:2] for one in first)


FLOORS = (
    Floor(
        "jupyterlab",
        ("4.5.11", "4.6.4"),
        ("CVE-2026-40171", "CVE-2026-42266", "CVE-2026-73415", "CVE-2026-102831"),
    ),
    Floor("jupyter_server", ("2.21",), ("CVE-2026-44727", "CVE-2026-86049")),
)
REQUIREMENTS = tuple(floor.requirement for floor in FLOORS)


def below(versions: Mapping[str, str]) -> list[Floor]:
    """Return the floors that the installed versions do not reach. A missing package does not.

    versions: as in the facts, by normalized name.
    """
    return [floor for floor in FLOORS if not floor.admits(versions.get(floor.package, ""))]
