"""Algorithms: which of those that sshd offers are weak, and what a server offers to a stranger.

Owns: the table. docs/safety.md argues each entry, and each that is left.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Protocol

from fabric import Connection

from ..host import connection

# Option of sshd_config -> patterns of what is weak, in sshd's own form.
# NIST's curves cannot be verified; group 1 and 14 are too small; SHA-1 and MD5 are broken;
# umac-64 has a short tag; a MAC without -etm is taken of the plain text.
WEAK = {
    "KexAlgorithms": (
        "ecdh-sha2-*",
        "diffie-hellman-group14-*",
        "diffie-hellman-group1-*",
        "diffie-hellman-group-exchange-sha1",
    ),
    "HostKeyAlgorithms": ("ecdsa-sha2-*", "ssh-rsa", "ssh-dss"),
    "Ciphers": ("*-cbc*", "arcfour*"),
    "MACs": (
        "hmac-sha1*",
        "hmac-md5*",
        "umac-64*",
        "umac-128@openssh.com",
        "hmac-sha2-256",
        "hmac-sha2-512",
    ),
}
# Ciphers that need no MAC.
AUTHENTICATED = ("chacha20-poly1305@openssh.com", "aes*-gcm@openssh.com")
# The lists at the beginning of KEXINIT, RFC 4253, 7.1. The fourth and the sixth are for the other
# direction and equal to their neighbors.
KEXINIT = 20
LISTS = ("KexAlgorithms", "HostKeyAlgorithms", "Ciphers", "Ciphers", "MACs", "MACs")
LONGEST = 35000  # bytes of a packet that every implementation must accept, RFC 4253, 6.1
LINES = 20  # that a server may send before its version


class Stream(Protocol):
    """A socket, or a channel through a gateway."""

    def sendall(self, data: bytes, /) -> object:
        """Send all bytes."""

    def recv(self, count: int, /) -> bytes:
        """Return some bytes; none at the end."""


def weak(option: str, names: Iterable[str]) -> list[str]:
    """Return the weak ones among the algorithms of an option."""
    return [name for name in names if patterns(option, [name])]


def patterns(option: str, names: Sequence[str]) -> list[str]:
    """Return the patterns of weak algorithms that fit any of these names."""
    return [one for one in WEAK[option] if any(fnmatchcase(name, one) for name in names)]


def common(ours: Mapping[str, Sequence[str]], theirs: Mapping[str, Sequence[str]]) -> str:
    """Return the option in which two sides have nothing in common; empty if they can talk.

    An option that one side does not name is not judged.
    """
    for option in WEAK:
        if not (ours.get(option) and theirs.get(option)):
            continue
        both = set(ours[option]) & set(theirs[option])
        if both:
            continue
        ciphers = set(ours.get("Ciphers", ())) & set(theirs.get("Ciphers", ()))
        if option == "MACs" and any(fnmatchcase(a, b) for a in ciphers for b in AUTHENTICATED):
            continue
        return option
    return ""


def offered_by(
    c: Connection, port: int, inside: connection.Place | None = None
) -> dict[str, list[str]]:
    """Ask the host, without logging in, for the algorithms that it offers, by option.

    inside: as for connection.stranger_socket().
    Raises ValueError if it does not speak SSH, and the errors of sockets.
    """
    with contextlib.closing(connection.stranger_socket(c, port, inside)) as stream:
        return offered(stream)


def offered(stream: Stream) -> dict[str, list[str]]:
    """Return what an SSH server offers, by option. Nothing is proven by that: log in nowhere.

    Raises ValueError if it does not speak SSH, OSError if the connection breaks.
    """
    stream.sendall(b"SSH-2.0-labfab\r\n")
    for _ in range(LINES):
        if line(stream).startswith(b"SSH-"):
            break
    else:
        raise ValueError("no SSH server answers there")
    length = int.from_bytes(exactly(stream, 4), "big")
    if not 22 < length <= LONGEST:
        raise ValueError("no SSH server answers there")
    packet = exactly(stream, length)
    payload = packet[1 : length - packet[0]]
    if payload[:1] != bytes([KEXINIT]):
        raise ValueError("the server does not start with its algorithms")
    return lists(payload[17:])


def lists(rest: bytes) -> dict[str, list[str]]:
    """Return the lists of a KEXINIT, given what follows its cookie."""
    found: dict[str, list[str]] = {option: [] for option in LISTS}
    for option in LISTS:
        length = int.from_bytes(rest[:4], "big")
        names = rest[4 : 4 + length].decode("ascii", "replace").split(",")
        rest = rest[4 + length :]
        found[option] += [name for name in names if name and name not in found[option]]
    return found


def line(stream: Stream) -> bytes:
    """Read a line of at most 255 bytes. Raises ValueError for a longer one."""
    text = b""
    while not text.endswith(b"\n"):
        if len(text) > 255:
            raise ValueError("no SSH server answers there")
        text += exactly(stream, 1)
    return text


def exactly(stream: Stream, count: int) -> bytes:
    """Read this many bytes. Raises EOFError if there are fewer."""
    data = b""
    while len(data) < count:
        part = stream.recv(count - len(data))
        if not part:
            raise EOFError("the server ended the connection")
        data += part
    return data
