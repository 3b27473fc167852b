"""Programs: what macOS has by itself, and where the rest comes from. Nobody is asked for Homebrew, least of all as root."""

from __future__ import annotations

from fabric import Connection

from ..errors import SetupError
from ..facts import PREFIXES, facts
from ..host import Host, change
from ..settings import Settings

BROUGHT = {"sudo", "curl", "openssl", "rsync", "ca-certificates"}
CONDA = "~/%s/bin/conda install -y -q -n base --override-channels -c conda-forge tmux"
NO_PYTHON = "python: venv needs a python3 of 3.10 or newer, which this Mac has not: set python: miniforge, or install one, with Homebrew or Python's own installer"
NO_TMUX = "there is no tmux: with Homebrew, brew install tmux; or lab.service, which needs none; or python: miniforge, which brings it"


def install(c: Connection, *packages: str, undo: str = "") -> None:
    """Have the programs there. undo: of no use here, for what labfab adds is gone with its Python."""
    for name in packages:
        if name in BROUGHT | facts(c).system.packages:
            continue
        if name == "tmux":
            add_tmux(c)
        else:
            raise SetupError(f"{Host.of(c).label}: {NO_PYTHON if name == 'python3-venv' else f'{name} is not for macOS'}")


def add_tmux(c: Connection) -> None:
    """Have a tmux of conda-forge in the environment, where there is conda; where launchd starts JupyterLab none is needed."""
    want = Settings.of(c)
    if facts(c).lab.service:
        return
    if want.python == "venv":
        raise SetupError(f"{Host.of(c).label}: {NO_TMUX}")
    change(c, CONDA, PREFIXES[want.python], user=want.jupyter_user, why="install tmux", long=True, then={"system.package.tmux": "yes"})
