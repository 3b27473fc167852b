"""Pmset: whether a Mac goes to sleep, and JupyterLab with it.

Owns: sleep, disksleep, womp and autorestart of the power settings, if `keep_awake` asks for it.
Undo: setup.undo
"""

from __future__ import annotations

from fabric import Connection

from .. import console
from ..facts import facts
from ..facts.records import AWAKE
from ..host.changes import change
from ..settings import Settings

# For mains, battery and UPS alike. The journal keeps the earlier values of each.
SET = f"pmset -a {' '.join(f'{name} {value}' for name, value in AWAKE.items())}"
KEEP_AND_SET = f'pmset -g custom >"$KEPT.pmset" && {SET}'
BY_HAND = f"set keep_awake: true, or at the Mac: sudo {SET}"


def keep_awake(c: Connection) -> None:
    """Keep the Mac from sleeping if `keep_awake` is set, else warn if it sleeps."""
    want, have = Settings.of(c), facts(c).power
    if want.keep_awake:
        if not have.stays_awake:
            why = "keep the Mac awake, and start it after a power cut"
            then = {f"power.{name}": value for name, value in AWAKE.items()}
            change(c, KEEP_AND_SET, why=why, undo=("power",), then=then)
    elif have.sleep:
        console.warn(
            f"this Mac sleeps after {have.sleep} min without a person at it, "
            f"and JupyterLab with it: {BY_HAND}"
        )
