"""Arrival: what a host may change on this machine when files are pulled from it.

rsync itself makes no links and deletes nothing here. It lists them, and this module makes or
deletes the ones that were shown, one name after the other.

Constraints:
- The host chose the names, and may have put a link where a folder was: every folder of a path is
  opened without following links.
- A link may lead only to what was pulled with it. One that can lead nowhere here is harmless.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import posixpath
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from ..errors import SetupError

RESERVE = 500_000_000  # bytes that always stay free on this machine
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Link(str):
    """The name of a link that a host has, and where it leads."""

    target: str

    def __new__(cls, name: str, target: str) -> Link:
        new = super().__new__(cls, name)
        new.target = target
        return new


class Mark(NamedTuple):
    """What tells whether a file is still the one that was shown."""

    device: int
    inode: int
    changed: int


def leads_out(link: Link, root: str = "") -> bool:
    """Return whether a link leads, or could lead, out of what is pulled.

    root: the folder that everything pulled is below, relative to the target; empty: the target.
    """
    words = [word for word in link.target.split("/") if word not in ("", ".")]
    if link.target.startswith("/"):
        # Nobody but this machine's root could let it lead anywhere.
        return not words or os.path.lexists(f"/{words[0]}")
    rest = list(itertools.dropwhile("..".__eq__, words))
    # `a/..` leads elsewhere if a is a link itself.
    if not link.target or ".." in rest:
        return True
    folder = [part for part in posixpath.dirname(link).split("/") if part]
    ups = len(words) - len(rest)
    place, top = [*folder[: len(folder) - ups], *rest], [part for part in root.split("/") if part]
    return ups > len(folder) or place[: len(top)] != top


def make_links(target: Path, links: Iterable[Link]) -> list[str]:
    """Make links below a folder; return the names of those that could not be made."""
    return [link for link in links if not make_link(target, link)]


def make_link(target: Path, link: Link) -> bool:
    """Make one link, in place of a file or a link of that name. Returns whether it is there."""
    with opened(target, link) as (folder, name):
        if folder is None:
            return False
        with contextlib.suppress(OSError):
            if os.readlink(name, dir_fd=folder) == link.target:
                return True
        new = f".{secrets.token_hex(8)}"
        try:
            with unchanged(folder):
                os.symlink(link.target, new, dir_fd=folder)
                try:
                    os.rename(new, name, src_dir_fd=folder, dst_dir_fd=folder)
                except OSError:
                    os.unlink(new, dir_fd=folder)
                    return False
        except (OSError, ValueError):
            return False
    return True


@contextlib.contextmanager
def unchanged(folder: int) -> Iterator[None]:
    """Write to an open folder of yours, and give it its mode and its times back."""
    old = os.fstat(folder)
    mode = stat.S_IMODE(old.st_mode)
    closed = mode & 0o300 != 0o300
    if closed:
        os.fchmod(folder, mode | 0o300)
    try:
        yield
    finally:
        if closed:
            os.fchmod(folder, mode)
        os.utime(folder, ns=(old.st_atime_ns, old.st_mtime_ns))


def marks(target: Path, names: Iterable[str]) -> dict[str, Mark]:
    """Return what tells each of these files of a folder from any other."""
    found = {}
    for name in names:
        with opened(target, name) as (folder, last):
            if folder is not None:
                with contextlib.suppress(OSError):
                    found[name] = mark(os.stat(last, dir_fd=folder, follow_symlinks=False))
    return found


def mark(found: os.stat_result) -> Mark:
    """Return the mark of a file. The times of a folder change with its content."""
    changed = 0 if stat.S_ISDIR(found.st_mode) else found.st_ctime_ns
    return Mark(found.st_dev, found.st_ino, changed)


def delete(target: Path, shown: dict[str, Mark]) -> None:
    """Delete the files and empty folders that were shown, and no others."""
    for name in sorted(shown, reverse=True):  # what is in a folder comes before it
        with opened(target, name) as (folder, last), contextlib.suppress(OSError):
            if folder is None:
                continue
            found = os.stat(last, dir_fd=folder, follow_symlinks=False)
            if mark(found) != shown[name]:
                continue
            remove = os.rmdir if stat.S_ISDIR(found.st_mode) else os.unlink
            remove(last, dir_fd=folder)


@contextlib.contextmanager
def opened(target: Path, name: str) -> Iterator[tuple[int | None, str]]:
    """Open the folder of a name below a target, which may be a link itself; yield the last part.

    Yields None for a name that leads elsewhere, or whose folder is not there.
    """
    parts = [part for part in name.split("/") if part]
    with contextlib.ExitStack() as stack:
        yield folder_of(stack, target, parts) if is_below(name) else None, (parts or [""])[-1]


def is_below(name: str) -> bool:
    """Return whether a name can mean only something below a folder."""
    if name.startswith("/"):
        return False
    return bool(name.strip("/")) and {"..", "."}.isdisjoint(name.split("/")) and "\0" not in name


def folder_of(stack: contextlib.ExitStack, target: Path, parts: list[str]) -> int | None:
    """Open the folder that has the last of these parts, until the stack is closed."""
    try:
        folder = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        stack.callback(os.close, folder)
        for part in parts[:-1]:
            folder = os.open(part, FOLDER, dir_fd=folder)
            stack.callback(os.close, folder)
    except OSError:
        return None
    return folder


def refuse_full(place: Path, size: int = 0) -> None:
    """Raise SetupError unless this many bytes fit on the disk of a folder, with some to spare."""
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free - size < RESERVE:
        raise SetupError(
            f"not enough room on this machine: {free // 1_000_000} MB are free in {place}, "
            f"and {RESERVE // 1_000_000} of them stay so: free some and run this again"
        )
