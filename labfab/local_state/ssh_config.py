"""ssh_config: lets `ssh homelab` and `fab -H homelab` find the host after setup.

Owns: one block per lab in ~/.ssh/config, between markers.  Undo: remove(path, name)

Constraints:
- ssh uses the first value it finds, so the block comes first. It ends with a `Host *` line, so that
  options at the top of the user's file still apply to every host, and ours to this alias only.
- It is not a file of its own, because paramiko does not follow Include.
- Every other byte stays as it is; remove() restores the file exactly.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path

from ..errors import SetupError
from . import files, ssh_lookup
from .alias_block import Alias, canonical, check, login, parse, render

__all__ = ["Alias", "find", "login", "read", "remove", "write"]

MARKER = rb"(?m)^# (>>>|<<<) labfab (\S+) \1[ \t]*\r?(?:\n|\Z)"


def read(path: Path) -> list[Alias]:
    """Return the aliases that labfab wrote into a file, in the order of the file."""
    return list(aliases(files.load(path), path))


@functools.lru_cache(8)
def aliases(data: bytes, path: Path) -> tuple[Alias, ...]:
    """Parse the aliases in a file's content; cached, because it rarely changes."""
    return tuple(
        parse(name, data[start:end].decode(errors="replace"))
        for name, start, end in blocks(data, path)
    )


def find(
    path: Path, user: str, hostname: str, port: int | None, way: str | None = None
) -> Alias | None:
    """Return the alias of a login, found by its name, its present login or an earlier one; or None.

    way: what is in between. It must be the same, because two private networks may use one address
    for two machines. None if it does not matter.
    """
    wanted = login(user, hostname, port or 22)
    for alias in read(path):
        present = [
            login(one, alias.hostname, alias.port) for one in (alias.user, alias.everyday_user)
        ]
        named = hostname in (alias.name, alias.admin_name)
        same_way = way is None or way == alias.way
        if named or (same_way and wanted in (*present, *alias.former_logins.split())):
            return alias
    return None


def write(path: Path, alias: Alias) -> bool:
    """Write the block of an alias at the top of the file. Returns False if nothing changes."""
    check(alias)
    with files.locked(files.config_folder(alias.name).parent):
        data = files.load(path)
        old = {one.name: one for one in read(path)}.get(alias.name)
        if old is None:
            refuse_foreign(path, alias.name)
        if alias.lab_user and not (old and old.lab_user):
            refuse_foreign(path, alias.admin_name)
        if old and old.hostname == alias.hostname:
            alias = alias._replace(former_logins=earlier(old, alias))
        return save(path, data, place(data, path, alias))


def earlier(old: Alias, new: Alias) -> str:
    """Return all earlier logins of a host, because the user may type any of them again."""
    logins = [
        *canonical(old.former_logins).split(),
        login(old.user, old.hostname, old.port),
        *canonical(new.former_logins).split(),
    ]
    present = login(new.user, new.hostname, new.port)
    return " ".join(dict.fromkeys(one for one in logins if one != present))


def remove(path: Path, name: str) -> bool:
    """Remove the block of an alias. Returns False if there is none."""
    with files.locked(files.config_folder(name).parent):
        data = files.load(path)
        return save(path, data, cut(data, path, name))


def place(data: bytes, path: Path, alias: Alias) -> bytes:
    """Return the data with the block in it.

    It replaces the old one if only our blocks come before that; otherwise it goes to the top.
    """
    block = render(alias, "\r\n" if re.match(rb"[^\n]*\r\n", data) else "\n").encode()
    top = 0
    for name, start, end in blocks(data, path):
        if start != top:
            break
        if name == alias.name:
            return data[:start] + block + cut(data[end:], path, name)
        top = end
    return block + cut(data, path, alias.name)


def cut(data: bytes, path: Path, name: str) -> bytes:
    """Return the data without the blocks of one alias."""
    for _, start, end in reversed([block for block in blocks(data, path) if block[0] == name]):
        data = data[:start] + data[end:]
    return data


def blocks(data: bytes, path: Path) -> Iterator[tuple[str, int, int]]:
    """Yield name, start and end of each block of ours.

    Raises SetupError if the markers do not pair up.
    """
    name, start = "", 0
    for marker in re.finditer(MARKER, data):
        begins, marked = marker[1] == b">>>", marker[2].decode(errors="replace")
        if begins == bool(name) or (not begins and marked != name):
            raise SetupError(
                f"{path}: the markers of labfab's block for {name or marked} are damaged: "
                "delete that block"
            )
        if begins:
            name, start = marked, marker.start()
        else:
            yield name, start, marker.end()
            name = ""
    if name:
        raise SetupError(
            f"{path}: labfab's block for {name} has lost its last line: delete that block"
        )


def refuse_foreign(path: Path, name: str) -> None:
    """Raise SetupError if the user has a Host of that name, in this file or in one it includes."""
    # ssh reads the machine's own file too, unless it is told to read another one.
    others = [ssh_lookup.SYSTEM] if path == Path.home() / ".ssh" / "config" else []
    for start in (path, *others):
        for place, text in ssh_lookup.texts(start):
            if names_host(text, name):
                raise SetupError(
                    f"{place} has a Host {name} of your own: choose another name with the setting "
                    "alias"
                )


def names_host(text: str, name: str) -> bool:
    """Return whether a Host or a Match of an ssh_config is for a host of this very name."""
    for key, value in ssh_lookup.pairs(text):
        words = value.replace('"', " ").lower()
        if key == "host" and name.lower() in words.split():
            return True
        if key == "match":
            for names in re.findall(r"\b(?:original)?host(?:\s*=\s*|\s+)(\S+)", words):
                if name.lower() in names.split(","):
                    return True
    return False


def save(path: Path, old: bytes, new: bytes) -> bool:
    """Write the file if its content differs. Returns whether it did.

    A read-only file is left alone, even if root could write it.
    """
    if old == new:
        return False
    try:
        if path.exists() and not path.stat().st_mode & 0o200:
            raise SetupError(
                f"{path} is read-only: make it writable with chmod u+w '{path}', "
                "or write the entry yourself"
            )
        files.make_private(path.parent)
        files.replace(path, new)
    except OSError as error:
        raise SetupError(f"cannot write {path}: {error.strerror}") from None
    return True
