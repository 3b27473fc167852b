"""Notebooks on your laptop: read to be submitted, written when they are fetched.

Owns: NAME.executed.ipynb where a notebook is fetched to, and ~/.config/labfab/<alias>/fetched.json, which tells a file that
was fetched earlier from one that somebody has changed since.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ..errors import SetupError
from ..local_state import files


def load(path: Path) -> str:
    """Read a notebook as text, without the outputs it has. Raises SetupError for anything else."""
    try:
        notebook = json.loads(path.expanduser().read_bytes())
    except FileNotFoundError:
        raise SetupError(
            f"there is no {shown(str(path))} here; one that is on the host already: lab.submit --there PATH"
        ) from None
    except OSError as error:
        raise SetupError(f"cannot read {shown(str(path))}: {error.strerror}") from None
    except ValueError:
        notebook = None
    if not isinstance(notebook, dict) or not isinstance(notebook.get("nbformat"), int):
        raise SetupError(
            f"{shown(str(path))} is not a notebook: take an .ipynb file as JupyterLab saves it"
        )
    cells = notebook.get("cells")
    for cell in cells if isinstance(cells, list) else []:
        if isinstance(cell, dict) and "outputs" in cell:
            cell[
                "outputs"
            ] = []  # they are made anew, and may be many times larger than all the rest
    return json.dumps(notebook)


def save(alias: str, folder: Path, name: str, data: bytes, force: bool) -> Path:
    """Write a fetched notebook as NAME.executed.ipynb; a file of that name that is not ours as it was needs *force*."""
    at = place(folder, name)
    note = files.config_folder(alias) / "fetched.json"
    with files.locked(note.parent):
        known = remembered(note)
        key, old = str(at.absolute()), files.load(at)
        if at.exists() and not force and old != data and known.get(key) != digest(old):
            raise SetupError(
                f"{shown(str(at))} is there already and differs: --force overwrites it, --to FOLDER writes elsewhere"
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            files.replace(at, data, None if at.exists() else 0o644)
            files.replace(note, json.dumps({**known, key: digest(data)}, indent=2).encode(), 0o600)
        except OSError as error:
            raise SetupError(f"cannot write {shown(str(at))}: {error.strerror}") from None
    return at


def place(folder: Path, name: str) -> Path:
    """Where a notebook of the host is written to."""
    return folder / f"{plain(name).removesuffix('.ipynb')}.executed.ipynb"


def remembered(note: Path) -> dict[str, str]:
    try:
        known = json.loads(files.load(note))
    except ValueError:
        return {}
    return known if isinstance(known, dict) else {}


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def plain(name: str) -> str:
    """A name that the host told, as one that stays in its folder."""
    return (
        "".join(
            char if char.isprintable() else "_"
            for char in name.replace("\\", "/").rpartition("/")[2]
        )
        or "notebook"
    )


def shown(name: str) -> str:
    """A name for the terminal: nothing in it can move the cursor or begin a line."""
    return "".join(char if char.isprintable() else "?" for char in name)
