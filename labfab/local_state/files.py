"""Files on your own machine: written in one piece, readable by you alone.

Owns: how labfab writes below your home, and the folder ~/.config/labfab/<alias>.
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
    """Name the folder where labfab keeps what belongs to one lab."""
    check_alias(alias)
    base = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
    if not base.is_absolute():  # the XDG specification: relative paths are to be ignored
        base = Path.home() / ".config"
    return base / "labfab" / alias


def check_alias(alias: str) -> None:
    """Refuse a name that would need quoting, or that would leave its folder."""
    if not re.fullmatch(ALIAS, alias):
        raise SetupError(
            f"{alias!r} cannot be an alias: take letters, digits, '.', '_' and '-', as in: homelab"
        )


def make_private(folder: Path) -> Path:
    """Make a folder that only you can enter; one that is there keeps its mode."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(f"cannot make the folder {folder}: {error.strerror}") from None
    return folder


def load(path: Path) -> bytes:
    """Read the file; one that is not there is empty."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise SetupError(f"cannot read {path}: {error.strerror}") from None


def create(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a new file; raise FileExistsError rather than overwrite one."""
    with temporary(path, data, mode) as name:
        try:
            os.link(name, path)  # unlike a rename, a link never replaces
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "wb") as file:
                file.write(data)


def replace(path: Path, data: bytes, mode: int | None = None) -> None:
    """Write a file anew in one piece; a link is followed, the owner stays, and the mode if none is given."""
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
    """Write a file beside its destination, from the first byte readable by you alone."""
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
    """Let one labfab at a time work in a folder."""
    try:
        file = open(make_private(folder) / LOCK, "a")  # noqa: SIM115
    except OSError as error:
        raise SetupError(f"cannot write into {folder}: {error.strerror}") from None
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
