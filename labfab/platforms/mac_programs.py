"""Mac programs: what macOS includes, and where the rest comes from.

labfab does not install or run Homebrew, least of all as root.
"""

from __future__ import annotations

from fabric import Connection

from ..errors import SetupError
from ..facts import facts
from ..facts.reader import PREFIXES
from ..host.changes import change
from ..host.session import Host
from ..settings import Settings

BUILT_IN = {"sudo", "curl", "openssl", "rsync", "ca-certificates"}
CONDA = "~/%s/bin/conda install -y -q -n base --override-channels -c conda-forge tmux"
MISSING = {
    "python3": "python: venv needs a python3 of 3.10 or newer, which is not there: "
    "set python: miniforge, or brew install python3 at the Mac",
    "tmux": "there is no tmux: set python: miniforge, which brings one, or brew install tmux "
    "there, or do without: python.install lab.service",
}


def install(c: Connection, *packages: str, undo: str = "") -> None:
    """Install the programs that are missing: tmux, from conda-forge.

    undo: unused; the program is removed with the Python that it was installed into.
    """
    for name in packages:
        if name in BUILT_IN | facts(c).system.packages:
            continue
        want = Settings.of(c)
        refuse_program(c, want, name)
        change(
            c,
            CONDA,
            PREFIXES[want.python],
            user=want.jupyter_user,
            why="install tmux",
            long=True,
            then={"system.package.tmux": "yes"},
        )


def refuse_missing_programs(c: Connection) -> None:
    """Raise SetupError, before the Mac is changed, if only its owner can add what is missing."""
    want, have = Settings.of(c), facts(c)
    if want.python != "venv":
        return
    needed = ["python3"] if have.lab.service else ["python3", "tmux"]
    for name in needed:
        if name not in have.system.packages:
            refuse_program(c, want, name)


def refuse_program(c: Connection, want: Settings, name: str) -> None:
    """Raise SetupError for a program that labfab cannot install.

    tmux comes from conda, so it is not available with python: venv.
    """
    if name != "tmux" or want.python == "venv":
        raise SetupError(
            MISSING.get(name, f"{name} is not available on macOS"), host=Host.of(c).label
        )
