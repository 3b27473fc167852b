"""Vault: where your machine keeps the CA of a lab.

Owns: ~/.config/labfab/<alias>/ca.pem, and ca-key.pem where a passphrase was given.  Undo: forget(alias)

ca.pem is the CA of the certificate that the host serves: public, what https.trust makes known. ca-key.pem, encrypted,
holds the key of a CA that is kept, and its certificate.
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
OTHERWISE = "or delete the file for a new CA, to be trusted anew"
ENOUGH = 90  # days that a kept CA must last, to be worth signing with


def open_(alias: str, names: Sequence[str]) -> Authority:
    """The CA to sign for these names with: the one kept, else a new one, which is kept where a passphrase is given.

    Raises SetupError when the one that is kept cannot be opened.
    """
    path, given = place(alias, "ca-key.pem"), secrets.take_from_environment(PASSPHRASE)
    data = files.load(path)
    if data:
        given = given or ask(path)
        found = unlocked(path, data, given)
        if serves(found, names):
            return found
    if not given:
        return authority.make(alias, names)
    new = authority.make(alias, names, authority.KEPT_DAYS)
    keep(path, new, given)
    return new


def serves(found: Authority, names: Sequence[str]) -> bool:
    """Whether a CA may sign for these names, exactly, and lasts."""
    wanted = {certificate.plain(name) for name in names}
    read = certificate.read(found.pem)
    return (
        constraints.permitted(found.pem) == wanted
        and read is not None
        and read.ends - time.time() > ENOUGH * 86400
    )


def unlocked(path: Path, data: bytes, passphrase: secrets.Secret) -> Authority:
    """Read the key and the certificate of a CA that is kept."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key, own = (
            load_pem_private_key(data, passphrase.reveal().encode()),
            x509.load_pem_x509_certificate(data),
        )
    except (ValueError, TypeError):
        raise SetupError(
            f"{path} does not open with this passphrase: correct LABFAB_CA_PASSPHRASE; {OTHERWISE}"
        ) from None
    if not isinstance(key, EllipticCurvePrivateKey) or key.public_key() != own.public_key():
        raise SetupError(
            f"{path} is not what labfab wrote there: delete it for a new CA, to be trusted anew"
        )
    return Authority(own, key)


def ask(path: Path) -> secrets.Secret:
    if not sys.stdin.isatty():
        raise SetupError(
            f"{path} is locked with a passphrase: set LABFAB_CA_PASSPHRASE; {OTHERWISE}"
        )
    return secrets.Secret(console.hidden(f"passphrase of {path}"))


def keep(path: Path, new: Authority, passphrase: secrets.Secret) -> None:
    """Write a CA's key, encrypted, and its certificate."""
    from cryptography.hazmat.primitives import serialization as form

    lock = form.BestAvailableEncryption(passphrase.reveal().encode())
    locked = new.key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, lock)
    write(path, locked + new.pem.encode())


def remember(alias: str, ca: str) -> bool:
    """Note the CA of what the host serves; tell whether that is new here."""
    path = place(alias, "ca.pem")
    if files.load(path).decode(errors="replace") == ca:
        return False
    write(path, ca.encode())
    return True


def knows(ca: str) -> bool:
    """Whether this CA is that of a lab of this machine, under whatever alias."""
    return any(
        files.load(path).decode(errors="replace") == ca
        for path in place("any").parent.parent.glob("*/ca.pem")
    )


def write(path: Path, data: bytes) -> None:
    try:
        files.make_private(path.parent)
        files.replace(path, data, 0o600)
    except OSError as error:
        raise SetupError(f"cannot write {path}: {error.strerror}") from None


def place(alias: str, name: str = "ca.pem") -> Path:
    return files.config_folder(alias) / name


def forget(alias: str) -> None:
    """Delete the CA of a lab."""
    for name in ("ca.pem", "ca-key.pem", "trusted.pem"):
        place(alias, name).unlink(missing_ok=True)
