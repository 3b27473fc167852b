"""Certificate: read what a certificate says.

Owns: nothing.
"""

from __future__ import annotations

import ipaddress
import re
import time
from typing import TYPE_CHECKING, NamedTuple

from ..text import one_line

if TYPE_CHECKING:
    from cryptography import x509


# A file with one certificate and nothing else that any reader could take for a second one.
ALONE = r"\s*-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----\s*"
LONGEST = 64 * 1024  # characters of such a file; ours have fewer than 1,000


class Certificate(NamedTuple):
    """What labfab needs to know about a certificate."""

    names: tuple[str, ...]
    issuer: str
    serial: str
    begins: float  # seconds since 1970
    ends: float  # seconds since 1970

    @property
    def days_left(self) -> int:
        """Return the whole days until it expires; negative if it has expired."""
        return int((self.ends - time.time()) // 86400)


def parse(pem: str) -> x509.Certificate | None:
    """Return the first certificate of a PEM text, or None."""
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificate(pem.encode(errors="surrogateescape"))
        # These are decoded when they are asked for, and fail then if they are garbled.
        _ = (found.issuer, found.subject, found.not_valid_before_utc, found.not_valid_after_utc)
    except (ValueError, KeyError):  # which one depends on the release of cryptography
        return None
    return found


def only_certificate(pem: str) -> x509.Certificate | None:
    """Return the certificate of a PEM text that has nothing else in it, or None.

    Programs that read the whole text would trust a second certificate too, and those that look for
    other labels something that is no certificate to us.
    """
    if len(pem) > LONGEST or not re.fullmatch(ALONE, pem, re.ASCII):
        return None
    return parse(pem)


def reencoded(pem: str) -> str | None:
    """Return the only certificate of a PEM text, encoded again; None if there is anything else."""
    from cryptography.hazmat.primitives.serialization import Encoding

    found = only_certificate(pem)
    return found.public_bytes(Encoding.PEM).decode() if found else None


def read(pem: str) -> Certificate | None:
    """Return what the first certificate of a PEM text says, or None."""
    found = parse(pem)
    if found is None:
        return None
    return Certificate(
        names=names(found),
        issuer=title(found.issuer),
        serial=f"{found.serial_number:x}",
        begins=found.not_valid_before_utc.timestamp(),
        ends=found.not_valid_after_utc.timestamp(),
    )


def names(found: x509.Certificate) -> tuple[str, ...]:
    """Return the DNS names and addresses that a certificate is for."""
    from cryptography import x509

    try:
        listed = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    return tuple(
        one_line(str(name.value))
        for name in listed
        if isinstance(name, (x509.DNSName, x509.IPAddress))
    )


def title(name: x509.Name) -> str:
    """Return the name of a subject or an issuer."""
    from cryptography.x509.oid import NameOID

    for kind in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME):
        for part in name.get_attributes_for_oid(kind):
            return one_line(str(part.value))
    return "nobody"


def signed_by(pem: str, ca: str) -> bool:
    """Return whether the first certificate of a PEM text was issued by the only one of another."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    leaf, authority = parse(pem), only_certificate(ca)
    if leaf is None or authority is None:
        return False
    try:
        leaf.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def plain(name: str) -> str:
    """Return a DNS name or an address in the spelling that certificates use."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name.lower().rstrip(".")
