"""Softwareupdate: Apple's updates.

Owns: /var/cache/labfab/softwareupdate on the host, its last answer.  Undo: updates stay
- To list updates, softwareupdate asks Apple, which takes a minute; so the list is kept.
- A new macOS, such as 26 for a Mac with 15, is reported but never installed.
- Updates that need no restart are installed; others only if the setting `reboot` is on.
- With FileVault, nothing answers after a restart until somebody types a password at the Mac, so
  labfab does not restart it.
- On Apple silicon, root may not install an update that needs a restart: that takes the password
  of an owner of the disk.
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
from ..on_host import loader
from ..settings import Settings
from ..text import to_type, to_type_on_host
from .restart import restart, wait_for_boot

LIST = loader.as_command("list_mac_updates")
INSTALL = "softwareupdate -i"
RESTART = " -R"
LIST_AFTERWARDS = f" && {{\n{LIST}}}"
ASK_APPLE = "ask Apple for updates"
LATER = "which updates are installed is known only after that"
# An update, in the list: a line with its label, then one with everything else.
LABEL = r"^\s*\* Label: (.*\S)\s*$"
RELEASE = r"^\s*Title: macOS .*, Version: (\d+)"
HOUR = 3600


class Update(NamedTuple):
    """One update, as the list describes it."""

    label: str
    restart: bool
    release: str = ""  # 26, for one that is macOS 26 itself


def parse(listed: str) -> list[Update]:
    """Return the updates in the answer of `softwareupdate -l`."""
    found: list[Update] = []
    for line in listed.splitlines():
        if name := re.match(LABEL, line):
            found.append(Update(label=name[1], restart=False))
        elif found and line.lstrip().startswith("Title: "):
            release = re.match(RELEASE, line)
            found[-1] = found[-1]._replace(
                restart="Action: restart" in line, release=release[1] if release else ""
            )
    return found


def wait_until_settled(c: Connection) -> None:
    """Do nothing: a Mac that answers has finished its setup."""


def refresh(c: Connection, max_age: int = 0) -> None:
    """List the updates again if the list is older than *max_age* hours."""
    if facts(c).updates.older_than(max_age):
        change(c, LIST, why=ASK_APPLE, long=True, then={"updates.age": "0"}, caveat=LATER)


def upgrade(c: Connection) -> None:
    """Install the updates of the present macOS.

    Those that restart the Mac are installed only if the settings and the Mac allow it.
    """
    have = facts(c)
    runs = have.system.version.partition(".")[0]
    updates, others = split(parse(have.updates.listed), runs)
    if others:
        labels = ", ".join(update.label for update in others)
        console.note(f"{labels}: a new macOS is yours to install, at the Mac")
    quiet = [update.label for update in updates if not update.restart]
    restarting = [update.label for update in updates if update.restart]
    if quiet:
        install_quietly(c, quiet)
    if restarting:
        install_and_restart(c, Settings.of(c), restarting)


def split(updates: list[Update], runs: str) -> tuple[list[Update], list[Update]]:
    """Separate updates of the present macOS and its programs from those to another macOS."""
    ours = [update for update in updates if update.release in ("", runs)]
    return ours, [update for update in updates if update not in ours]


def install_quietly(c: Connection, labels: list[str]) -> None:
    """Install updates that need no restart. Warns about those that Apple still lists."""
    change(
        c,
        INSTALL + " %s" * len(labels) + LIST_AFTERWARDS,
        *labels,
        why=f"install {', '.join(labels)}",
        long=True,
        then={"updates.listed": "", "upgrades.pending": "0"},
        permanent=True,
    )
    left = {update.label for update in parse(facts(c).updates.listed)} & set(labels)
    if left:
        console.warn(
            f"{', '.join(sorted(left))} did not install: /var/log/install.log there says why"
        )


def install_and_restart(c: Connection, want: Settings, labels: list[str]) -> None:
    """Install updates that restart the Mac, or say why not and who can."""
    host, have, names = Host.of(c), facts(c), ", ".join(labels)
    if not want.reboot:
        console.note(
            f"not installed yet, needs a restart: {names}; "
            "set reboot: true when nothing is running there"
        )
        return
    refuse_filevault(c, f"install {names}")
    if have.system.machine == "arm64":
        typed = to_type(f"sudo softwareupdate -i -R --user {shlex.quote(c.user)}", *labels)
        by_hand = to_type_on_host(host.label, typed) or "install it at its screen"
        console.warn(
            f"{names} waits: on Apple silicon it takes the password of an owner of the disk: "
            f"{by_hand}"
        )
        return
    before = have.system.boot_id
    command = INSTALL + RESTART + " %s" * len(labels)
    with contextlib.suppress(ConnectionLost):  # the restart may be quicker than the answer
        why = f"install {names} and restart"
        change(c, command, *labels, why=why, long=True, permanent=True)
    if not host.planning:
        wait_for_boot(host, before, patience=2 * HOUR)
        change(c, LIST, why=ASK_APPLE, long=True)


def refuse_filevault(c: Connection, what: str) -> None:
    """Raise SetupError if nobody could log in after a restart. what: what needs the restart."""
    if facts(c).updates.filevault:
        raise SetupError(
            "FileVault is on, so after a restart nobody can log in until somebody types a password "
            f"at the Mac: labfab does not {what} (reboot: false leaves that out); "
            "by hand: sudo fdesetup authrestart there, or at its screen",
            host=Host.of(c).label,
        )


def reboot(c: Connection) -> None:
    """Restart the Mac and wait until the new boot answers."""
    refuse_filevault(c, "restart it")
    restart(c, "shutdown -r now")
