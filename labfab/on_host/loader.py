"""Scripts: the shell text that a host runs, from labfab/on_host.

A script has a part for each system and a part that all systems share: facts.linux.sh or
facts.macos.sh, then facts.sh. All of them use the words of words.linux.sh or words.macos.sh,
which give one name to each thing that the two systems do with different tools.
"""

from __future__ import annotations

import shlex
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent
PROGRAMS = ("relay", "keeper", "at_home")  # Perl
SYSTEMS = {"Linux": "linux", "Darwin": "macos"}  # uname -s


@cache
def system_part(name: str, kernel: str) -> str:
    """Return the part of a script for one system. kernel: one of SYSTEMS."""
    return (FOLDER / f"{name}.{SYSTEMS[kernel]}.sh").read_text()


@cache
def shared(name: str) -> str:
    """Return the part of a script that all systems share."""
    return (FOLDER / f"{name}.sh").read_text()


@cache
def perl(name: str) -> str:
    """Return a Perl program."""
    return (FOLDER / f"{name}.pl").read_text()


@cache
def programs() -> str:
    """Return the Perl programs that the words run, as shell variables."""
    texts = {name.upper(): perl(name) for name in PROGRAMS}
    return "".join(f"{name}={shlex.quote(text)}\n" for name, text in texts.items())


def script(name: str, kernel: str) -> str:
    """Return a whole script without the words, which the root shell already has."""
    return system_part(name, kernel) + shared(name)


@cache
def words(kernel: str) -> str:
    """Return the shell functions that every script uses, and the programs that they run."""
    return programs() + script("words", kernel)


@cache
def as_command(name: str, count: int = 0, uses: str = "") -> str:
    """Return a script as shell text for ask() and change(), with %s for each argument.

    name: the NAME in on_host/NAME.sh, which gets its arguments as "$1", "$2", … count: how many.
    uses: another script, whose functions it calls.
    """
    text = (shared(uses) if uses else "") + shared(name)
    return f"set --{' %s' * count}\n{text.replace('%', '%%')}"
