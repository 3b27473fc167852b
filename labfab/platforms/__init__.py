"""Platforms: how it is done. One module an operating system, each with the same few functions."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from fabric import Connection

from ..errors import SetupError
from ..facts import facts
from ..host.session import Host

SUPPORTED = {
    "debian": ("12", "13"),
    "ubuntu": ("22.04", "24.04", "26.04"),
    "macos": ("12", "13", "14", "15", "26"),
}
NAMES = {"debian": "Debian", "ubuntu": "Ubuntu", "macos": "macOS"}
FAMILIES = {"debian": "debian", "ubuntu": "debian", "macos": "macos"}


def platform(c: Connection) -> ModuleType:
    """The module for this host. Raises SetupError for a system that no module is for."""
    host = Host.of(c)
    host.platform = host.platform or import_module(
        f".{family(c)}", __name__
    )  # asked again and again, and no change makes it another
    return host.platform


def family(c: Connection) -> str:
    """The module's name: debian, for Ubuntu too, or macos. Raises SetupError as platform()."""
    system = facts(c).system
    # Of macOS the first number counts: 15.3 is 15 with its updates.
    if {system.version, system.version.partition(".")[0]} & {*SUPPORTED.get(system.id, ())}:
        return FAMILIES[system.id]
    known = "; ".join(
        f"{NAMES[name]} {', '.join(versions)}" for name, versions in SUPPORTED.items()
    )
    raise SetupError(
        f"{c.host} runs {system.name or system.id or 'an unknown system'}: labfab sets up {known}"
    )
