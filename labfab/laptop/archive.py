"""Archive: the backups on this machine, each a folder with a list of what is in it.

Owns: ~/labfab-backups/<alias>/<date>.  Undo: delete the folder

An incomplete backup is called .unfinished, and the next one continues it. manifest.json has the
SHA-256 of every file, and its own as "seal".
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .. import decode
from ..errors import SetupError
from ..local_state import files

MANIFEST, UNFINISHED = "manifest.json", ".unfinished"
SHOWN = 3  # how many names a message lists
Manifest = dict[str, Any]


def root() -> Path:
    """Return the usual folder of all backups."""
    return Path.home() / "labfab-backups"


def unfinished(alias: str, base: str = "") -> Path:
    """Return the folder of an unfinished backup. base: instead of the usual folder."""
    files.check_alias(alias)
    place = files.make_private(files.expanded(base).absolute() if base else root())
    return files.make_private(files.make_private(place / alias) / UNFINISHED)


def finish(folder: Path, about: Manifest) -> Path:
    """Write the manifest, name the folder by the time, and return its new path.

    about: what else the manifest should say.
    """
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
    """Return the fingerprint of each file, folder and link in a backup, by its path."""
    result = {}
    for path in sorted(walk(folder)):
        name = os.path.relpath(path, folder)
        if name != MANIFEST:
            result[name] = fingerprint(path)
    return result


def walk(folder: Path) -> Iterator[str]:
    """Yield every path below a folder. Raises SetupError for a folder that cannot be read."""

    def fail(error: OSError) -> None:
        raise SetupError(f"cannot read {error.filename}: {error.strerror}")

    for place, folders, names in os.walk(folder, onerror=fail):
        for name in folders + names:
            yield os.path.join(place, name)


def fingerprint(path: str) -> str:
    """Describe one entry: its type, and the SHA-256 of a file or the target of a link."""
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
    """Return the SHA-256 of a manifest without its seal."""
    rest = {key: value for key, value in manifest.items() if key != "seal"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def read(folder: Path) -> Manifest:
    """Read the manifest. Raises SetupError if it was changed or there is none."""
    try:
        manifest: Manifest = decode.parsed((folder / MANIFEST).read_bytes())
        listed = manifest["entries"].values()
        if manifest["seal"] == seal(manifest) and all(isinstance(one, str) for one in listed):
            return manifest
    except FileNotFoundError:
        raise SetupError(
            f"{folder} is not a backup: it has no {MANIFEST}: backup.list shows the backups"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    raise SetupError(
        f"{folder}: the backup is damaged, {MANIFEST} has changed since it was written: "
        "nothing was changed, use another one"
    )


def verify(folder: Path) -> Manifest:
    """Check every file of a backup, and return its manifest. Raises SetupError for damage."""
    manifest = read(folder)
    was, now = manifest["entries"], entries(folder)
    wrong = sorted(name for name in {*was, *now} if was.get(name) != now.get(name))
    if wrong:
        more = ", …" if len(wrong) > SHOWN else ""
        names = f"{', '.join(map(repr, wrong[:SHOWN]))}{more}"
        raise SetupError(
            f"{folder}: the backup is damaged, {len(wrong)} of its files have changed "
            f"({names}): nothing was changed"
        )
    return manifest


def backups(alias: str = "") -> list[Path]:
    """Return the complete backups of one lab or of all, oldest first."""
    every = (path.parent for path in root().glob(f"{alias or '*'}/*/{MANIFEST}"))
    complete = [path for path in every if not path.name.startswith(".")]
    return sorted(complete, key=lambda path: (path.name, path.parent.name))


def find(name: str, alias: str) -> Path:
    """Return the backup of that name or path; without a name, the newest of this lab.

    Raises SetupError if there is none.
    """
    if not name:
        mine = backups(alias)
        if not mine:
            raise SetupError(
                f"there is no backup of {alias} in {root()}: "
                "name one with --from, backup.list shows them"
            )
        return mine[-1]
    places = [files.expanded(name), root() / name, root() / alias / name]
    place = next((place for place in places if os.path.isdir(place)), None)
    if place is None:
        raise SetupError(f"there is no backup {name}: backup.list shows the backups")
    return Path(os.path.abspath(place))


def summary(folder: Path) -> dict[str, Any]:
    """Return what a list shows about a backup; for a damaged one, only where it is."""
    shown = {"name": f"{folder.parent.name}/{folder.name}", "folder": str(folder), "whole": False}
    try:
        manifest = read(folder)
    except SetupError:
        return shown | dict.fromkeys(("files", "host", "python"))
    count = sum(entry.startswith(("file", "link")) for entry in manifest["entries"].values())
    return shown | {
        "whole": True,
        "files": count,
        "host": manifest.get("host"),
        "python": manifest.get("python"),
    }
