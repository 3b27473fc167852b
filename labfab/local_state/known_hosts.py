"""Known hosts: pins the key that each host showed at first. Your own lines are never changed.

Owns: the lines of ~/.ssh/known_hosts that end in "labfab".  Undo: forget(path, hostname, port)
"""

from __future__ import annotations

import base64
import re
import shlex
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import SetupError
from ..text import to_type
from . import files

if TYPE_CHECKING:
    from paramiko import PKey

# The comment at the end of each line of ours.
OURS = "labfab"
# Files of the whole machine, which ssh reads too.
SHARED = (Path("/etc/ssh/ssh_known_hosts"), Path("/etc/ssh/ssh_known_hosts2"))
REVOKED, AUTHORITY = "@revoked", "@cert-authority"


def fingerprint(key: PKey) -> str:
    """Return a key's fingerprint as `ssh-keygen -lf` shows it: SHA256:…"""
    return str(key.fingerprint)


def host_name(hostname: str, port: int) -> str:
    """Return a host's name in the form of known_hosts: example.org, [example.org]:292."""
    hostname = hostname.lower().strip("[]")
    return hostname if port == 22 else f"[{hostname}]:{port}"


def pinned(path: Path, hostname: str, port: int) -> list[PKey]:
    """Return the keys known for a host, from lines with plain, hashed or wildcard names.

    A revoked key is not among them.
    """
    wanted, gone = host_name(hostname, port), revoked_blobs(path, hostname, port)
    keys = [key_of(kind, blob) for names, kind, blob in entries(path) if matches(names, wanted)]
    return [key for key in keys if key is not None and key.asbytes() not in gone]


def is_revoked(path: Path, hostname: str, port: int, key: PKey) -> bool:
    """Return whether a line with @revoked says that nobody may accept this key for a host."""
    return key.asbytes() in revoked_blobs(path, hostname, port)


def revoked_blobs(path: Path, hostname: str, port: int) -> set[bytes]:
    """Return the revoked keys of a host. A name without a port stands for all of its ports."""
    return {decoded(blob) for blob in marked(path, REVOKED, hostname, port)}


def has_authority(path: Path, hostname: str, port: int) -> bool:
    """Return whether a line with @cert-authority vouches for a host."""
    return any(True for _ in marked(path, AUTHORITY, hostname, port))


def marked(path: Path, marker: str, hostname: str, port: int) -> Iterator[str]:
    """Yield the keys of the lines with a marker that match a host, in all files that ssh reads."""
    wanted = {host_name(hostname, port), host_name(hostname, 22)}
    for place in (path, path.with_name("known_hosts2"), *SHARED):
        for names, _, blob in entries(place, marker):
            if any(matches(names, name) for name in wanted):
                yield blob


def lookup_name(hostname: str, port: int, host_key_alias: str = "") -> tuple[str, int]:
    """Return the name and port that ssh looks up: a HostKeyAlias stands for both."""
    return (host_key_alias, 22) if host_key_alias else (hostname, port)


def pin(path: Path, hostname: str, port: int, key: PKey) -> bool:
    """Add the key of a host. Returns False if it is known already.

    Raises SetupError if a different key of the same type is known: it may be a different machine.
    """
    if is_revoked(path, hostname, port, key):
        raise revoked(path, hostname, key)
    known = pinned(path, hostname, port)
    if key in known:
        return False
    wanted = host_name(hostname, port)
    if any(other.get_name() == key.get_name() for other in known):
        command = to_type(f"ssh-keygen -f {shlex.quote(str(path))} -R", wanted)
        raise SetupError(
            f"THE HOST KEY HAS CHANGED to {fingerprint(key)}: somebody may be listening in. "
            f"Only if you reinstalled the machine: {command}",
            host=hostname,
        )
    append(path, f"{wanted} {key.get_name()} {key.get_base64()} {OURS}\n".encode())
    return True


def revoked(path: Path, hostname: str, key: PKey) -> SetupError:
    """Return the error for a host that shows a revoked key."""
    return SetupError(
        f"the host key {fingerprint(key)} is REVOKED ({REVOKED} in {path} or in /etc/ssh): whoever "
        "has it may be somebody else, so nothing was sent; give the host a new key there",
        host=hostname,
    )


def forget(path: Path, hostname: str, port: int) -> bool:
    """Remove the lines that pin() wrote for a host. Returns False if there are none."""
    wanted = host_name(hostname, port)
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
    """Append a line, after a newline if the last line has none."""
    files.make_private(path.parent)
    old = files.load(path)
    try:
        path.touch(mode=0o600)
        with open(path, "ab") as file:
            file.write((b"" if not old or old.endswith(b"\n") else b"\n") + line)
    except OSError as error:
        raise SetupError(f"cannot write {path}: {error.strerror}") from None


def entries(path: Path, marker: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield names, type and blob of every line with this marker, @revoked or @cert-authority."""
    for line in files.load(path).decode(errors="replace").split("\n"):
        words = line.split()
        if words and words[0][0] == "@":
            found, *words = words
        else:
            found = ""
        if found == marker and len(words) >= 3 and words[0][0] != "#":
            yield words[0], words[1], words[2]


def matches(names: str, wanted: str) -> bool:
    """Return whether the first field of a line matches a host, by the rules of sshd(8)."""
    if names.startswith("|1|"):
        return hashes_to(names, wanted)
    patterns = names.lower().split(",")
    if any(fits(wanted, pattern[1:]) for pattern in patterns if pattern.startswith("!")):
        return False
    return any(fits(wanted, pattern) for pattern in patterns)


def fits(wanted: str, pattern: str) -> bool:
    """Return whether a name matches a pattern, in which only * and ? are special."""
    # Unlike a regex of our own, this takes no longer for many asterisks.
    return fnmatchcase(wanted, pattern.replace("[", "[[]"))


def hashes_to(hashed: str, wanted: str) -> bool:
    """Return whether a hashed name, |1|SALT|HASH, is the hash of a host's name."""
    from paramiko import HostKeys

    try:
        return bool(HostKeys.hash_host(wanted, hashed) == hashed)
    except (ValueError, AssertionError, IndexError):
        # A garbled line matches no host.
        return False


def key_of(kind: str, blob: str) -> PKey | None:
    """Decode a key; None if it is garbled or of a type that paramiko does not know."""
    from paramiko import PKey, SSHException
    from paramiko.pkey import UnknownKeyType

    try:
        return PKey.from_type_string(kind, decoded(blob))
    except (UnknownKeyType, SSHException, ValueError, IndexError):
        return None


def decoded(blob: str) -> bytes:
    """Decode the base64 part of a key; empty if it is garbled."""
    try:
        return base64.b64decode(blob)
    except ValueError:
        return b""
