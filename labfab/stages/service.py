"""Service: JupyterLab started by systemd, so that it is there again after a reboot.

Owns: ~/.config/systemd/user/jupyter.service of the account that runs Lab.  Undo: lab.service --remove
"""

from __future__ import annotations

from fabric import Connection

from ..errors import SetupError
from ..facts import PREFIXES, as_file, facts
from ..host import Host, change, put
from ..platforms import platform
from ..settings import Settings
from ..task import host_task
from . import jupyter, kernels, lab

GROUP = "lab"
# %h is the account's home. The log may quote file names: for its owner only.
UNIT = """\
[Unit]
Description=JupyterLab

[Service]
Environment=PATH=%h/{prefix}/bin:/usr/local/bin:/usr/bin:/bin
WorkingDirectory=%h
UMask=0077
ExecStart=%h/{prefix}/bin/jupyter-lab --no-browser
StandardOutput=append:%h/.jupyter/lab.log
StandardError=inherit
Restart=on-failure
RestartSec=2

[Install]
WantedBy=default.target
"""
SYSTEMCTL = "export XDG_RUNTIME_DIR=/run/user/$(id -u); systemctl --user daemon-reload && systemctl --user %s jupyter.service"
REMOVE = """\
export XDG_RUNTIME_DIR=/run/user/$(id -u)
systemctl --user disable --now jupyter.service; rm -f ~/.config/systemd/user/jupyter.service
"""


@host_task(help={"yes": "Also when kernels are busy", "remove": "Go back to tmux"})
def service(c: Connection, yes: bool = False, remove: bool = False) -> None:
    """Let systemd run JupyterLab, also after a reboot.

    A JupyterLab that runs in tmux is restarted under it; with --remove it goes back to tmux.
    """
    want, have = Settings.of(c), facts(c).lab
    if not facts(c).system.systemd:
        raise SetupError(f"{Host.of(c).label}: systemd does not run there, so lab.start with tmux is the way")
    lab.refuse(c, want)
    if remove:
        take_away(c, want, yes)
    elif not have.service or not have.unit or have.unit.content != text(want):
        set_up(c, want, yes)
    lab.start(c)


def text(want: Settings) -> str:
    return UNIT.format(prefix=PREFIXES[want.python])


def set_up(c: Connection, want: Settings, yes: bool) -> None:
    """Write the unit, end what runs in tmux, have systemd start it at every boot."""
    jupyter.configure(c)
    account = facts(c).accounts[want.jupyter_user]
    if not account.linger:
        platform(c).keep_running(c, account.name)
    kernels.consent(c, yes, "restart")
    lab.stop(c)
    path = f"{account.home}/.config/systemd/user/jupyter.service"
    put(
        c, path, text(want), why="write JupyterLab's unit", old=facts(c).lab.unit, owner=account.name,
        then=as_file("lab.unit", text(want), "644", account.name),
    )  # fmt: skip
    change(
        c, SYSTEMCTL, "enable", user=account.name, why="have systemd start JupyterLab at boot",
        undo=("service disable %s", account.name), then={"lab.service": "yes", "lab.session": None},
    )  # fmt: skip


def take_away(c: Connection, want: Settings, yes: bool) -> None:
    """Take the unit away; JupyterLab goes back to tmux."""
    if not facts(c).lab.unit and not facts(c).lab.service:
        return
    kernels.consent(c, yes, "restart")
    lab.stop(c)
    change(
        c, REMOVE, user=want.jupyter_user, why="let systemd no longer start JupyterLab",
        then={"lab.service": None, "lab.unit.stat": None, "lab.api": None},
    )  # fmt: skip
