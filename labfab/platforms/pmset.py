"""Pmset: whether a Mac goes to sleep, where nobody reaches JupyterLab.

Owns: sleep, disksleep, womp and autorestart of its power settings, where `keep_awake` asks for it.  Undo: setup.undo
"""

from __future__ import annotations

from fabric import Connection

from .. import console
from ..facts import facts
from ..facts.records import AWAKE
from ..host.changes import change
from ..settings import Settings

# What was set for mains, battery and UPS is kept for the way back.
SET = f"pmset -a {' '.join(f'{name} {value}' for name, value in AWAKE.items())}"
KEEP_AND_SET = f'pmset -g custom >"$KEPT.pmset" && {SET}'
BY_HAND = f"set keep_awake: true, or at the Mac: sudo {SET}"


def keep_awake(c: Connection) -> None:
    """Tell whether it will sleep, and let it not where that is wanted."""
    have = facts(c).power
    if Settings.of(c).keep_awake:
        if not have.stays_awake:
            then = {f"power.{name}": value for name, value in AWAKE.items()}
            change(
                c,
                KEEP_AND_SET,
                why="let the Mac not go to sleep, and start after a power cut",
                undo=("power",),
                then=then,
            )
    elif have.sleep:
        console.warn(
            f"this Mac sleeps after {have.sleep} min without a person at it, and JupyterLab with it: {BY_HAND}"
        )
