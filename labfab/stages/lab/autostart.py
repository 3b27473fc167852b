"""Autostart: let systemd or launchd run JupyterLab, so that it is back after a reboot.

Owns: what platforms/systemd.py and launchd.py name.  Undo: lab.service --remove
"""

from __future__ import annotations

from fabric import Connection

from ...facts import facts
from ...platforms import platform
from ...run.task import host_task
from ...server import busy_kernels, process
from ...settings import Settings
from .. import jupyter
from .lifecycle import start, stop


@host_task(help={"yes": "Even if kernels are busy", "remove": "Go back to tmux"})
def service(c: Connection, yes: bool = False, remove: bool = False) -> None:
    """Let the system run JupyterLab, also after a reboot.

    A JupyterLab that runs in tmux is restarted under systemd, or under launchd on macOS.
    With --remove it goes back to tmux.
    """
    want, lab, manager = Settings.of(c), facts(c).lab, platform(c).service
    manager.require(c)
    process.refuse_unless_startable(c, want)
    if remove:
        leave_service(c, want, yes)
    elif not lab.service or not lab.unit or lab.unit.content != manager.unit_text(c):
        enter_service(c, want, yes)
    start(c)


def enter_service(c: Connection, want: Settings, yes: bool) -> None:
    """Stop the JupyterLab in tmux; from now on the service manager starts it."""
    system = platform(c)
    jupyter.configure(c)
    account = facts(c).accounts[want.jupyter_user]
    if not account.linger:
        system.keep_after_logout(c, account.name)
    busy_kernels.require(c, want, yes, "restart")
    stop(c)
    system.service.install(c)


def leave_service(c: Connection, want: Settings, yes: bool) -> None:
    """Stop the service, and remove it from the service manager."""
    system, lab = platform(c), facts(c).lab
    if not lab.unit and not lab.service:
        return
    system.install(c, "tmux")
    busy_kernels.require(c, want, yes, "restart")
    stop(c)
    system.service.remove(c)
