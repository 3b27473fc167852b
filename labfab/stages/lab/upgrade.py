"""Update: a newer JupyterLab, with the way back to the one before.

Owns: ~/.local/share/labfab/packages-*, what was installed before each update.  Undo: lab.update goes back by itself
when JupyterLab does not answer afterwards; by hand: install what that list says
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
from ...run.task import host_task
from ...settings import Settings
from ..python import INDEX, JUPYTER
from . import kernels, server


class Commands(NamedTuple):
    """How one kind of environment is updated, each for the shell variable `prefix`."""

    newer: str  # says with + or --> which packages would change
    update: str
    listed: str
    back: str  # from the list of before


UV = '"$prefix/bin/uv" pip %s --python "$prefix/bin/python"'
VENV = Commands(
    UV % "install --dry-run -U",
    UV % "install -q -U",
    UV % "freeze",
    UV % "install -q" + ' -r "$list"',
)
# conda keeps a history of its own, where a number leads back.
FORGE = '"$prefix/bin/conda" update -n base --override-channels -c conda-forge'
CONDA = Commands(
    f"{FORGE} --dry-run",
    f"{FORGE} -y -q",
    "\"$prefix/bin/conda\" list -n base --revisions | sed -nE 's/.*\\(rev ([0-9]+)\\).*/\\1/p' | tail -n 1",
    '"$prefix/bin/conda" install -y -q -n base --revision "$(cat "$list")"',
)
PREFIX = "prefix=~/%s; "
# A tool that fails says nothing of what is newer, which must not pass for "nothing".
LOOK = (
    "said=$({newer} 2>&1) || {{ echo failed; printf '%%s\\n' \"$said\" >&2; exit 0; }}; "
    "printf '%%s\\n' \"$said\" | grep -E '^ +[+] |-->'"
)
LIST = (
    "umask 077; mkdir -p ~/.local/share/labfab; list=~/.local/share/labfab/packages-$(date +%%Y%%m%%dT%%H%%M%%S); "
    '{listed} >"$list" && echo "$list"'
)


@host_task(help={"yes": "Also when kernels are busy"})
def update(c: Connection, yes: bool = False) -> None:
    """Upgrade JupyterLab; go back if it does not answer.

    What was installed before is kept as a list on the host.
    """
    want = Settings.of(c)
    server.refuse(c, want)
    commands, before = (VENV if want.python == "venv" else CONDA), version(c)
    index = index_of(want)
    given = [PREFIXES[want.python], *index, *JUPYTER]
    options = INDEX * len(index) + " %s" * len(JUPYTER)
    newer = ask(
        c, PREFIX + LOOK.format(newer=commands.newer + options), *given, user=want.jupyter_user
    )
    if newer.out.startswith("failed"):
        raise SetupError(f"{Host.of(c).label}: cannot find out what is newer: {newer.last_words}")
    if not newer.ok:
        return
    kernels.consent(c, yes, "update")
    listing = PREFIX + LIST.format(listed=commands.listed)
    said = change(
        c,
        listing,
        PREFIXES[want.python],
        user=want.jupyter_user,
        why="keep a list of what is installed",
    )
    kept = said.out.split()[0] if said else ""
    try:
        change(
            c,
            PREFIX + commands.update + options,
            *given,
            user=want.jupyter_user,
            why="upgrade JupyterLab",
            long=True,
        )
        if Host.of(c).planning:
            return
        server.stop(c)
        server.start(c)
    except SetupError as error:
        go_back(c, want, commands, kept, before, error)
    console.note(
        f"JupyterLab {before} → {version(c)}; what was installed before: {kept} on the host"
    )


def go_back(
    c: Connection, want: Settings, commands: Commands, kept: str, before: str, error: SetupError
) -> None:
    """Bring back what was installed before, and say why."""
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
    server.stop(c)
    server.start(c)
    raise SetupError(
        f"{str(error.message)}; JupyterLab {before} is back and answers: look into ~/.jupyter/lab.log on {Host.of(c).label}"
    )


def index_of(want: Settings) -> list[str]:
    """The PyPI mirror of the settings, for what it is good for."""
    return [want.package_index] if want.package_index and want.python == "venv" else []


def version(c: Connection) -> str:
    return facts(c).python.versions.get("jupyterlab", "")
