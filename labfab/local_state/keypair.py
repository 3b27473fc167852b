"""Key pair: the SSH key for logging in. The private half never leaves your machine.

Owns: ~/.ssh/id_ed25519 and its .pub, if there was no key.  Undo: delete both files
"""

from __future__ import annotations

import getpass
import re
import socket
from pathlib import Path

from ..errors import SetupError
from . import files
from .private_key import derive, is_encrypted, opens
from .public_key import read_publics

__all__ = ["ensure", "generate", "is_encrypted", "opens", "public_line", "read_publics"]

NAMES = ("id_ed25519", "id_ecdsa", "id_rsa")


def ensure(identity: str = "") -> Path:
    """Return the private key to use: *identity*, else the first usable in ~/.ssh, else a new one.

    Raises SetupError if *identity*, or every key in ~/.ssh, cannot be used.
    """
    if identity:
        return usable(files.expanded(identity))
    folder = Path.home() / ".ssh"
    problem: SetupError | None = None
    for path in (folder / name for name in NAMES):
        if path.exists():
            try:
                return usable(path)
            except SetupError as error:
                problem = problem or error
    if problem:
        raise problem
    return generate(folder / NAMES[0])


def usable(path: Path) -> Path:
    """Return a private key that ssh and Fabric can use. Raises SetupError for any other."""
    if path.suffix == ".pub":
        raise SetupError(f"{path} is the public half: name the private one, {path.with_suffix('')}")
    if not path.exists():
        raise SetupError(
            f"there is no private key {path}: create it with fab keys.generate, "
            "or correct the setting identity"
        )
    line = public_line(path)
    if line.startswith("sk-"):
        raise SetupError(
            f"{path} is a security key, which Fabric cannot use: "
            "name another in the setting identity"
        )
    if path.stat().st_mode & 0o077:
        raise SetupError(f"{path} can be read by others, so ssh refuses it: chmod 600 '{path}'")
    return path


def generate(path: Path, passphrase: str = "", comment: str = "") -> Path:
    """Create an ed25519 pair, PATH and PATH.pub, and return PATH. Existing files are kept.

    comment: empty for USER@MACHINE.
    """
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public = Path(f"{path}.pub")
    for taken in (path, public):
        if taken.exists() or taken.is_symlink():
            raise SetupError(
                f"{taken} already exists and is kept: name another file for the new key"
            )
    key = Ed25519PrivateKey.generate()
    lock = form.BestAvailableEncryption(passphrase.encode()) if passphrase else form.NoEncryption()
    private = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.OpenSSH, lock)
    line = key.public_key().public_bytes(form.Encoding.OpenSSH, form.PublicFormat.OpenSSH).decode()
    files.make_private(path.parent)
    try:
        files.create(path, private, 0o600)
        files.create(public, f"{line} {comment_of(comment)}\n".encode(), 0o644)
    except OSError as error:
        raise SetupError(f"cannot write {path}: {error.strerror}") from None
    return path


def comment_of(given: str) -> str:
    """Return a comment on one line; an empty one becomes USER@MACHINE."""
    return re.sub(r"\s+", " ", given).strip() or f"{getpass.getuser()}@{socket.gethostname()}"


def public_line(path: Path) -> str:
    """Return the public half of a private key, from PATH.pub or from the key itself.

    Raises SetupError if PATH.pub belongs to another key, or is missing while PATH is encrypted.
    """
    public = Path(f"{path}.pub")
    own = derive(path)
    if not public.exists():
        if not own:
            raise SetupError(
                f"{public} is missing: create it with ssh-keygen -y -f '{path}' > '{public}'"
            )
        return own
    line = read_publics(str(public))[0]
    if own and own not in line:
        raise SetupError(
            f"{public} does not belong to {path}: move it away, "
            f"then ssh-keygen -y -f '{path}' > '{public}'"
        )
    return line
