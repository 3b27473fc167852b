"""Platforms: how things are done on each kind of system, as base.Platform describes it."""

from __future__ import annotations

from fabric import Connection

from ..errors import SetupError
from ..facts import facts
from ..host.session import Host
from .base import Platform

SUPPORTED = {
    "debian": ("12", "13"),
    "ubuntu": ("22.04", "24.04", "26.04"),
    "macos": ("12", "13", "14", "15", "26"),
}
NAMES = {"debian": "Debian", "ubuntu": "Ubuntu", "macos": "macOS"}
FAMILIES = {"debian": "debian", "ubuntu": "debian", "macos": "macos"}


def platform(c: Connection) -> Platform:
    """Return the module for this host. Raises SetupError if its system is not supported.

    The host is asked once per run: its system does not change.
    """
    host = Host.of(c)
    if not host.platform:
        host.note_platform(family(c))
    return load(host.platform)


def load(name: str) -> Platform:
    """Import a platform module when it is needed, so that `fab --list` stays quick."""
    if name == "macos":
        from . import macos

        return macos
    from . import debian

    return debian


def family(c: Connection) -> str:
    """Return the module's name: debian (for Ubuntu too) or macos. Raises as platform() does."""
    system = facts(c).system
    # For macOS only the first number counts: 15.3 is an update of 15.
    if {system.version, system.version.partition(".")[0]} & {*SUPPORTED.get(system.id, ())}:
        return FAMILIES[system.id]
    known = "; ".join(
        f"{NAMES[name]} {', '.join(versions)}" for name, versions in SUPPORTED.items()
    )
    found = system.name or system.id or "an unknown system"
    raise SetupError(f"{c.host} runs {found}: labfab sets up {known}")
