"""Notebooks: read them on your laptop to submit them, and write them when they are fetched.

Owns: NAME.executed.ipynb in the folder that a notebook is fetched to, and
~/.config/labfab/<alias>/fetched.json, which distinguishes a file that an earlier fetch wrote from
one that somebody has changed since.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from .. import decode
from ..errors import SetupError
from ..local_state import files
from ..text import is_harmful, one_line

# Bytes of a file's name; most file systems take 255, and the name gets an end of its own.
LONGEST_NAME = 200


def load(path: Path) -> str:
    """Read a notebook as JSON text, without its outputs. Raises SetupError for anything else."""
    shown_path = one_line(str(path))
    try:
        notebook = decode.parsed(files.expanded(path).read_bytes())
    except FileNotFoundError:
        raise SetupError(
            f"there is no {shown_path} here; one that is on the host already: "
            "lab.submit --there PATH"
        ) from None
    except OSError as error:
        raise SetupError(f"cannot read {shown_path}: {error.strerror}") from None
    except ValueError:
        notebook = None
    if not isinstance(notebook, dict) or not isinstance(notebook.get("nbformat"), int):
        raise SetupError(
            f"{shown_path} is not a notebook: give an .ipynb file that JupyterLab saved"
        )
    cells = notebook.get("cells")
    for cell in cells if isinstance(cells, list) else []:
        if isinstance(cell, dict) and "outputs" in cell:
            cell["outputs"] = []  # the job makes new ones, and the old ones may be most of the file
    return json.dumps(notebook)


def save(alias: str, folder: Path, name: str, data: bytes, force: bool) -> Path:
    """Write a fetched notebook as NAME.executed.ipynb and return its path.

    force: also replace a file that we did not write, or that was changed since. Raises SetupError
    for such a file otherwise.
    """
    at = place(folder, name)
    note = files.config_folder(alias) / "fetched.json"
    with files.locked(note.parent):
        known = remembered(note)
        if at.is_symlink() and not force:  # it may have come from the host
            raise SetupError(
                f"{one_line(str(at))} is a link: --force writes to where it leads, "
                "--to FOLDER writes elsewhere"
            )
        key, old = str(at.absolute()), files.load(at)
        if at.exists() and not force and old != data and known.get(key) != digest(old):
            raise SetupError(
                f"{one_line(str(at))} exists already and differs: --force overwrites it, "
                "--to FOLDER writes elsewhere"
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            files.replace(at, data, None if at.exists() else 0o644)
            files.replace(note, json.dumps({**known, key: digest(data)}, indent=2).encode(), 0o600)
        except OSError as error:
            raise SetupError(f"cannot write {one_line(str(at))}: {error.strerror}") from None
    return at


def place(folder: Path, name: str) -> Path:
    """Return where to write a notebook of the host."""
    return folder / f"{file_name(name)}.executed.ipynb"


def remembered(note: Path) -> dict[str, str]:
    """Return the digest of each file that was fetched, by its path."""
    try:
        known = decode.parsed(files.load(note))
    except ValueError:
        return {}
    return known if isinstance(known, dict) else {}


def digest(data: bytes) -> str:
    """Return the SHA-256 of some content."""
    return hashlib.sha256(data).hexdigest()


def file_name(name: str) -> str:
    """Turn a name that the host chose, without .ipynb, into one that stays in its folder."""
    last = name.replace("\\", "/").rpartition("/")[2].removesuffix(".ipynb")
    name = "".join("_" if is_harmful(char) or not char.isprintable() else char for char in last)
    while len(os.fsencode(name)) > LONGEST_NAME:
        name = name[:-1]
    return name or "notebook"
