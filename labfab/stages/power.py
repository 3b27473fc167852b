"""Power: keep the host awake, since a sleeping host cannot be reached.

Owns: what platforms/pmset.py names.  Undo: setup.undo --to power
"""

from __future__ import annotations

from fabric import Connection

from ..platforms import platform
from ..run.task import host_task


@host_task(name="keep-awake", default=True)
def keep_awake(c: Connection) -> None:
    """Report whether the host will sleep; keep it awake if set."""
    platform(c).keep_awake(c)
