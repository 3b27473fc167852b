"""Platforms: how it is done. One module an operating system, each with the same few functions."""

from __future__ import annotations

from types import ModuleType

from fabric import Connection

from ..errors import SetupError
from ..facts import facts
from . import debian

SUPPORTED = {"debian": ("12", "13"), "ubuntu": ("22.04", "24.04", "26.04")}


def platform(c: Connection) -> ModuleType:
    """The module for this host. Raises SetupError for a system that no module is for."""
    system = facts(c).system
    if system.version in SUPPORTED.get(system.id, ()):
        return debian
    known = "; ".join(f"{name.capitalize()} {', '.join(versions)}" for name, versions in SUPPORTED.items())
    raise SetupError(f"{c.host} runs {system.name or system.id or 'an unknown system'}: labfab sets up {known}")
