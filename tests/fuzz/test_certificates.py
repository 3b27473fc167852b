"""Certificates of a host's making."""

import functools
import ssl

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from labfab.certificates import certificate, constraints
from tests import made_certificates

from .hostile import DATA, LINE, TEXT, attempt


@functools.cache
def der() -> bytes:
    lab = made_certificates.issue("lab", ("example.org", "192.0.2.1"))
    return lab.certificate.public_bytes(Encoding.DER)


@functools.cache
def ca_der() -> bytes:
    return made_certificates.issue("ca", only_for=("example.org",)).certificate.public_bytes(
        Encoding.DER
    )


def pem(data: bytes) -> str:
    return ssl.DER_cert_to_PEM_cert(data)


@st.composite
def damaged(draw, *whole):
    """A certificate with some bytes changed, or cut off."""
    data = bytearray(draw(st.sampled_from(whole or (der, ca_der)))())
    for place in draw(st.lists(st.integers(0, len(data) - 1), max_size=4)):
        data[place] = draw(st.integers(0, 255))
    return pem(
        bytes(data[: draw(st.integers(0, len(data)))]) if draw(st.booleans()) else bytes(data)
    )


@given(TEXT | DATA.map(pem) | damaged(), damaged())
def test_certificates(text, other):
    """Anything is read, or is no certificate; what cannot be read vouches for nothing."""
    found = attempt(certificate.read, text)
    if found:
        assert isinstance(found.days_left, int)
    attempt(certificate.signed_by, text, other)
    permitted = attempt(constraints.permitted, text)
    assert permitted is None or permitted


@given(
    st.lists(
        st.sampled_from(("example.org", "192.0.2.1", "2001:db8::1")) | LINE, min_size=1, max_size=3
    )
)
def test_names(names):
    """A CA for these names can vouch for these alone."""
    try:
        found = constraints.name_constraints(names)
    except ValueError:
        return
    assert len(found.permitted_subtrees) == len(names)
    assert found.excluded_subtrees or {type(name) for name in found.permitted_subtrees} == {
        x509.DNSName,
        x509.IPAddress,
    }
