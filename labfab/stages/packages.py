"""Packages: what the stages of setup.full need of the system, fetched while others are at work and installed at once.

Owns: those packages.  Undo: setup.undo takes away what was not there before
A stage alone still installs what it needs.
"""

from __future__ import annotations

from fabric import Connection

from ..facts import facts
from ..platforms import platform
from ..settings import Settings
from ..task import host_task
from . import lab, python

GROUP = "system"


@host_task
def lists(c: Connection) -> None:
    """Fetch apt's lists, and what setup.full installs.

    Nothing is installed, so this may go on beside a change that the host may take back.
    """
    if needed(c):
        platform(c).refresh(c, Settings.of(c).update_max_age, ahead=needed(c))


def stale(c: Connection) -> bool:
    """Whether the lists have to be fetched, and nothing else needs apt meanwhile."""
    old = facts(c).updates.age > Settings.of(c).update_max_age * 3600
    return old and bool(needed(c)) and "sudo" in facts(c).system.packages


@host_task
def install(c: Connection) -> None:
    """Install what the stages of setup.full need, at once."""
    platform(c).install(c, *needed(c))


def needed(c: Connection) -> list[str]:
    """The packages that stages of setup.full will ask for; sudo is another matter, for to take it away shuts the door."""
    want = Settings.of(c)
    names = [*python.packages(want), *lab.packages(c), *[platform(c).FIREWALL] * want.firewall]
    return [name for name in dict.fromkeys(names) if name and name not in facts(c).system.packages]
