"""Archive: the backups on this machine, each a folder with a list of what is in it.

Owns: ~/labfab-backups/<alias>/<date>.  Undo: delete the folder

An incomplete backup is called .unfinished, and the next one continues it. manifest.json has the
SHA-256 of every file, and its own as "seal". links.json has the links that lead out of a part, and
are not made here.

Constraint: a backup may come from a hostile host. No link in it is followed, and only regular files
that have no other name are read.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from .. import decode
from ..errors import SetupError
from ..local_state import files

MANIFEST, UNFINISHED, LINKS = "manifest.json", ".unfinished", "links.json"
LARGEST = 64_000_000  # bytes of a file that labfab itself reads
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
    manifest["seal"] = manifest_digest(manifest)
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
        with opened(path) as data:
            while block := data.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise SetupError(f"cannot read {path}: {error.strerror}") from None
    return f"file {digest.hexdigest()}"


def opened(path: str | Path) -> BinaryIO:
    """Open a regular file that has no other name. Raises SetupError for anything else, OSError."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise not_a_file(path) from None
        raise
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode):
        os.close(handle)
        raise not_a_file(path)
    if found.st_nlink > 1:
        os.close(handle)
        raise SetupError(
            f"{path} has another name (a hard link), so it may be a file from elsewhere: "
            "copy the backup with cp -r, and use the copy"
        )
    return open(handle, "rb")


def not_a_file(path: str | Path) -> SetupError:
    """Return the error for a link, a pipe, a device or a socket where a file must be."""
    return SetupError(f"{path} is a link or no file at all, and a backup has none there: delete it")


def load(folder: Path, *parts: str) -> bytes:
    """Read a file of a backup. Raises SetupError; FileNotFoundError if there is none."""
    place = folder
    for part in parts[:-1]:
        place /= part
        if place.is_symlink():
            raise not_a_file(place)
    path = place / parts[-1]
    try:
        with opened(path) as file:
            data = file.read(LARGEST + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise SetupError(f"cannot read {path}: {error.strerror}") from None
    if len(data) > LARGEST:
        raise SetupError(f"{path} is larger than any that labfab writes: it was not read")
    return data


def links_left_out(folder: Path) -> dict[str, dict[str, str]]:
    """Return the links that lead out of each part of a backup: part, name, where it leads."""
    try:
        found = json.loads(load(folder, LINKS))
        return {part: {**found[part]} for part in found}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, RecursionError):
        raise SetupError(f"{folder / LINKS} is damaged: nothing was changed") from None


def manifest_digest(manifest: Manifest) -> str:
    """Return the SHA-256 of a manifest without its seal."""
    rest = {key: value for key, value in manifest.items() if key != "seal"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def read(folder: Path) -> Manifest:
    """Read the manifest. Raises SetupError if it was changed or there is none."""
    try:
        manifest: Manifest = decode.parsed(load(folder, MANIFEST))
        listed = manifest["entries"].values()
        if manifest["seal"] == manifest_digest(manifest) and all(
            isinstance(one, str) for one in listed
        ):
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
    for name, entry in now.items():
        # rsync follows a link to a whole part.
        if "/" not in name and entry.startswith("link"):
            raise not_a_file(folder / name)
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
