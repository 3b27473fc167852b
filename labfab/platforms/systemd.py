"""Systemd: JupyterLab as a unit of its account's own systemd, started at boot.

Owns: ~/.config/systemd/user/jupyter.service of Lab's account.  Undo: lab.service --remove
"""

from __future__ import annotations

from fabric import Connection

from ..errors import SetupError
from ..facts import facts
from ..facts.reader import PREFIXES, planned_file
from ..host.changes import change, put
from ..host.session import Host
from ..settings import Settings

NAME = "systemd"
# %h is the account's home. The log may quote file names, so it is for its owner only.
UNIT = """\
[Unit]
Description=JupyterLab

[Service]
Environment=PATH=%h/{prefix}/bin:/usr/local/bin:/usr/bin:/bin{runtime}
WorkingDirectory=%h
UMask=0077
ExecStart=%h/{prefix}/bin/jupyter-lab --no-browser
StandardOutput=append:%h/.jupyter/lab.log
StandardError=inherit
Restart=on-failure
RestartSec=2
{hardened}
[Install]
WantedBy=default.target
"""
# Only with lab_user, because all of it keeps sudo in a notebook from working. What needs a
# namespace (PrivateTmp, ProtectSystem) is not here: a user's systemd cannot, or hides the account
# names. docs/safety.md says why each of the others is missing.
HARDENED = """\
NoNewPrivileges=yes
LockPersonality=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=~@clock @cpu-emulation @module @obsolete @raw-io @reboot @swap
"""
# labfab's shell does not run in a session of the account, so it says where systemd's socket is.
SYSTEMCTL = "XDG_RUNTIME_DIR=/run/user/$(id -u) systemctl --user %s jupyter.service"
ENABLE = (
    "export XDG_RUNTIME_DIR=/run/user/$(id -u); "
    "systemctl --user daemon-reload && systemctl --user enable jupyter.service"
)
REMOVE = """\
export XDG_RUNTIME_DIR=/run/user/$(id -u)
systemctl --user disable --now jupyter.service; rm -f ~/.config/systemd/user/jupyter.service
"""
START_BY_HAND = (
    "if XDG_RUNTIME_DIR=/run/user/$(id -u) systemctl --user is-enabled -q jupyter.service "
    "2>/dev/null; then\n"
    "    XDG_RUNTIME_DIR=/run/user/$(id -u) systemctl --user start jupyter.service\n"
)


def require(c: Connection) -> None:
    """Raise SetupError if systemd does not run."""
    if not facts(c).system.systemd:
        raise SetupError(
            "systemd does not run there; start JupyterLab with lab.start, which uses tmux",
            host=Host.of(c).label,
        )


def unit_text(c: Connection) -> str:
    """Return the text that the unit should have."""
    want = Settings.of(c)
    runtime = facts(c).accounts[want.jupyter_user].runtime
    more = f"\nEnvironment=JUPYTER_RUNTIME_DIR={runtime}" if runtime else ""
    hardened = HARDENED if want.lab_user else ""
    return UNIT.format(prefix=PREFIXES[want.python], runtime=more, hardened=hardened)


def install(c: Connection) -> None:
    """Write the unit and enable it at boot."""
    have = facts(c)
    account, unit = have.accounts[Settings.of(c).jupyter_user], unit_text(c)
    put(
        c,
        f"{account.home}/.config/systemd/user/jupyter.service",
        unit,
        why="write JupyterLab's unit",
        old=have.lab.unit,
        owner=account.name,
        then=planned_file("lab.unit", unit, "644", account.name),
    )
    change(
        c,
        ENABLE,
        user=account.name,
        why="make systemd start JupyterLab at boot",
        undo=("service disable %s", account.name),
        then={"lab.service": "yes", "lab.session": None},
    )


def start(c: Connection) -> None:
    """Start JupyterLab now."""
    account = Settings.of(c).jupyter_user
    undo = ("service stop %s", account)
    change(c, SYSTEMCTL, "start", user=account, why="start JupyterLab", undo=undo)


def stop(c: Connection) -> None:
    """Stop JupyterLab now; it starts again at the next boot."""
    change(c, SYSTEMCTL, "stop", user=Settings.of(c).jupyter_user, why="stop JupyterLab")


def remove(c: Connection) -> None:
    """Stop JupyterLab and delete the unit."""
    change(
        c,
        REMOVE,
        user=Settings.of(c).jupyter_user,
        why="remove JupyterLab's unit",
        then={"lab.service": None, "lab.unit.stat": None, "lab.api": None},
    )
