"""Upgrade: install a newer JupyterLab, and go back to the previous one if need be.

Owns: ~/.local/share/labfab/packages-*, what was installed before each update
Undo: lab.update goes back by itself if JupyterLab does not answer afterwards; by hand: install
what that list says
"""

from __future__ import annotations

from typing import NamedTuple

from fabric import Connection

from ... import console
from ...errors import SetupError
from ...facts import facts
from ...facts.reader import PREFIXES
from ...host.changes import ask, change
from ...host.session import Host
from ...platforms.minimum_versions import REQUIREMENTS
from ...run.task import host_task
from ...server import busy_kernels, process
from ...settings import Settings
from ..python import INDEX
from .lifecycle import start, stop


class Commands(NamedTuple):
    """The commands that update one kind of environment, in the shell variable `prefix`."""

    # Marks with + or --> which packages would change.
    newer: str
    update: str
    listed: str
    # Installs what the file `list` says.
    back: str


UV = '"$prefix/bin/uv" pip %s --python "$prefix/bin/python"'
VENV = Commands(
    newer=UV % "install --dry-run -U",
    update=UV % "install -q -U",
    listed=UV % "freeze",
    back=UV % "install -q" + ' -r "$list"',
)
# conda keeps its own history; a revision number leads back.
CONDA_UPDATE = '"$prefix/bin/conda" update -n base --override-channels -c conda-forge'
CONDA = Commands(
    newer=f"{CONDA_UPDATE} --dry-run",
    update=f"{CONDA_UPDATE} -y -q",
    listed='"$prefix/bin/conda" list -n base --revisions | '
    "sed -nE 's/.*\\(rev ([0-9]+)\\).*/\\1/p' | tail -n 1",
    back='"$prefix/bin/conda" install -y -q -n base --revision "$(cat "$list")"',
)
PREFIX = "prefix=~/%s; "
# A tool that fails names no newer package, which must not pass for "nothing is newer".
FIND_NEWER = (
    "said=$({newer} 2>&1) || {{ echo failed; printf '%%s\\n' \"$said\" >&2; exit 0; }}; "
    "printf '%%s\\n' \"$said\" | grep -E '^ +[+] |-->'"
)
LIST = (
    "umask 077; mkdir -p ~/.local/share/labfab; "
    "list=~/.local/share/labfab/packages-$(date +%%Y%%m%%dT%%H%%M%%S); "
    '{listed} >"$list" && echo "$list"'
)


@host_task(help={"yes": "Even if kernels are busy"})
def update(c: Connection, yes: bool = False) -> None:
    """Upgrade JupyterLab; go back if it does not answer.

    A list of what was installed before is kept on the host.
    """
    want, host = Settings.of(c), Host.of(c)
    process.refuse_unless_startable(c, want)
    commands, before = (VENV if want.python == "venv" else CONDA), version(c)
    if not is_newer(c, want, commands):
        return
    busy_kernels.require(c, want, yes, "update")
    kept = keep_list(c, want, commands)
    try:
        upgrade(c, want, commands)
        if host.planning:
            return
        stop(c)
        start(c)
    except SetupError as error:
        go_back(c, want, commands, kept, before)
        raise SetupError(
            f"{error.text}; JupyterLab {before} is back and answers: "
            f"see ~/.jupyter/lab.log on {host.label}",
            host=error.host,
        ) from None
    console.note(
        f"JupyterLab {before} → {version(c)}; what was installed before: {kept} on the host"
    )


def is_newer(c: Connection, want: Settings, commands: Commands) -> bool:
    """Return whether the index has anything newer. Raises SetupError if it cannot tell."""
    index = index_of(want)
    options = INDEX * len(index) + " %s" * len(REQUIREMENTS)
    given = (PREFIXES[want.python], *index, *REQUIREMENTS)
    look = PREFIX + FIND_NEWER.format(newer=commands.newer + options)
    answer = ask(c, look, *given, user=want.jupyter_user)
    if answer.out.startswith("failed"):
        raise SetupError(
            f"cannot find out what is newer: {answer.last_words}", host=Host.of(c).label
        )
    return answer.ok


def keep_list(c: Connection, want: Settings, commands: Commands) -> str:
    """Keep a list of what is installed; return its path, empty in plan mode."""
    done = change(
        c,
        PREFIX + LIST.format(listed=commands.listed),
        PREFIXES[want.python],
        user=want.jupyter_user,
        why="keep a list of what is installed",
    )
    return done.out.split()[0] if done else ""


def upgrade(c: Connection, want: Settings, commands: Commands) -> None:
    """Install what is newer."""
    index = index_of(want)
    options = INDEX * len(index) + " %s" * len(REQUIREMENTS)
    change(
        c,
        PREFIX + commands.update + options,
        PREFIXES[want.python],
        *index,
        *REQUIREMENTS,
        user=want.jupyter_user,
        why="upgrade JupyterLab",
        long=True,
    )


def go_back(c: Connection, want: Settings, commands: Commands, kept: str, before: str) -> None:
    """Install and start the previous versions. kept: path of the list on the host."""
    index = index_of(want)
    change(
        c,
        PREFIX + "list=%s; " + commands.back + INDEX * len(index),
        PREFIXES[want.python],
        kept,
        *index,
        user=want.jupyter_user,
        why=f"go back to JupyterLab {before}",
        long=True,
    )
    stop(c)
    start(c)


def index_of(want: Settings) -> list[str]:
    """Return the PyPI mirror in the settings, which conda cannot use."""
    return [want.package_index] if want.package_index and want.python == "venv" else []


def version(c: Connection) -> str:
    """Return the installed version of JupyterLab."""
    return facts(c).python.versions.get("jupyterlab", "")
