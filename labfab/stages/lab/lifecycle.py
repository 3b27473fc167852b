"""Lifecycle: start, stop and restart JupyterLab, in a session that outlives your logins.

Owns: see server/process.py.  Undo: lab.stop
"""

from __future__ import annotations

from fabric import Connection

from ...facts import facts
from ...run.task import host_task
from ...server import busy_kernels, process
from ...settings import Settings
from .. import jupyter, python


@host_task(default=True)
def start(c: Connection) -> None:
    """Start JupyterLab unless it answers already."""
    want = Settings.of(c)
    process.refuse_unless_startable(c, want)
    jupyter.configure(c)
    process.start(c, want)


@host_task
def stop(c: Connection) -> None:
    """Stop JupyterLab and its kernels."""
    process.stop(c, Settings.of(c))


@host_task(help={"yes": "Even if kernels are busy"})
def restart(c: Connection, yes: bool = False) -> None:
    """Restart JupyterLab; asks if kernels are busy."""
    busy_kernels.require(c, Settings.of(c), yes, "restart")
    stop(c)
    start(c)


def can_start_early(c: Connection) -> bool:
    """Return whether JupyterLab has to be started and needs only its Python for that."""
    want, lab = Settings.of(c), facts(c).lab
    if want.published or want.start_command or want.reboot:
        return False
    return not (lab.session or lab.service or lab.api or lab.owner)


def start_early(c: Connection) -> None:
    """Start JupyterLab if its Python needs no more work."""
    if python.is_ready(c):
        start(c)
