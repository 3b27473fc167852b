"""Program: the command `labfab`, which needs no fabfile.

It is Fabric's own program with labfab's tasks and executor. It reads the same settings as `fab`:
invoke.yaml and fabric.yaml of the folder it is started in, recipes by name, LABFAB_* variables.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from fabric import Config
from fabric.main import Fab
from invoke.collection import Collection
from invoke.util import helpline

from . import fabric_internals, ns, text
from .fleet import Executor

COLUMNS = 80
GREETING = """\
labfab turns a machine that you reach over SSH into your own JupyterLab: safely, with a proof
from outside, and with a way back. Begin with:

  labfab -H root@203.0.113.5 setup.plan    show what would change; changes nothing
  labfab -H root@203.0.113.5 setup.full    do it
  labfab -H homelab lab.open               open JupyterLab in your browser, from then on

All tasks: labfab --list. All flags: labfab --help."""
# The groups of tasks in the order of the guides.
HEADINGS = {
    "Set up": ("setup",),
    "Host": ("system", "user", "keys", "ssh", "firewall", "power"),
    "JupyterLab": ("python", "jupyter", "lab", "tunnel", "shortcuts"),
    "Publish": ("https", "proxy"),
    "Files": ("files", "backup"),
    "Check": ("check",),
}


class LabFab(Fab):
    """Fabric's program for one set of tasks."""

    def parse_collection(self) -> None:
        """Use labfab's tasks, and the settings of this folder."""
        # Invoke prevents that compiled code is kept, which would make each start slower.
        sys.dont_write_bytecode = bool(sys.flags.dont_write_bytecode)
        self.config.set_project_location(os.getcwd())
        self.config.load_project()
        super().parse_collection()

    def no_tasks_given(self) -> None:
        """Greet whoever types `labfab` alone."""
        if not self._remainder_only:
            print(GREETING)

    def list_flat(self) -> None:
        """List the tasks under headings. With --list NAME, those of one group."""
        if self.list_root:
            super().list_flat()
            return
        for heading, groups in HEADINGS.items():
            print(f"{heading}:")
            rows = [row for group in groups for row in tasks_of(self.collection, group)]
            width = max(len(name) for name, _ in rows)
            for name, what in rows:
                print(shortened(f"  {name:<{width}}  {what}"))
            print()


def tasks_of(collection: Collection, group: str) -> Iterator[tuple[str, str]]:
    """Yield name and first line of each task of a group."""
    for name, task in collection.collections[group].tasks.items():
        yield f"{group}.{collection.transform(name)}", helpline(task) or ""


def shortened(line: str) -> str:
    """Cut a line to the width of a terminal."""
    return line if len(line) <= COLUMNS else f"{line[: COLUMNS - 1]}…"


def installed_version() -> str:
    """Return labfab's version; unknown in a checkout that is not installed."""
    try:
        return version("labfab")
    except PackageNotFoundError:
        return "unknown"


def main() -> None:
    """Run the command line."""
    text.name_program("labfab")
    fabric_internals.read_no_python_settings()
    program = LabFab(
        name="labfab",
        binary="labfab",
        version=installed_version(),
        namespace=ns,
        executor_class=Executor,
        config_class=Config,
    )
    program.run()
