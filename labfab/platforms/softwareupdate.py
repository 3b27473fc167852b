"""Softwareupdate: Apple's updates. What it lists is remembered, for it asks Apple, which takes a minute.

Owns: /var/cache/labfab/softwareupdate on the host.  Undo: updates stay
- Another macOS, as 26 is to 15, is named and never installed.
- What needs no restart is installed. What needs one only where the setting `reboot` asks for it.
- With FileVault on nothing answers after a restart until somebody types a password, so labfab makes none.
- On Apple silicon root may not install such an update: it takes the password of an owner of the disk.
"""

from __future__ import annotations

import contextlib
import re
import shlex
from typing import NamedTuple

from fabric import Connection

from .. import console
from ..errors import SetupError
from ..facts import facts
from ..host.changes import change
from ..host.session import Host
from ..host.shell import ConnectionLost
from ..settings import Settings
from .restart import restart, wait_for_boot

# It ends with 0 also where it could not ask, so what it says is looked at.
LIST = """\
said=$(softwareupdate -l 2>&1)
case $said in
  *'* Label: '* | *'No new software available'*) mkdir -p /var/cache/labfab && printf '%%s\\n' "$said" >/var/cache/labfab/softwareupdate ;;
  *) printf '%%s\\n' "$said" >&2; exit 1 ;;
esac
"""
INSTALL, RESTARTING = "softwareupdate -i", " -R"
LOOK, LATER = "ask Apple for updates", "which updates are installed is known only after that"
LABEL = r"^\s*\* Label: (.*\S)\s*$"
RELEASE = r"^\s*Title: macOS .*, Version: (\d+)"
HOUR = 3600


class Item(NamedTuple):
    """One update, as the list names it."""

    label: str
    restart: bool
    release: str = ""  # of macOS that it is, as 26


def items(listed: str) -> list[Item]:
    """The updates in what `softwareupdate -l` says: a line with the label, and one with all else."""
    found: list[Item] = []
    for line in listed.splitlines():
        if name := re.match(LABEL, line):
            found.append(Item(name[1], False))
        elif found and line.lstrip().startswith("Title: "):
            release = re.match(RELEASE, line)
            found[-1] = found[-1]._replace(
                restart="Action: restart" in line, release=release[1] if release else ""
            )
    return found


def wait_until_settled(c: Connection) -> None:
    """A Mac that answers has finished its setup."""


def refresh(c: Connection, max_age: int = 0) -> None:
    """List the updates anew when that was longer ago than *max_age* hours."""
    if facts(c).updates.older_than(max_age):
        change(c, LIST, why=LOOK, long=True, then={"updates.age": "0"})
        if Host.of(c).planning:
            console.note(LATER)


def upgrade(c: Connection) -> None:
    """Install what needs no restart, and what needs one where that is asked for and can be done."""
    found, others = wanted(c, items(facts(c).updates.listed))
    if others:
        console.note(f"{', '.join(others)}: another macOS is yours to install, at the Mac")
    quiet = [item.label for item in found if not item.restart]
    if quiet:
        command = INSTALL + " %s" * len(quiet) + " && " + LIST
        change(
            c,
            command,
            *quiet,
            why=f"install {', '.join(quiet)}",
            long=True,
            then={"updates.listed": "", "upgrades.pending": "0"},
        )
        left = {item.label for item in items(facts(c).updates.listed)} & set(quiet)
        if left:
            console.warn(
                f"{', '.join(sorted(left))} did not install: /var/log/install.log there tells why"
            )
    restarting = [item.label for item in found if item.restart]
    if restarting:
        install_and_restart(c, restarting)


def wanted(c: Connection, found: list[Item]) -> tuple[list[Item], list[str]]:
    """Part the updates of the macOS that runs, and its programs, from the labels of another macOS."""
    runs = facts(c).system.version.partition(".")[0]
    return [item for item in found if item.release in ("", runs)], [
        item.label for item in found if item.release not in ("", runs)
    ]


def install_and_restart(c: Connection, labels: list[str]) -> None:
    """Install what ends in a restart, or tell who has to."""
    label, names, words = Host.of(c).label, ", ".join(labels), " ".join(map(shlex.quote, labels))
    if not Settings.of(c).reboot:
        console.note(
            f"{names} waits, for it needs a restart: set reboot: true when nothing is running there"
        )
        return
    refuse_filevault(c, f"install {names}")
    if facts(c).system.machine == "arm64":
        by_hand = (
            f"ssh -t {label} {shlex.quote(f'sudo softwareupdate -i -R {words} --user {c.user}')}"
        )
        console.warn(
            f"{names} waits: on Apple silicon it takes the password of an owner of the disk: {by_hand}"
        )
        return
    before = facts(c).system.boot_id
    with contextlib.suppress(ConnectionLost):  # the restart may be quicker than the answer
        change(
            c,
            INSTALL + RESTARTING + " %s" * len(labels),
            *labels,
            why=f"install {names} and restart",
            long=True,
        )
    if not Host.of(c).planning:
        wait_for_boot(Host.of(c), before, patience=2 * HOUR)
        change(c, LIST, why=LOOK, long=True)


def refuse_filevault(c: Connection, what: str) -> None:
    """Stop before a restart that would leave nobody a way in."""
    if facts(c).updates.filevault:
        raise SetupError(
            f"{Host.of(c).label}: FileVault is on, so after a restart nobody gets in until somebody types a password at the Mac: "
            f"labfab does not {what} (reboot: false leaves that out); by hand: sudo fdesetup authrestart there, or at its screen"
        )


def reboot(c: Connection) -> None:
    """Restart the Mac and wait until a new boot answers."""
    refuse_filevault(c, "restart it")
    restart(c, "shutdown -r now")
