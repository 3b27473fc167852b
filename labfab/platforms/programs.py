"""Programs: what macOS has by itself, and where the rest comes from. Nobody is asked for Homebrew, least of all as root."""

from __future__ import annotations

from fabric import Connection

from ..errors import SetupError
from ..facts import facts
from ..facts.reader import PREFIXES
from ..host.changes import change
from ..host.session import Host
from ..settings import Settings

BROUGHT = {"sudo", "curl", "openssl", "rsync", "ca-certificates"}
CONDA = "~/%s/bin/conda install -y -q -n base --override-channels -c conda-forge tmux"
NO_PYTHON = "python: venv needs a python3 of 3.10 or newer, which is not there: set python: miniforge, or brew install python3 at the Mac"
NO_TMUX = "there is no tmux: set python: miniforge, which brings one, or brew install tmux there, or do without: python.install lab.service"


def install(c: Connection, *packages: str, undo: str = "") -> None:
    """Have the programs there. undo: of no use here, for what labfab adds is gone with its Python."""
    for name in packages:
        if name in BROUGHT | facts(c).system.packages:
            continue
        refuse_without(c, name)
        want = Settings.of(c)
        then = {"system.package.tmux": "yes"}
        change(
            c,
            CONDA,
            PREFIXES[want.python],
            user=want.jupyter_user,
            why="install tmux",
            long=True,
            then=then,
        )


def refuse(c: Connection) -> None:
    """Stop, before the Mac is touched, where it lacks what only its owner can bring."""
    if Settings.of(c).python == "venv":
        for name in ("python3", *([] if facts(c).lab.service else ["tmux"])):
            if name not in facts(c).system.packages:
                refuse_without(c, name)


def refuse_without(c: Connection, name: str) -> None:
    """Stop where a program cannot come by itself; tmux can, of conda-forge into the environment."""
    if name != "tmux" or Settings.of(c).python == "venv":
        reason = {"python3": NO_PYTHON, "tmux": NO_TMUX}.get(name, f"{name} is not for macOS")
        raise SetupError(f"{Host.of(c).label}: {reason}")
