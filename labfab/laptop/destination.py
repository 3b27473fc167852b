"""Destination: where on this machine the files of a host may go.

A host chooses the names in a folder that is pulled from it. So none may arrive where a name alone
gives it a meaning: in the folder of the fabfile, in the home, next to what runs.
"""

from __future__ import annotations

import importlib.machinery
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ..errors import SetupError
from ..text import one_line

# The folder that holds the package labfab: site-packages or a clone.
PROGRAM = Path(__file__).parents[2]
# Programs of a developer, and fab, read these in the folder where they are started.
READ_BY_NAME = {"makefile", "gnumakefile", "pyproject.toml", "setup.cfg", "tox.ini", "noxfile.py"}
READ_BY_FAB = {"fabfile", "fabric", "invoke", "tasks", "conftest", "sitecustomize", "usercustomize"}
OF_PYTHON = ("", ".py", ".pyc", ".pyd", ".so", ".pth")
HINT = "so a host may not write there: choose another folder, such as --to results"


class Destination(NamedTuple):
    """Where something goes.

    folder: the target. name: the one name that is made in it; empty: the host chooses the names.
    """

    folder: Path
    name: str = ""

    @property
    def place(self) -> Path:
        """Return the folder in which the host chooses the names; a file, if it sends one."""
        return self.folder / self.name


def refuse_dangerous(to: Destination, project: Path) -> None:
    """Raise SetupError if what a host sends could be run, or read as configuration, there.

    project: the folder of the fabfile.
    """
    place, homes = real(to.place), starting_points(project)
    if any(is_within(one, place) for one in (*homes, PROGRAM, Path(sys.prefix))):
        holds = "this folder, your home, the fabfile or the program in use"
        raise SetupError(f"{shown(place)} is or holds {holds}, {HINT}")
    for tree in program_trees():
        if is_within(place, tree):
            raise SetupError(f"programs in {shown(tree)} are in use, {HINT}")
    for home in homes:
        if is_within(place, home) and is_hidden(place.relative_to(home)):
            raise SetupError(f"{shown(place)} is a place for configuration, {HINT}")
    if to.name and real(to.folder) in homes and has_meaning(to.name, real(to.folder)):
        raise SetupError(f"{shown(place)} would be run or read by its name, {HINT}")


def starting_points(project: Path) -> tuple[Path, ...]:
    """Return the folders in which programs look for their configuration: home, project, here."""
    return tuple(dict.fromkeys(map(real, (Path.home(), project, Path.cwd()))))


def program_trees() -> Iterable[Path]:
    """Return the folders whose files are run: of labfab, Python, the PATH, and a Mac's agents."""
    searched = filter(None, os.environ.get("PATH", "").split(os.pathsep))
    found = (PROGRAM / "labfab", Path(sys.prefix), Path.home() / "Library", *map(Path, searched))
    return tuple(map(real, found))


def has_meaning(name: str, folder: Path) -> bool:
    """Return whether a name in a folder where programs are started is more than a name."""
    stem, dot, end = name.lower().partition(".")
    return (
        name.lower() in READ_BY_NAME
        or stem in READ_BY_FAB
        or (dot + end in OF_PYTHON and is_module(name.partition(".")[0], folder))
    )


def is_module(name: str, folder: Path) -> bool:
    """Return whether Python would find a module of that name elsewhere: here, it would be first."""
    if name in sys.stdlib_module_names or name in sys.builtin_module_names:
        return True
    places = [place for place in sys.path if real(Path(place)) != folder]
    found = importlib.machinery.PathFinder.find_spec(name, places)
    return found is not None and found.origin is not None


def real(path: Path) -> Path:
    """Return a path without links, also one that is not there yet."""
    return Path(os.path.realpath(path))


def is_within(path: Path, folder: Path) -> bool:
    """Return whether a path is a folder, or below it."""
    return path == folder or folder in path.parents


def is_hidden(path: Path) -> bool:
    """Return whether any part of a path begins with a dot, as configuration does."""
    return any(part.startswith(".") for part in path.parts)


def shown(path: Path) -> str:
    """Return a path for a message."""
    return one_line(str(path))
