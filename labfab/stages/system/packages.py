"""Packages: what the stages of setup.full need of the system, installed at once while others are at work.

Owns: those packages.  Undo: setup.undo takes away what was not there before
A stage alone still installs what it needs.
"""

from __future__ import annotations

from fabric import Connection

from ...facts import facts
from ...platforms import platform
from ...run.task import host_task
from ...server import process
from ...settings import Settings
from .. import python


@host_task
def settle(c: Connection) -> None:
    """Let a machine that was just made finish its own first setup."""
    platform(c).wait_until_settled(c)


def due(c: Connection) -> bool:
    """Whether apt has something to do, and nothing else needs it meanwhile."""
    want, have = Settings.of(c), facts(c)
    old = want.update and have.updates.older_than(want.update_max_age)
    return (old or bool(needed(c))) and "sudo" in have.system.packages


def prepare(c: Connection) -> None:
    """Install what is missing, with apt's lists before it; where nothing is, have the lists there."""
    if needed(c):
        install(c)
    else:
        platform(c).refresh(c, Settings.of(c).update_max_age)


@host_task
def install(c: Connection) -> None:
    """Install what the stages of setup.full need, at once."""
    platform(c).install(c, *needed(c))


def needed(c: Connection) -> list[str]:
    """The packages that stages of setup.full will ask for; sudo is another matter, for to take it away shuts the door."""
    want = Settings.of(c)
    names = [*python.packages(c), *process.packages(c), *[platform(c).FIREWALL] * want.firewall]
    return [name for name in dict.fromkeys(names) if name and name not in facts(c).system.packages]
