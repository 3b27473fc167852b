"""Launchd: JupyterLab as a job of the whole Mac, there again after a reboot.

Owns: /Library/LaunchDaemons/org.labfab.jupyter.plist.  Undo: lab.service --remove
An agent would never run: it belongs to a login at the screen, and the account of JupyterLab has none.
"""

from __future__ import annotations

import plistlib

from fabric import Connection

from ..facts import facts
from ..facts.reader import PREFIXES, as_file
from ..host.changes import change, put
from ..settings import Settings

NAME = "launchd"
LABEL = "org.labfab.jupyter"
PLIST = f"/Library/LaunchDaemons/{LABEL}.plist"
PATH = "/opt/homebrew/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
END = 20  # seconds that it has to end by itself; launchd may know it no more, and refuse the next one until then
LINT = 'plutil -lint -s "$NEW"'  # before a property list takes its place
# The account opens its own log: launchd, which is root, could be led elsewhere by a link.
RUN = (
    'umask 077; exec "$HOME"/{prefix}/bin/jupyter-lab --no-browser >>"$HOME"/.jupyter/lab.log 2>&1'
)
# For the account's own command that starts JupyterLab: launchd takes orders from root alone.
BY_HAND = f"""\
if [ -e {PLIST} ]; then
    echo "launchd is to run JupyterLab: sudo launchctl bootstrap system {PLIST}"
    exit 1
"""


def refuse(c: Connection) -> None:
    """Every Mac has it."""


def text(c: Connection) -> str:
    """The property list as it is to be."""
    want = Settings.of(c)
    account = facts(c).accounts[want.jupyter_user]
    prefix = f"{account.home}/{PREFIXES[want.python]}"
    return plistlib.dumps(
        {
            "Label": LABEL,
            "UserName": account.name,
            "ProgramArguments": ["/bin/sh", "-c", RUN.format(prefix=PREFIXES[want.python])],
            "EnvironmentVariables": {"HOME": account.home, "PATH": f"{prefix}/bin:{PATH}"},
            "WorkingDirectory": account.home,
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},
            "ExitTimeOut": END,
            "SoftResourceLimits": {
                "NumberOfFiles": 4096
            },  # launchd's own 256 are soon used up by kernels
        }
    ).decode()


def install(c: Connection) -> None:
    """Write the property list; launchd loads it at every boot."""
    then = as_file("lab.unit", text(c), "644", "root") | {"lab.service": "yes", "lab.session": None}
    put(
        c,
        PLIST,
        text(c),
        why="have launchd start JupyterLab at boot",
        old=facts(c).lab.unit,
        check=LINT,
        then=then,
    )


def start(c: Connection) -> None:
    undo = ("service stop %s", Settings.of(c).jupyter_user)
    change(
        c,
        "load_daemon %s %s %s",
        LABEL,
        PLIST,
        END + 5,
        why="start JupyterLab",
        undo=undo,
        then={"lab.service": "yes"},
    )


def stop(c: Connection) -> None:
    change(c, "unload_daemon %s", LABEL, why="stop JupyterLab")


def remove(c: Connection) -> None:
    """Take the property list away."""
    gone = {"lab.service": None, "lab.unit.stat": None, "lab.api": None}
    change(
        c,
        "unload_daemon %s && rm -f %s",
        LABEL,
        PLIST,
        why="let launchd no longer start JupyterLab",
        then=gone,
    )
