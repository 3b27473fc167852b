"""Launchd: JupyterLab as a job of the whole Mac, started at boot.

Owns: /Library/LaunchDaemons/org.labfab.jupyter.plist.  Undo: lab.service --remove
A launch agent would never run: it belongs to a login at the screen, and the account has none.
"""

from __future__ import annotations

import plistlib

from fabric import Connection

from ..facts import facts
from ..facts.reader import PREFIXES, planned_file
from ..host.changes import change, put
from ..settings import Settings

NAME = "launchd"
LABEL = "org.labfab.jupyter"
PLIST = f"/Library/LaunchDaemons/{LABEL}.plist"
PATH = "/opt/homebrew/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
# Seconds that JupyterLab has to end. Until then, launchd may refuse to load the job again.
EXIT_TIMEOUT = 20
OPEN_FILES = 4096  # kernels soon use up launchd's own limit of 256
# Checks a property list before it takes its place.
LINT = 'plutil -lint -s "$NEW"'
# The account opens its own log: through a link, it could make launchd, which is root, open another.
RUN = (
    'umask 077; exec "$HOME"/{prefix}/bin/jupyter-lab --no-browser >>"$HOME"/.jupyter/lab.log 2>&1'
)
# Only root may make launchd start it.
START_BY_HAND = f"""\
if [ -e {PLIST} ]; then
    echo "launchd is to run JupyterLab: sudo launchctl bootstrap system {PLIST}"
    exit 1
"""


def require(c: Connection) -> None:
    """Do nothing: every Mac has launchd."""


def unit_text(c: Connection) -> str:
    """Return the text that the property list should have."""
    want = Settings.of(c)
    account, prefix = facts(c).accounts[want.jupyter_user], PREFIXES[want.python]
    environment = {"HOME": account.home, "PATH": f"{account.home}/{prefix}/bin:{PATH}"}
    if account.runtime:
        environment["JUPYTER_RUNTIME_DIR"] = account.runtime
    return plistlib.dumps(
        {
            "Label": LABEL,
            "UserName": account.name,
            "ProgramArguments": ["/bin/sh", "-c", RUN.format(prefix=prefix)],
            "EnvironmentVariables": environment,
            "WorkingDirectory": account.home,
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},
            "ExitTimeOut": EXIT_TIMEOUT,
            "SoftResourceLimits": {"NumberOfFiles": OPEN_FILES},
        }
    ).decode()


def install(c: Connection) -> None:
    """Write the property list; launchd loads it at boot."""
    job = unit_text(c)
    then = planned_file("lab.unit", job, "644", "root") | {
        "lab.service": "yes",
        "lab.session": None,
    }
    why = "make launchd start JupyterLab at boot"
    put(c, PLIST, job, why=why, old=facts(c).lab.unit, check=LINT, then=then)


def start(c: Connection) -> None:
    """Load the job, which starts JupyterLab."""
    change(
        c,
        "load_daemon %s %s %s",
        LABEL,
        PLIST,
        EXIT_TIMEOUT + 5,
        why="start JupyterLab",
        undo=("service stop %s", Settings.of(c).jupyter_user),
        then={"lab.service": "yes"},
    )


def stop(c: Connection) -> None:
    """Unload the job; launchd loads it again at the next boot."""
    change(c, "unload_daemon %s", LABEL, why="stop JupyterLab")


def remove(c: Connection) -> None:
    """Stop JupyterLab and delete the property list."""
    gone = {"lab.service": None, "lab.unit.stat": None, "lab.api": None}
    command = "unload_daemon %s && rm -f %s"
    change(c, command, LABEL, PLIST, why="remove JupyterLab's job from launchd", then=gone)
