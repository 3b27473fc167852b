"""Vault: keep the CA of a lab on the laptop.

Owns: ca.pem in ~/.config/labfab/<alias>/, and ca-key.pem if a passphrase was given.
Undo: forget(alias)

ca.pem is the CA of the certificate that the host serves. It is public, and https.trust installs it.
ca-key.pem holds a CA that can sign again: its certificate and its encrypted key.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from .. import console
from ..errors import SetupError
from ..local_state import files, secrets
from . import authority, certificate, constraints
from .authority import Authority

PASSPHRASE = "ca-passphrase"
OTHERWISE = "or delete the file for a new CA, and run https.trust again afterwards"
ENOUGH = 90  # days for which a kept CA must still be valid to sign with it


def open_ca(alias: str, names: Sequence[str]) -> Authority:
    """Return a CA that can sign for these names: the kept one, or else a new one.

    A new one is kept if a passphrase is given.
    Raises SetupError if the kept one cannot be opened.
    """
    path, given = path_of(alias, "ca-key.pem"), secrets.take_from_environment(PASSPHRASE)
    data = files.load(path)
    if data:
        given = given or ask(path)
        found = unlock(path, data, given)
        if serves(found, names):
            return found
    if not given:
        return authority.make(alias, names)
    new = authority.make(alias, names, authority.KEPT_DAYS)
    keep(path, new, given)
    return new


def serves(found: Authority, names: Sequence[str]) -> bool:
    """Return whether a CA may sign for exactly these names and is valid for long enough."""
    read = certificate.read(found.pem)
    return (
        constraints.permitted(found.pem) == frozenset(map(certificate.plain, names))
        and read is not None
        and read.ends - time.time() > ENOUGH * 86400
    )


def unlock(path: Path, data: bytes, passphrase: secrets.Secret) -> Authority:
    """Read the key and the certificate of a kept CA. Raises SetupError for a wrong passphrase."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(data, passphrase.reveal().encode())
        own = x509.load_pem_x509_certificate(data)
    except (ValueError, TypeError):
        raise SetupError(
            f"{path} does not open with this passphrase: correct LABFAB_CA_PASSPHRASE; {OTHERWISE}"
        ) from None
    if not isinstance(key, EllipticCurvePrivateKey) or key.public_key() != own.public_key():
        raise SetupError(
            f"{path} is not what labfab wrote there: delete it for a new CA, "
            "and run https.trust again afterwards"
        )
    return Authority(certificate=own, key=key)


def ask(path: Path) -> secrets.Secret:
    """Ask for the passphrase. Raises SetupError without a terminal."""
    if not sys.stdin.isatty():
        raise SetupError(
            f"{path} is locked with a passphrase: set LABFAB_CA_PASSPHRASE; {OTHERWISE}"
        )
    return secrets.Secret(console.hidden(f"passphrase of {path}"))


def keep(path: Path, new: Authority, passphrase: secrets.Secret) -> None:
    """Write a CA: its key, encrypted, and its certificate."""
    from cryptography.hazmat.primitives import serialization as form

    encryption = form.BestAvailableEncryption(passphrase.reveal().encode())
    locked = new.key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, encryption)
    write(path, locked + new.pem.encode())


def store_ca(alias: str, ca: str) -> bool:
    """Note the CA of the certificate that the host serves. Returns whether it is new here.

    Raises SetupError for a text with more in it: only what was tested is kept.
    """
    path, tested = path_of(alias, "ca.pem"), certificate.reencoded(ca)
    if tested is None:
        raise SetupError(
            "ca.pem of the host contains more than one certificate, so it was not kept: "
            f"fab -H {alias} https.renew",
            host=alias,
        )
    if kept_text(path) == tested:
        return False
    write(path, tested.encode())
    return True


def is_known_ca(alias: str, ca: str) -> bool:
    """Return whether this is the CA of this lab that this laptop knows.

    Another lab's CA is public, so it says nothing about this host.
    """
    tested = certificate.reencoded(ca)
    return tested is not None and own_ca(alias) == tested


def kept_text(path: Path) -> str:
    """Return the text of a kept certificate; empty if there is none."""
    return files.load(path).decode(errors="replace")


def own_ca(alias: str) -> str | None:
    """Return the kept CA of a lab, an empty string if there is none.

    Returns None for a file with more in it, which an earlier version may have kept.
    """
    text = kept_text(path_of(alias))
    return certificate.reencoded(text) if text else ""


def write(path: Path, data: bytes) -> None:
    """Write a private file. Raises SetupError."""
    try:
        files.make_private(path.parent)
        files.replace(path, data, 0o600)
    except OSError as error:
        raise SetupError(f"cannot write {path}: {error.strerror}") from None


def path_of(alias: str, name: str = "ca.pem") -> Path:
    """Return the path of a file of the vault."""
    return files.config_folder(alias) / name


def forget(alias: str) -> None:
    """Delete the CA of a lab."""
    for name in ("ca.pem", "ca-key.pem", "trusted.pem"):
        path_of(alias, name).unlink(missing_ok=True)
