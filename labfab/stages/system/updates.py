"""Updates: upgrade the packages, reboot if needed; move to the next release.

Owns: only the time of the last check, /var/cache/labfab.  Undo: upgrades stay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fabric import Connection

from ... import console
from ...errors import SetupError
from ...facts import facts
from ...host.account_files import own_tmux_folder
from ...host.changes import change
from ...host.session import Host
from ...platforms import platform
from ...run.guard import guarded
from ...run.task import host_task
from ...settings import Settings

if TYPE_CHECKING:
    from ...platforms.base import Platform

# As guide 001 does it, but safe to leave alone: in a tmux session of its own.
RELEASE_UPGRADE = (
    "tmux new-session -d -s release-upgrade "
    "'do-release-upgrade -f DistUpgradeViewNonInteractive -m server 2>&1 "
    "| tee -a /var/log/labfab-release-upgrade.log'"
)
RESCUE_PORT = 1022  # where do-release-upgrade starts a second sshd
LEFTOVER = "/etc/apt/apt.conf.d/50unattended-upgrades.ucf-old"


@host_task(default=True)
def update(c: Connection) -> None:
    """Upgrade all packages."""
    want, system = Settings.of(c), platform(c)
    system.wait_until_settled(c)
    system.refresh(c, want.update_max_age)
    system.upgrade(c)
    if not facts(c).system.reboot_required:
        return
    if want.reboot:
        system.reboot(c)
    else:
        console.note(
            "a reboot is pending: "
            "type system.reboot when nothing is running there, or set reboot: true"
        )


@host_task
def reboot(c: Connection) -> None:
    """Reboot, and wait until the host answers."""
    platform(c).reboot(c)


@host_task(name="release-upgrade", help={"yes": "You have a backup; begin"})
def release_upgrade(c: Connection, yes: bool = False) -> None:
    """Move to the next Ubuntu release.

    The upgrade continues by itself after this task, and is never part of setup.full. Raises
    SetupError without --yes: it can fail half-way, so there must be a backup.
    """
    host, have = Host.of(c), facts(c)
    if have.system.id != "ubuntu":
        raise SetupError(
            f"release upgrades are Ubuntu's; for {have.system.name} see its release notes",
            host=host.label,
        )
    if not yes:
        raise SetupError(
            "make a backup first, then type: system.release-upgrade --yes", host=host.label
        )
    system = platform(c)
    system.install(c, "tmux", "ubuntu-release-upgrader-core")
    change(c, "rm -f %s", LEFTOVER, why="remove a leftover that apt complains about")
    open_rescue_port(c, system)
    own_tmux_folder(c, "root")
    change(c, RELEASE_UPGRADE, why="begin the release upgrade", permanent=True)
    console.note(
        "it continues by itself for an hour or more; "
        f"meanwhile a second sshd listens on port {RESCUE_PORT}"
    )
    console.note(
        "watch: ssh -t HOST sudo tmux attach -t release-upgrade; at its end: system.reboot"
    )


def open_rescue_port(c: Connection, system: Platform) -> None:
    """Let the firewall admit the second sshd of a release upgrade."""
    firewall = facts(c).firewall
    if firewall.active and RESCUE_PORT not in firewall.allowed:
        with guarded(c, f"open port {RESCUE_PORT}"):
            system.allow_port(c, RESCUE_PORT)
