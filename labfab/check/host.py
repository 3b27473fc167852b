"""Host: what may make a host fail later."""

from __future__ import annotations

from ..facts.reader import with_prefix
from ..settings import Settings
from .findings import NotChecked, Warned, Wrong
from .probe import Probe
from .rows import check

LOW, FULL = 10.0, 1.0  # percent of a disk that is free
DRIFT = 30  # seconds
OLD, EVER = 7 * 86400, 20 * 365 * 86400  # seconds; age of the package lists


@check("host-revert", "no change is waiting to be reverted", mend="setup.full", needs=["ssh-login"])
def revert(probe: Probe) -> str:
    """Look for a change that an interrupted run left for the host to revert."""
    probe.needs_root()
    have = probe.facts.guard
    if have.armed:
        raise Wrong(f"not confirmed yet, unless another run is at work: {have.armed}")
    if have.reverted:
        raise Warned(f"the host reverted one, {have.reverted_at}: {have.reverted}")
    return "none"


@check("host-sudo", "sudo asks for a password", mend="user.add", needs=["ssh-login"])
def sudo(probe: Probe) -> str:
    """Look for accounts with a login shell that become root without a password."""
    want, free = probe.want, sorted(with_prefix(probe.audit, "nopasswd"))
    if free:
        mend = probe.by_hand("grep -r NOPASSWD /etc/sudoers /etc/sudoers.d")
        if free == [want.user] and probe.facts.sudoers:
            mend = "user.add, after setting sudo: password"
        names = ", ".join(free)
        if want.published:
            raise Wrong(f"{names}: anybody who gets into JupyterLab may become root", mend)
        raise Warned(f"{names}: anybody who has the key is root", mend)
    if "root" not in probe.audit and probe.c.user != want.user:
        raise NotChecked(f"needs root to see the rights of {want.user}")
    return f"no account may do without{probe.limits}{one_account(want)}"


def one_account(want: Settings) -> str:
    """Return what one account for sudo and for JupyterLab means; empty if there are two."""
    if want.lab_user:
        return ""
    return (
        f"; JupyterLab runs as {want.user} too, so code in a notebook can become root "
        "(lab_user gives it an account of its own)"
    )


@check("host-updates", "all upgrades are installed", mend="system.update", needs=["ssh-login"])
def updates(probe: Probe) -> str:
    """Look at the package lists on the host, and at their age."""
    have, pending, words = probe.facts.updates, probe.facts.pending, probe.platform
    if have.interrupted:
        raise Wrong("dpkg was interrupted")
    if pending is None:
        raise NotChecked(words.UPDATES_UNKNOWN)
    if pending:
        raise Warned(f"{pending} {words.UPDATES_WAIT}")
    if have.age > OLD:
        age = f"{have.age // 86400} days old" if have.age < EVER else "never fetched"
        raise Warned(f"{words.UPDATE_LIST}: {age}")
    return f"the lists are {have.age // 3600} h old"


@check("host-reboot", "no reboot is pending", mend="system.reboot", needs=["ssh-login"])
def reboot(probe: Probe) -> str:
    """Look for an upgrade that needs a reboot."""
    if probe.facts.system.reboot_required:
        raise Warned("an upgrade needs one")
    return "none"


@check("host-sleep", "the host does not sleep", mend="power.keep-awake", needs=["ssh-login"])
def sleep(probe: Probe) -> str:
    """Look at the power settings of a Mac."""
    minutes = probe.facts.power.sleep
    if minutes:
        raise Warned(
            f"it sleeps after {minutes} min without a user, and JupyterLab stops: "
            "set keep_awake: true"
        )
    return "never, according to its settings" if minutes == 0 else "servers do not sleep"


@check("host-disk", "the disks have free space", needs=["ssh-login"])
def disk(probe: Probe) -> str:
    """Look at the fullest disk."""
    lines = (line.split(" ", 1) for line in with_prefix(probe.audit, "disk").values())
    free = {path: float(percent) for percent, path in lines}
    if not free:
        raise NotChecked("df prints nothing")
    path = min(free, key=lambda path: free[path])
    detail = f"{path}: {free[path]:.0f} % free"
    if free[path] < LOW:
        kind = Wrong if free[path] < FULL else Warned
        raise kind(detail, probe.by_hand(probe.platform.SHOW_BIG_FOLDERS, path))
    return detail


@check("host-clock", "the clock is right", needs=["ssh-login"])
def clock(probe: Probe) -> str:
    """Compare with the laptop's clock, allowing for the time that the question took."""
    there, before, after = (float(probe.audit[key]) for key in ("clock", "before", "after"))
    off = max(before - 1 - there, there - after, 0.0)
    if off > DRIFT:
        mend = probe.by_hand(probe.platform.SET_CLOCK)
        raise Warned(f"{off:.0f} s off from your laptop's", mend)
    return "within a second of your laptop's" if off < 1 else f"{off:.0f} s off"
