"""Authority: the CA of one lab, which can vouch for the names of this lab and for nothing else.

Owns: nothing; vault.py keeps it.

Constraints:
- Somebody with the CA's key could impersonate the lab, but no other site: its name constraints are
  critical and exclude every kind of name that the lab lacks.
- Without a passphrase, the CA's key signs once and is never written.
- The key of the lab's certificate is made on the host and stays there. Only the public key of the
  host's request counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from secrets import token_hex
from typing import TYPE_CHECKING, NamedTuple

from ..errors import SetupError
from . import constraints

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import (
        EllipticCurvePrivateKey,
        EllipticCurvePublicKey,
    )

DAYS = 397  # browsers and Apple accept 398 at most
# For a CA that is kept, so that browsers need to trust it only once.
KEPT_DAYS = 3650
CLOCK_SKEW = timedelta(hours=1)  # a client's clock may be slow
# All the key uses that a certificate can list.
USES = (
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


class Authority(NamedTuple):
    """A CA that can sign."""

    certificate: x509.Certificate
    key: EllipticCurvePrivateKey

    @property
    def pem(self) -> str:
        """Return the certificate as text."""
        return pem_of(self.certificate)


def make(lab: str, names: Sequence[str], days: int = DAYS) -> Authority:
    """Make a CA for these names and addresses.

    lab: its name in lists of authorities. days: how long the CA is valid.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    key = ec.generate_private_key(ec.SECP256R1())
    # NSS takes two authorities with the same name for one, so each name is unique.
    subject = common_name(f"labfab CA of {lab} {token_hex(4)}")
    builder = (
        certificate_builder(subject, subject, key.public_key(), days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage(key_cert_sign=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(constraints.name_constraints(names), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return Authority(sign_certificate(builder, key), key)


def sign(authority: Authority, request: str, names: Sequence[str], days: int = DAYS) -> str:
    """Sign the public key of a certificate request, for these names, whatever it requests.

    The authority's constraints are not checked here: clients check them.
    Raises SetupError if the request was not signed with its own key.
    """
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    key, ca = public_key(request), authority.certificate
    own = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    subject = organization("JupyterLab by labfab")
    builder = (
        certificate_builder(subject, ca.subject, key, days, ca.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([constraints.general_name(name) for name in names]),
            critical=False,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own), critical=False
        )
    )
    return pem_of(sign_certificate(builder, authority.key))


def public_key(request: str) -> EllipticCurvePublicKey:
    """Return the public key of a certificate request.

    Raises SetupError for a request that is broken, not signed with its own key, or not on P-256.
    """
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey

    try:
        found = x509.load_pem_x509_csr(request.encode())
        key, honest = found.public_key(), found.is_signature_valid
    except (ValueError, UnsupportedAlgorithm):
        raise SetupError(
            "the host's certificate request cannot be read: does openssl work there?"
        ) from None
    if (
        not honest
        or not isinstance(key, EllipticCurvePublicKey)
        or not isinstance(key.curve, SECP256R1)
    ):
        raise SetupError(
            "the host's certificate request was not made with a P-256 key of its own: "
            "nothing was signed"
        )
    return key


def common_name(name: str) -> x509.Name:
    """Return the subject of a CA."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def organization(name: str) -> x509.Name:
    """Return the subject of the lab's certificate.

    OpenSSL and GnuTLS read a common name as a DNS name, which the constraints would forbid.
    """
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, name)])


def certificate_builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: EllipticCurvePublicKey,
    days: int,
    latest: datetime | None = None,
) -> x509.CertificateBuilder:
    """Begin a certificate with the parts that all have. latest: when its issuer expires."""
    from cryptography import x509

    start = datetime.now(timezone.utc) - CLOCK_SKEW
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
    """Allow a key these uses only."""
    from cryptography import x509

    return x509.KeyUsage(**{use: uses.get(use, False) for use in USES})


def sign_certificate(
    builder: x509.CertificateBuilder, key: EllipticCurvePrivateKey
) -> x509.Certificate:
    """Sign a certificate."""
    from cryptography.hazmat.primitives.hashes import SHA256

    return builder.sign(key, SHA256())


def pem_of(found: x509.Certificate) -> str:
    """Return a certificate as text."""
    from cryptography.hazmat.primitives.serialization import Encoding

    return found.public_bytes(Encoding.PEM).decode()
