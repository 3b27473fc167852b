"""System: bring the packages up to date, reboot where that is needed.

Owns: nothing but the time of the last look, /var/cache/labfab.  Undo: upgrades stay.
"""

from __future__ import annotations

from fabric import Connection

from ... import console
from ...errors import SetupError
from ...facts import facts
from ...host.changes import change
from ...host.session import Host
from ...platforms import platform
from ...run.task import host_task
from ...settings import Settings

# Guide 001's way, made safe to leave alone: in a tmux of its own, with the second sshd on 1022 reachable.
RELEASE_UPGRADE = (
    "tmux new-session -d -s release-upgrade "
    "'do-release-upgrade -f DistUpgradeViewNonInteractive -m server 2>&1 | tee -a /var/log/labfab-release-upgrade.log'"
)
LEFTOVER = "/etc/apt/apt.conf.d/50unattended-upgrades.ucf-old"


@host_task(default=True)
def update(c: Connection) -> None:
    """Upgrade all packages."""
    host = platform(c)
    host.wait_until_settled(c)
    host.refresh(c, Settings.of(c).update_max_age)
    host.upgrade(c)
    if not facts(c).system.reboot_required:
        return
    if Settings.of(c).reboot:
        host.reboot(c)
    else:
        console.note(
            "a reboot is pending: type system.reboot when nothing is running there, or set reboot: true"
        )


@host_task
def reboot(c: Connection) -> None:
    """Reboot, and wait until the host answers."""
    platform(c).reboot(c)


@host_task(name="release-upgrade", help={"yes": "You have a backup; begin"})
def release_upgrade(c: Connection, yes: bool = False) -> None:
    """Move to the next Ubuntu release.

    It runs on by itself, and is never part of setup.full. Raises SetupError without --yes: a release upgrade can fail
    half-way, so there must be a backup.
    """
    if facts(c).system.id != "ubuntu":
        raise SetupError(
            f"{Host.of(c).label}: release upgrades are Ubuntu's; for {facts(c).system.name} see its release notes"
        )
    if not yes:
        raise SetupError(
            f"{Host.of(c).label}: make a backup first, then type: system.release-upgrade --yes"
        )
    platform(c).install(c, "tmux", "ubuntu-release-upgrader-core")
    change(c, "rm -f %s", LEFTOVER, why="remove a leftover that apt complains about")
    if facts(c).firewall.active:
        platform(c).allow_port(c, 1022)
    change(c, RELEASE_UPGRADE, why="begin the release upgrade")
    console.note(
        "it runs on by itself, an hour or more; a second sshd waits on port 1022 meanwhile"
    )
    console.note(
        "watch: ssh -t HOST sudo tmux attach -t release-upgrade; at its end: system.reboot"
    )
