"""Systemd: JupyterLab as a unit of its account's own systemd, there again after a reboot.

Owns: ~/.config/systemd/user/jupyter.service of the account that runs Lab.  Undo: lab.service --remove
"""

from __future__ import annotations

from fabric import Connection

from ..errors import SetupError
from ..facts import facts
from ..facts.reader import PREFIXES, as_file
from ..host.changes import change, put
from ..host.session import Host
from ..settings import Settings

NAME = "systemd"
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
SYSTEMCTL = "XDG_RUNTIME_DIR=/run/user/$(id -u) systemctl --user %s jupyter.service"
ENABLE = "export XDG_RUNTIME_DIR=/run/user/$(id -u); systemctl --user daemon-reload && systemctl --user enable jupyter.service"
REMOVE = """\
export XDG_RUNTIME_DIR=/run/user/$(id -u)
systemctl --user disable --now jupyter.service; rm -f ~/.config/systemd/user/jupyter.service
"""
# For the account's own command that starts JupyterLab: what it does where systemd is to start it.
BY_HAND = """\
if XDG_RUNTIME_DIR=/run/user/$(id -u) systemctl --user is-enabled -q jupyter.service 2>/dev/null; then
    XDG_RUNTIME_DIR=/run/user/$(id -u) systemctl --user start jupyter.service
"""


def refuse(c: Connection) -> None:
    """Stop where there is none."""
    if not facts(c).system.systemd:
        raise SetupError(
            f"{Host.of(c).label}: systemd does not run there, so lab.start with tmux is the way"
        )


def text(c: Connection) -> str:
    """The unit as it is to be."""
    return UNIT.format(prefix=PREFIXES[Settings.of(c).python])


def install(c: Connection) -> None:
    """Write the unit and have it started at every boot."""
    account = facts(c).accounts[Settings.of(c).jupyter_user]
    put(
        c,
        f"{account.home}/.config/systemd/user/jupyter.service",
        text(c),
        why="write JupyterLab's unit",
        old=facts(c).lab.unit,
        owner=account.name,
        then=as_file("lab.unit", text(c), "644", account.name),
    )
    change(
        c,
        ENABLE,
        user=account.name,
        why="have systemd start JupyterLab at boot",
        undo=("service disable %s", account.name),
        then={"lab.service": "yes", "lab.session": None},
    )


def start(c: Connection) -> None:
    account = Settings.of(c).jupyter_user
    change(
        c,
        SYSTEMCTL,
        "start",
        user=account,
        why="start JupyterLab",
        undo=("service stop %s", account),
    )


def stop(c: Connection) -> None:
    change(c, SYSTEMCTL, "stop", user=Settings.of(c).jupyter_user, why="stop JupyterLab")


def remove(c: Connection) -> None:
    """Take the unit away."""
    change(
        c,
        REMOVE,
        user=Settings.of(c).jupyter_user,
        why="let systemd no longer start JupyterLab",
        then={"lab.service": None, "lab.unit.stat": None, "lab.api": None},
    )
