"""Busy kernels: ask before a restart ends busy kernels."""

from __future__ import annotations

import sys

from fabric import Connection

from .. import console
from ..errors import SetupError
from ..facts import facts
from ..host.session import Host
from ..settings import Settings
from ..text import counted
from . import process


def require(c: Connection, want: Settings, yes: bool, action: str) -> None:
    """Ask whether busy kernels may be ended. Raises SetupError if not, or if nobody can answer.

    yes: do not ask. action: what would end them, for the question.
    """
    host = Host.of(c)
    if host.planning:
        return
    busy = reasons(c, want)
    if not busy or yes:
        return
    reason = ", ".join(busy)
    if not sys.stdin.isatty():
        raise SetupError(
            f"{reason}, and a {action} would end that: wait, or add --yes", host=host.label
        )
    if not console.agreed(f"{host.label}: {reason}; {action} anyway?"):
        raise SetupError("nothing was changed", host=host.label)


def reasons(c: Connection, want: Settings) -> list[str]:
    """Return what JupyterLab computes right now, in words; empty if nothing would be interrupted.

    A JupyterLab that listens where earlier settings said, or that does not answer, counts as busy:
    nobody knows what it is running.
    """
    account = facts(c).accounts.get(want.jupyter_user)
    lab = process.wait_while_changing(c, want, account, process.ENDING) if account else facts(c).lab
    have = facts(c)
    runs = lab.pid or lab.session or lab.service
    if not runs or lab.owner not in ("", want.jupyter_user):
        return []
    from . import usage

    found = usage.read(c, want, have)
    busy = [f"JupyterLab (pid {pid}) does not report what it is running" for pid in found.silent]
    if found.busy:
        busy.insert(0, f"{', '.join(found.busy)} is running code right now")
    if found.kernels and not busy:
        console.note(f"{counted(len(found.kernels), 'idle kernel')} will lose all variables")
    return busy
