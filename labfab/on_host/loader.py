"""Scripts: the shell text that a host runs, from labfab/on_host.

A script is what all systems share, after what is the host's own: facts.sh after facts.linux.sh or facts.macos.sh. Both
speak in the words of words.linux.sh or words.macos.sh, which say in each system's tools what the other says otherwise.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent
SYSTEMS = {"Linux": "linux", "Darwin": "macos"}  # uname -s


@cache
def own(name: str, kernel: str) -> str:
    """What is the host's own of a script. kernel: one of SYSTEMS."""
    return (FOLDER / f"{name}.{SYSTEMS[kernel]}.sh").read_text()


@cache
def shared(name: str) -> str:
    """What all systems have in common of a script."""
    return (FOLDER / f"{name}.sh").read_text()


def script(name: str, kernel: str) -> str:
    """A whole script, but for the words, which the shell has learned."""
    return own(name, kernel) + shared(name)


@cache
def called(name: str, count: int = 0) -> str:
    """Give a script as shell text for ask() and change(), with %s for each of its arguments.

    name: of on_host/NAME.sh, which finds its arguments in "$1", "$2", … count: how many there are.
    """
    return f"set --{' %s' * count}\n{shared(name).replace('%', '%%')}"
