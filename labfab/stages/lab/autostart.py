"""Service: JupyterLab started by systemd or launchd, so that it is there again after a reboot.

Owns: what platforms/systemd.py and launchd.py name.  Undo: lab.service --remove
"""

from __future__ import annotations

from fabric import Connection

from ...facts import facts
from ...platforms import platform
from ...run.task import host_task
from ...settings import Settings
from ..jupyter import config
from . import kernels, server


@host_task(help={"yes": "Also when kernels are busy", "remove": "Go back to tmux"})
def service(c: Connection, yes: bool = False, remove: bool = False) -> None:
    """Let the system run JupyterLab, also after a reboot.

    A JupyterLab that runs in tmux is restarted under systemd, or launchd on macOS; with --remove it goes back to tmux.
    """
    want, have, system = Settings.of(c), facts(c).lab, platform(c).service
    system.refuse(c)
    server.refuse(c, want)
    if remove:
        take_away(c, yes)
    elif not have.service or not have.unit or have.unit.content != system.text(c):
        set_up(c, want, yes)
    server.start(c)


def set_up(c: Connection, want: Settings, yes: bool) -> None:
    """End what runs in tmux, have the system start it from now on."""
    config.configure(c)
    account = facts(c).accounts[want.jupyter_user]
    if not account.linger:
        platform(c).keep_running(c, account.name)
    kernels.consent(c, yes, "restart")
    server.stop(c)
    platform(c).service.install(c)


def take_away(c: Connection, yes: bool) -> None:
    """Go back to tmux."""
    if not facts(c).lab.unit and not facts(c).lab.service:
        return
    platform(c).install(c, "tmux")
    kernels.consent(c, yes, "restart")
    server.stop(c)
    platform(c).service.remove(c)
