"""Files: writes files on your own machine, atomically and private to you.

Owns: the folder ~/.config/labfab/<alias>.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..errors import SetupError

ALIAS = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
LOCK = ".lock"


def config_folder(alias: str) -> Path:
    """Return the folder where labfab keeps the files of one lab."""
    check_alias(alias)
    base = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
    # The XDG base directory specification says to ignore relative paths.
    if not base.is_absolute():
        base = Path.home() / ".config"
    return base / "labfab" / alias


def check_alias(alias: str) -> None:
    """Raise SetupError for a name that would need quoting or point outside its folder."""
    if not re.fullmatch(ALIAS, alias):
        raise SetupError(
            f"{alias!r} cannot be an alias: use letters, digits, '.', '_' and '-', as in: homelab"
        )


def expanded(path: str | Path) -> Path:
    """Return a path with its ~ replaced. Raises SetupError for the home of nobody."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        user = Path(path).parts[0]
        raise SetupError(f"{path}: {user} is the home of no account here: correct it") from None


def make_private(folder: Path) -> Path:
    """Create a folder that only you can enter. An existing one keeps its mode."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(f"cannot create the folder {folder}: {error.strerror}") from None
    return folder


def load(path: Path) -> bytes:
    """Return the content of a file; empty if it does not exist."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise SetupError(f"cannot read {path}: {error.strerror}") from None


def create(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a new file. Raises FileExistsError if there is one."""
    with temporary(path, data, mode) as name:
        try:
            # Unlike rename(2), link(2) never replaces a file.
            os.link(name, path)
        except FileExistsError:
            raise
        except OSError:
            # The file system has no hard links.
            with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "wb") as file:
                file.write(data)


def replace(path: Path, data: bytes, mode: int | None = None) -> None:
    """Replace a file atomically, following a link and keeping the owner.

    mode: None keeps the present one; a new file gets 0600.
    """
    path = Path(os.path.realpath(path))
    old = path.stat() if path.exists() else None
    if mode is None:
        mode = stat.S_IMODE(old.st_mode) if old else 0o600
    with temporary(path, data, mode) as name:
        new = os.stat(name)
        if old and (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
            os.chown(name, old.st_uid, old.st_gid)
        os.replace(name, path)


@contextlib.contextmanager
def temporary(path: Path, data: bytes, mode: int) -> Iterator[str]:
    """Write a file next to its destination, private from the start, and yield its name."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, mode)
        yield name
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, so that only one labfab works in it."""
    try:
        file = open(make_private(folder) / LOCK, "a")  # noqa: SIM115
    except OSError as error:
        raise SetupError(f"cannot write into {folder}: {error.strerror}") from None
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
