"""Authority: the CA of one lab, which can vouch for the names and addresses of this lab and for nothing else.

Owns: nothing; vault.py keeps it.

Constraints:
- Whoever has the CA's key could pretend to be the lab, but no other site: name constraints are critical, and a type of
  name that the lab has none of is excluded as a whole, since what is not mentioned would be allowed.
- Without a passphrase the CA's key signs once and is never written.
- The leaf's key is made on the host and stays there; of its request nothing counts but the public key.
"""

from __future__ import annotations

import secrets as random
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, NamedTuple

from ..errors import SetupError
from . import constraints

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

DAYS = 397  # what browsers and Apple take at most is 398
KEPT_DAYS = (
    3650  # of a CA that is kept, so that its certificates can be renewed without trusting anew
)
SKEW = timedelta(hours=1)  # the clock of a reader may be late


class Authority(NamedTuple):
    """A CA that can sign."""

    certificate: x509.Certificate
    key: EllipticCurvePrivateKey

    @property
    def pem(self) -> str:
        return pem_of(self.certificate)


def make(lab: str, names: Sequence[str], days: int = DAYS) -> Authority:
    """Make a CA for these names and addresses. lab: what it is called in lists of authorities."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    key = ec.generate_private_key(ec.SECP256R1())
    # NSS takes two authorities of one name for the same one.
    subject = called(f"labfab CA of {lab} {random.token_hex(4)}")
    builder = (
        begin(subject, subject, key.public_key(), days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage(key_cert_sign=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(constraints.of(names), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return Authority(seal(builder, key), key)


def sign(authority: Authority, request: str, names: Sequence[str], days: int = DAYS) -> str:
    """Sign the key of a certificate request for these names; nothing else that the request asks for counts.

    It does not look whether the authority may: that is for whoever reads the certificate.
    Raises SetupError where the request was not made with its own key.
    """
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    key = public_key(request)
    own = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        begin(
            owned("JupyterLab by labfab"),
            authority.certificate.subject,
            key,
            days,
            authority.certificate.not_valid_after_utc,
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([constraints.general(name) for name in names]),
            critical=False,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own), critical=False
        )
    )
    return pem_of(seal(builder, authority.key))


def public_key(request: str):
    """The key of a certificate request. Raises SetupError for one that is not an honest request of an EC key."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey

    try:
        found = x509.load_pem_x509_csr(request.encode())
        key, honest = found.public_key(), found.is_signature_valid
    except (ValueError, UnsupportedAlgorithm):
        raise SetupError(
            "the host's certificate request cannot be read: is openssl all right there?"
        ) from None
    if (
        not honest
        or not isinstance(key, EllipticCurvePublicKey)
        or not isinstance(key.curve, SECP256R1)
    ):
        raise SetupError(
            "the host's certificate request was not made with a P-256 key of its own: nothing was signed"
        )
    return key


def called(name: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def owned(name: str) -> x509.Name:
    """The subject of a leaf: OpenSSL and GnuTLS would take a common name for a DNS name, and the constraints would forbid it."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, name)])


def begin(
    subject: x509.Name, issuer: x509.Name, key, days: int, latest: datetime | None = None
) -> x509.CertificateBuilder:
    """What every certificate has. latest: when its issuer ends."""
    from cryptography import x509

    start = datetime.now(timezone.utc) - SKEW
    end = start + timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(min(end, latest or end))
    )


def usage(**uses: bool) -> x509.KeyUsage:
    """A key for these uses alone."""
    from cryptography import x509

    every = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{use: uses.get(use, False) for use in every})


def seal(builder: x509.CertificateBuilder, key: EllipticCurvePrivateKey) -> x509.Certificate:
    from cryptography.hazmat.primitives.hashes import SHA256

    return builder.sign(key, SHA256())


def pem_of(found: x509.Certificate) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding

    return found.public_bytes(Encoding.PEM).decode()
