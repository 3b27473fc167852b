"""Known host keys: what each host showed when it was first met; only ever added to.

Owns: the lines of ~/.ssh/known_hosts that end in "labfab".  Undo: forget(path, hostname, port)
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import SetupError
from . import files

if TYPE_CHECKING:
    from paramiko import PKey

OURS = "labfab"  # the comment at the end of a line


def fingerprint(key: PKey) -> str:
    """Return what `ssh-keygen -lf` shows: SHA256:…"""
    return key.fingerprint


def name(hostname: str, port: int) -> str:
    """Name a host as known_hosts does."""
    hostname = hostname.lower().strip("[]")
    return hostname if port == 22 else f"[{hostname}]:{port}"


def pinned(path: Path, hostname: str, port: int) -> list[PKey]:
    """Return the keys known for a host, from plain, hashed and wildcard lines."""
    wanted = name(hostname, port)
    keys = [key_of(kind, blob) for names, kind, blob in entries(path) if matches(names, wanted)]
    return [key for key in keys if key is not None]


def pin(path: Path, hostname: str, port: int, key: PKey) -> bool:
    """Remember the key of a host; False when it is there already, SetupError when another one is."""
    known = pinned(path, hostname, port)
    if key in known:
        return False
    wanted = name(hostname, port)
    if any(other.get_name() == key.get_name() for other in known):
        raise SetupError(
            f"{hostname}: THE HOST KEY HAS CHANGED to {fingerprint(key)}: somebody may be listening in. "
            f"Only if you set the machine up anew: ssh-keygen -R '{wanted}' -f '{path}'"
        )
    append(path, f"{wanted} {key.get_name()} {key.get_base64()} {OURS}\n".encode())
    return True


def copy(path: Path, hostname: str, port: int, new_port: int) -> bool:
    """Know the same host on another port, by the same keys; False when it is known there already."""
    keys = pinned(path, hostname, port)
    if not keys:
        raise SetupError(
            f"{hostname}: no host key is known for port {port}: log in once with ssh -p {port} {hostname}"
        )
    added = [pin(path, hostname, new_port, key) for key in keys]
    return any(added)


def forget(path: Path, hostname: str, port: int) -> bool:
    """Remove the lines that pin() wrote for a host; lines of the user's own stay."""
    wanted = name(hostname, port)
    ours = re.compile(rb"%b \S+ \S+ %b\r?\n?" % (re.escape(wanted).encode(), OURS.encode()))
    old = files.load(path).splitlines(keepends=True)
    new = [line for line in old if not ours.fullmatch(line)]
    if new == old:
        return False
    try:
        files.replace(path, b"".join(new))
    except OSError as error:
        raise SetupError(f"cannot write {path}: {error.strerror}") from None
    return True


def append(path: Path, line: bytes) -> None:
    """Add a line, after ending the last one if need be."""
    files.make_private(path.parent)
    old = files.load(path)
    try:
        path.touch(mode=0o600)
        with open(path, "ab") as file:
            file.write((b"" if not old or old.endswith(b"\n") else b"\n") + line)
    except OSError as error:
        raise SetupError(f"cannot write {path}: {error.strerror}") from None


def entries(path: Path) -> Iterator[tuple[str, str, str]]:
    """Read names, type and blob of every line; lines with @revoked or @cert-authority pin no key."""
    for line in files.load(path).decode(errors="replace").split("\n"):
        words = line.split()
        if len(words) >= 3 and words[0][0] not in "#@":
            yield words[0], words[1], words[2]


def matches(names: str, wanted: str) -> bool:
    """Tell whether the first field of a line means this host, as sshd(8) describes it."""
    if names.startswith("|1|"):
        return hashes_to(names, wanted)
    patterns = names.lower().split(",")
    if any(like(one[1:], wanted) for one in patterns if one.startswith("!")):
        return False
    return any(like(one, wanted) for one in patterns)


def like(pattern: str, wanted: str) -> bool:
    """Match a name; only * and ? are special, brackets are not."""
    if "*" not in pattern and "?" not in pattern:
        return pattern == wanted
    parts = {"*": ".*", "?": "."}
    return (
        re.fullmatch("".join(parts.get(letter, re.escape(letter)) for letter in pattern), wanted)
        is not None
    )


def hashes_to(hashed: str, wanted: str) -> bool:
    from paramiko import HostKeys

    try:
        return HostKeys.hash_host(wanted, hashed) == hashed
    except (ValueError, AssertionError, IndexError):  # a garbled line belongs to nobody
        return False


def key_of(kind: str, blob: str) -> PKey | None:
    """Read a key; None for a type that paramiko does not know, or a garbled one."""
    from paramiko import PKey, SSHException
    from paramiko.pkey import UnknownKeyType

    try:
        return PKey.from_type_string(kind, base64.b64decode(blob))
    except (UnknownKeyType, SSHException, ValueError, IndexError):
        return None
