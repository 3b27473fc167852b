"""Certificate: what a certificate says; reading only.

Owns: nothing.
"""

from __future__ import annotations

import ipaddress
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from cryptography import x509


class Certificate(NamedTuple):
    """What matters of a certificate to the one who serves it."""

    names: tuple[str, ...]
    issuer: str
    serial: str
    begins: float  # seconds since 1970
    ends: float

    @property
    def days_left(self) -> int:
        """Whole days until it ends; below zero when it has."""
        return int((self.ends - time.time()) // 86400)


def parse(pem: str) -> x509.Certificate | None:
    """The first certificate of a file; None where there is none."""
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(pem.encode(errors="surrogateescape"))
    except ValueError:
        return None


def read(pem: str) -> Certificate | None:
    """What the first certificate of a file says; None where there is none."""
    found = parse(pem)
    if found is None:
        return None
    begins, ends = found.not_valid_before_utc.timestamp(), found.not_valid_after_utc.timestamp()
    return Certificate(names(found), title(found.issuer), f"{found.serial_number:x}", begins, ends)


def names(found: x509.Certificate) -> tuple[str, ...]:
    """The DNS names and addresses that it is for."""
    from cryptography import x509

    try:
        listed = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    return tuple(
        str(name.value) for name in listed if isinstance(name, (x509.DNSName, x509.IPAddress))
    )


def title(name: x509.Name) -> str:
    """How a subject or an issuer is called."""
    from cryptography.x509.oid import NameOID

    for kind in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME):
        for part in name.get_attributes_for_oid(kind):
            return str(part.value)
    return "nobody"


def signed_by(pem: str, ca: str) -> bool:
    """Whether the first certificate of a file was issued by the CA of another file."""
    from cryptography.exceptions import InvalidSignature

    leaf, authority = parse(pem), parse(ca)
    if leaf is None or authority is None:
        return False
    try:
        leaf.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def plain(name: str) -> str:
    """A DNS name or an address in the one way it is written in a certificate."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name.lower().rstrip(".")
