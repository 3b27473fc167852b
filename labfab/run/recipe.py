"""Recipe: the file of settings that a host is set up with.

It is given with `fab -f`, `--recipe` or LABFAB_RECIPE. setup.full remembers it before its first
change, together with what was given in variables, so that later commands use the same settings.

Owns: ~/.config/labfab/<alias>/recipe, and settings.json (settings/kept.py).  Undo: delete both
"""

from __future__ import annotations

import os
from pathlib import Path

from fabric import Connection
from invoke import Context

from .. import fabric_internals
from ..errors import SetupError
from ..host.session import Host
from ..local_state import files
from ..settings import Settings, kept, sources, to_keep


def choose(c: Context, name: str) -> None:
    """Use the settings of a recipe, as if it were given with -f.

    name: a recipe of labfab's; empty: the one that this host was set up with, if any.
    """
    # A run keeps the settings that it started with.
    if isinstance(c, Connection) and Host.of(c).task_depth:
        return
    if name:
        load(c, sources.recipe_path(name, "--recipe"))
    elif not given(c):
        recall(c)


def given(c: Context) -> str:
    """Return the recipe of this command line: its name if it is one of labfab's, else its path."""
    path = fabric_internals.settings_file(c.config)
    if not path:
        return os.environ.get("LABFAB_RECIPE", "")
    found = Path(path).resolve()
    return found.stem if found.parent == sources.CONFIG.resolve() else str(found)


def recall(c: Context) -> None:
    """Use the recipe that this host was set up with, if any."""
    alias = known_as(c)
    note = place(alias) if alias else None
    if note is None or not note.is_file():
        return
    name = files.load(note).decode(errors="replace").strip()
    path = sources.CONFIG / f"{name}.yaml" if "/" not in name else Path(name)
    if not path.is_file():
        raise SetupError(
            f"was set up with the recipe {name}, which is gone: give one with -f, or delete {note}",
            host=alias,
        )
    sources.RECALLED.add(str(path))
    load(c, path)


def known_as(c: Context) -> str:
    """Return the alias of this host, if a setup has begun there; without -H, the setting."""
    return kept.name_of(c, "" if isinstance(c, Connection) else Settings.of(c).alias)


def load(c: Context, path: Path) -> None:
    """Load a file of settings, as -f does. Raises SetupError if it is not valid YAML."""
    c.config.set_runtime_path(path)
    list(sources.yaml_file(c.config, "runtime", str(path)))


def store(c: Connection, alias: str) -> None:
    """Remember the recipe of this run, and the settings given in variables, for later commands."""
    name, values = given(c), to_keep(c)
    if name:
        files.make_private(place(alias).parent)
        files.replace(place(alias), f"{name}\n".encode(), 0o600)
    else:
        place(alias).unlink(missing_ok=True)
    kept.store(c, alias, values, bool(name))


def forget(alias: str) -> None:
    """Forget the recipe of a host, and the settings kept with it."""
    place(alias).unlink(missing_ok=True)
    kept.forget(alias)


def place(alias: str) -> Path:
    """Return the file that holds the recipe of a host."""
    return files.config_folder(alias) / "recipe"
