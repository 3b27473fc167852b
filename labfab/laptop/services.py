"""Services: what keeps a tunnel's ssh running on this machine.

systemd_user.py and launch_agent.py implement Manager as modules; the type checker compares
them with it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Protocol

from . import launch_agent, systemd_user


class Manager(Protocol):
    """A program that starts an ssh at each login, and again whenever it ends."""

    NAME: str
    AGENT: str  # the command that gives it a key with a passphrase; KEY stands for the key's path

    def path(self, alias: str) -> Path:
        """Return the file that describes the service of a lab."""

    def refuse_without_manager(self) -> None:
        """Raise SetupError if nothing would start the service on this machine."""

    def install(self, alias: str, argv: list[str], log: Path) -> None:
        """Write the service and start it, now and at each login."""

    def start(self, alias: str) -> None:
        """Start the service, unless it runs."""

    def stop(self, alias: str) -> bool:
        """Stop the service until the next login. Return False if it did not run."""

    def remove(self, alias: str) -> bool:
        """Stop the service for good. Return False if there was none."""

    def pid(self, alias: str) -> int:
        """Return the process ID of its ssh, or 0 between two tries."""


MANAGERS: dict[str, Manager] = {systemd_user.NAME: systemd_user, launch_agent.NAME: launch_agent}


def here() -> Manager:
    """Return this machine's service manager."""
    return MANAGERS["launchd" if sys.platform == "darwin" else "systemd"]
