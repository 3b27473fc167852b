"""Packages: install the system packages that the stages of setup.full need, in one go.

Owns: those packages.  Undo: setup.undo removes what was not there before
A stage that is run alone still installs what it needs.
"""

from __future__ import annotations

from fabric import Connection

from ...facts import facts
from ...platforms import platform
from ...run.task import host_task
from ...server import process
from ...settings import Settings
from .. import firewall, python


@host_task
def wait_for_first_boot(c: Connection) -> None:
    """Wait until a new machine has finished its first boot."""
    platform(c).wait_until_settled(c)


def can_prepare_early(c: Connection) -> bool:
    """Return whether apt has something to do early.

    Not before sudo is installed: the stage `user` needs apt for that.
    """
    want, have = Settings.of(c), facts(c)
    old = want.update and have.updates.older_than(want.update_max_age)
    return (old or bool(needed(c))) and "sudo" in have.system.packages


def prepare(c: Connection) -> None:
    """Install what is missing, after fetching apt's lists; else only fetch the lists."""
    if needed(c):
        install(c)
    else:
        platform(c).refresh(c, Settings.of(c).update_max_age)


@host_task
def install(c: Connection) -> None:
    """Install what the stages of setup.full need, in one go."""
    platform(c).install(c, *needed(c))


def needed(c: Connection) -> list[str]:
    """Return the missing packages that stages of setup.full will ask for.

    sudo is not among them: removing it again would lock everybody out.
    """
    want, system, have = Settings.of(c), platform(c), facts(c)
    names = [*python.packages(c, want, system), *process.packages(c)]
    if want.firewall and not firewall.others(have):
        names.append(system.FIREWALL_PACKAGE)
    return [name for name in dict.fromkeys(names) if name and name not in have.system.packages]
