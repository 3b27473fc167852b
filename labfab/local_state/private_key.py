"""Private key: what a key file reveals without its passphrase."""

from __future__ import annotations

import base64
import contextlib
import re
import struct
from collections.abc import Iterator
from pathlib import Path

from ..errors import SetupError
from .public_key import LARGEST, is_whole

MAGIC = b"openssh-key-v1\0"


def is_encrypted(path: Path) -> bool:
    """Return whether a private key needs a passphrase."""
    data = read(path)
    with told_if_damaged(path):
        blob = unwrap(data)
        return take(blob)[0] != b"none" if blob else b"ENCRYPTED" in data


def opens(path: Path, passphrase: str) -> bool:
    """Return whether a passphrase decrypts a key."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization as form

    data = read(path)
    with told_if_damaged(path):
        own = unwrap(data)
    load = form.load_ssh_private_key if own else form.load_pem_private_key
    try:
        load(data, passphrase.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True


def derive(path: Path) -> str:
    """Return type and blob of the public half; empty if that would need the passphrase.

    Raises SetupError if the key is damaged.
    """
    data = read(path)
    with told_if_damaged(path):
        line = from_openssh(unwrap(data)) or from_pem(data)
    if line and not is_whole(*line.split(" ")):
        raise SetupError(f"the private key {path} is damaged: restore it, or name another one")
    return line


@contextlib.contextmanager
def told_if_damaged(path: Path) -> Iterator[None]:
    """Raise SetupError if the key that the block reads is damaged."""
    try:
        yield
    except (ValueError, TypeError, struct.error) as error:
        raise SetupError(
            f"the private key {path} is damaged ({error}): restore it, or name another one"
        ) from None


def read(path: Path) -> bytes:
    """Read a private key file. Raises SetupError for any other file."""
    try:
        if not path.is_file() or path.stat().st_size > LARGEST:
            raise SetupError(f"{path} is not a private key: correct the setting identity")
        data = path.read_bytes()
    except OSError as error:
        raise SetupError(f"cannot read {path}: {error.strerror}") from None
    if b"PRIVATE KEY-----" not in data:
        raise SetupError(
            f"{path} is not a private key in OpenSSH's format: correct the setting identity"
        )
    return data


def unwrap(data: bytes) -> bytes:
    """Return the decoded content of a key in OpenSSH's own format; empty for other formats."""
    found = re.search(rb"-----BEGIN OPENSSH PRIVATE KEY-----(.*?)-----END", data, re.DOTALL)
    blob = base64.b64decode(b"".join(found[1].split())) if found else b""
    return blob.removeprefix(MAGIC) if blob.startswith(MAGIC) else b""


def from_openssh(blob: bytes) -> str:
    """Return the public half, which is not encrypted in OpenSSH's format."""
    if not blob:
        return ""
    for _ in ("cipher", "kdf", "kdf options"):
        blob = take(blob)[1]
    # The number of keys, four bytes, comes first.
    key = take(blob[4:])[0]
    return f"{take(key)[0].decode()} {base64.b64encode(key).decode()}"


def from_pem(data: bytes) -> str:
    """Derive the public half of a key in an older format; empty if the key is encrypted."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization as form

    if b"ENCRYPTED" in data:
        return ""
    try:
        key = form.load_pem_private_key(data, None).public_key()
    except UnsupportedAlgorithm as error:
        raise ValueError(str(error)) from None
    return key.public_bytes(form.Encoding.OpenSSH, form.PublicFormat.OpenSSH).decode()


def take(blob: bytes) -> tuple[bytes, bytes]:
    """Split off the first field, which is preceded by its length in four bytes."""
    (length,) = struct.unpack(">I", blob[:4])
    if len(blob) < 4 + length:
        raise ValueError("it is cut off")
    return blob[4 : 4 + length], blob[4 + length :]
