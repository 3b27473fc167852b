"""Archive: the backups on this machine, each a folder that knows what is in it.

Owns: ~/labfab-backups/<alias>/<date>.  Undo: delete the folder
A backup that is not whole yet is called .unfinished; the next one goes on with it. manifest.json has a SHA-256 of every
file, and its seal is one of itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import SetupError
from ..local_state import files

MANIFEST, UNFINISHED = "manifest.json", ".unfinished"
SHOWN = 3  # names in a message
Manifest = dict[str, Any]


def root() -> Path:
    return Path.home() / "labfab-backups"


def unfinished(alias: str, base: str = "") -> Path:
    """The folder for a backup that is being made. base: where backups go instead of the usual place."""
    files.check_alias(alias)
    place = files.make_private(Path(base).expanduser().absolute() if base else root())
    return files.make_private(files.make_private(place / alias) / UNFINISHED)


def finish(folder: Path, about: Manifest) -> Path:
    """Write the manifest and give the folder its name, the present time."""
    place = folder.parent / time.strftime("%Y-%m-%dT%H%M%S")
    manifest = {
        "version": 1,
        "made": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        **about,
        "entries": entries(folder),
    }
    manifest["seal"] = seal(manifest)
    try:
        files.replace(folder / MANIFEST, json.dumps(manifest, indent=1).encode() + b"\n", 0o600)
        folder.chmod(0o700)
        folder.rename(place)
    except OSError as error:
        raise SetupError(f"cannot write the backup {place}: {error.strerror}") from None
    return place


def entries(folder: Path) -> dict[str, str]:
    """What lies in a backup: by path, what it is and the SHA-256 of a file, or where a link leads."""
    found = {}
    for path in sorted(walk(folder)):
        name = os.path.relpath(path, folder)
        if name != MANIFEST:
            found[name] = fingerprint(path)
    return found


def walk(folder: Path) -> Iterator[str]:
    """Every path below a folder; a folder that cannot be read is an error, not an empty one."""

    def fail(error: OSError) -> None:
        raise SetupError(f"cannot read {error.filename}: {error.strerror}")

    for place, folders, names in os.walk(folder, onerror=fail):
        for name in folders + names:
            yield os.path.join(place, name)


def fingerprint(path: str) -> str:
    if os.path.islink(path):
        return f"link {os.readlink(path)}"
    if os.path.isdir(path):
        return "folder"
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as data:
            while block := data.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise SetupError(f"cannot read {path}: {error.strerror}") from None
    return f"file {digest.hexdigest()}"


def seal(manifest: Manifest) -> str:
    rest = {key: value for key, value in manifest.items() if key != "seal"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def read(folder: Path) -> Manifest:
    """Read the manifest. Raises SetupError where it is not as it was written."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        whole = manifest["seal"] == seal(manifest)
    except FileNotFoundError:
        raise SetupError(
            f"{folder} is no backup, it has no {MANIFEST}: backup.list shows those that there are"
        ) from None
    except (OSError, ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        raise SetupError(
            f"{folder}: the backup is damaged, {MANIFEST} is not as it was written: nothing was changed, take another one"
        )
    return manifest


def verify(folder: Path) -> Manifest:
    """Give the manifest, once every file is as it says. Raises SetupError for a damaged backup."""
    manifest = read(folder)
    was, now = manifest["entries"], entries(folder)
    wrong = sorted(name for name in {*was, *now} if was.get(name) != now.get(name))
    if wrong:
        names = f"{', '.join(map(repr, wrong[:SHOWN]))}{', …' * (len(wrong) > SHOWN)}"
        raise SetupError(
            f"{folder}: the backup is damaged, {len(wrong)} of its files are not as they were ({names}): nothing was changed"
        )
    return manifest


def found(alias: str = "") -> list[Path]:
    """The backups that are whole, oldest first; of one lab or of all."""
    every = (path.parent for path in root().glob(f"{alias or '*'}/*/{MANIFEST}"))
    return sorted(
        (path for path in every if not path.name.startswith(".")),
        key=lambda path: (path.name, path.parent.name),
    )


def find(name: str, alias: str) -> Path:
    """The backup of that name or path; without one, the newest of this lab."""
    if not name:
        mine = found(alias)
        if not mine:
            raise SetupError(
                f"there is no backup of {alias} in {root()}: name one with --from, backup.list shows them"
            )
        return mine[-1]
    places = [Path(name).expanduser(), root() / name, root() / alias / name]
    place = next((place for place in places if place.is_dir()), None)
    if place is None:
        raise SetupError(f"there is no backup {name}: backup.list shows those that there are")
    return Path(os.path.abspath(place))


def row(folder: Path) -> dict[str, Any]:
    """What a list tells of a backup; of a damaged one only where it is."""
    told = {"name": f"{folder.parent.name}/{folder.name}", "folder": str(folder), "whole": False}
    try:
        manifest = read(folder)
    except SetupError:
        return told | dict.fromkeys(("files", "host", "python"))
    count = sum(entry.startswith(("file", "link")) for entry in manifest["entries"].values())
    return told | {
        "whole": True,
        "files": count,
        "host": manifest.get("host"),
        "python": manifest.get("python"),
    }
