"""Machine: what makes a host fail later."""

from __future__ import annotations

from ..facts.reader import below
from .probe import Look
from .rows import Doubtful, Unseen, Wrong, check

LOW, FULL = 10.0, 1.0  # percent of a disk that are free
DRIFT = 30  # seconds
OLD, EVER = 7 * 86400, 20 * 365 * 86400  # seconds; of the package lists


@check("host-revert", "no change waits to be taken back", mend="setup.full", needs=["ssh-login"])
def revert(look: Look) -> str:
    """A run that died may have left a change that the host is to take back, or has taken back unseen."""
    look.needs_root()
    have = look.facts.guard
    if have.armed:
        raise Wrong(f"not confirmed yet, unless another run is at work: {have.armed}")
    if have.reverted:
        raise Doubtful(f"the host took one back, {have.reverted_at}: {have.reverted}")
    return "none"


@check("host-sudo", "sudo asks for a password", mend="user.add", needs=["ssh-login"])
def sudo(look: Look) -> str:
    free = sorted(below(look.audit, "nopasswd"))
    if free:
        ours = free == [look.want.user] and look.facts.sudoers
        mend = (
            "user.add, after setting sudo: password"
            if ours
            else look.by_hand("grep -r NOPASSWD /etc/sudoers /etc/sudoers.d")
        )
        if look.want.published:
            raise Wrong(f"{', '.join(free)}: whoever gets into JupyterLab may get to be root", mend)
        raise Doubtful(f"{', '.join(free)}: whoever has the key is root", mend)
    if "root" not in look.audit and look.c.user != look.want.user:
        raise Unseen(f"needs root to see the rights of {look.want.user}")
    return f"no account is let off{look.limits}"


@check("host-updates", "all upgrades are in", mend="system.update", needs=["ssh-login"])
def updates(look: Look) -> str:
    have, pending, words = look.facts.updates, look.facts.pending, look.platform
    if have.interrupted:
        raise Wrong("dpkg was stopped in the middle")
    if pending is None:
        raise Unseen(words.UNTOLD)
    if pending:
        raise Doubtful(f"{pending} {words.WAITING}")
    if have.age > OLD:
        raise Doubtful(
            f"{words.LISTS}: {have.age // 86400} days old"
            if have.age < EVER
            else f"{words.LISTS}: never fetched"
        )
    return f"the lists are {have.age // 3600} h old"


@check("host-reboot", "no reboot is pending", mend="system.reboot", needs=["ssh-login"])
def reboot(look: Look) -> str:
    if look.facts.system.reboot_required:
        raise Doubtful("an upgrade wants one")
    return "none"


@check("host-sleep", "it does not go to sleep", mend="power.keep-awake", needs=["ssh-login"])
def sleep(look: Look) -> str:
    minutes = look.facts.power.sleep
    if minutes:
        raise Doubtful(
            f"it does after {minutes} min without a person at it, and JupyterLab with it: set keep_awake: true"
        )
    return (
        "never, by its own settings"
        if minutes == 0
        else "a server of this system does not by itself"
    )


@check("host-disk", "there is space on the disks", needs=["ssh-login"])
def disk(look: Look) -> str:
    free = {
        path: float(percent)
        for percent, path in (line.split(" ", 1) for line in below(look.audit, "disk").values())
    }
    if not free:
        raise Unseen("df tells nothing")
    path = min(free, key=lambda path: free[path])
    detail = f"{path}: {free[path]:.0f} % free"
    if free[path] < FULL:
        raise Wrong(detail, look.by_hand(f"{look.platform.BIG_FOLDERS} {path}"))
    if free[path] < LOW:
        raise Doubtful(detail, look.by_hand(f"{look.platform.BIG_FOLDERS} {path}"))
    return detail


@check("host-clock", "the clock is right", needs=["ssh-login"])
def clock(look: Look) -> str:
    """Compare with the laptop's; the time that the question took counts for the host."""
    there, before, after = (float(look.audit[key]) for key in ("clock", "before", "after"))
    off = max(before - 1 - there, there - after, 0.0)
    if off > DRIFT:
        raise Doubtful(f"{off:.0f} s off from your laptop's", look.by_hand(look.platform.SET_CLOCK))
    return "within a second of your laptop's" if off < 1 else f"{off:.0f} s off"
