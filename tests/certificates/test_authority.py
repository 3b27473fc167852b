"""The CA of a lab vouches for the lab, and nobody who checks certificates lets it vouch for anything else."""

import ipaddress
import re
import shutil
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID as Use
from cryptography.x509.oid import ExtensionOID, NameOID

from labfab.certificates import authority, certificate, constraints
from labfab.errors import SetupError

NAMES = ["lab.example.org", "203.0.113.5", "2001:db8::5"]


def request(key=None, name: str = "labfab", wishes=()) -> str:
    """A certificate request, as the host makes it."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder().subject_name(authority.common_name(name))
    for wish in wishes:
        builder = builder.add_extension(wish, critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def extension(found: x509.Certificate, kind):
    return found.extensions.get_extension_for_class(kind)


def openssl(folder: Path, ca: str, leaf: str, *more: str, between: str = "") -> str:
    """What openssl says about a certificate, trusting only this CA."""
    for name, text in (("ca", ca), ("leaf", leaf), ("between", between)):
        (folder / f"{name}.pem").write_text(text)
    chain = ["-untrusted", f"{folder}/between.pem"] if between else []
    command = [
        "openssl",
        "verify",
        "-x509_strict",
        "-purpose",
        "sslserver",
        "-CAfile",
        f"{folder}/ca.pem",
        *chain,
        *more,
    ]
    done = subprocess.run([*command, f"{folder}/leaf.pem"], capture_output=True, text=True)
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def ca() -> authority.Authority:
    return authority.make("homelab", NAMES)


def test_the_authority_field_by_field(ca):
    """It says that it may sign servers' certificates for these names, and may not make another CA."""
    found = ca.certificate
    assert found.version is x509.Version.v3 and isinstance(
        found.signature_hash_algorithm, hashes.SHA256
    )
    assert (
        isinstance(found.public_key(), ec.EllipticCurvePublicKey)
        and found.public_key().curve.name == "secp256r1"
    )
    assert found.issuer == found.subject and re.fullmatch(
        r"labfab CA of homelab [0-9a-f]{8}", certificate.title(found.subject)
    )
    critical = {one.oid: one.critical for one in found.extensions}
    assert critical == {
        ExtensionOID.BASIC_CONSTRAINTS: True,
        ExtensionOID.KEY_USAGE: True,
        ExtensionOID.NAME_CONSTRAINTS: True,
        ExtensionOID.EXTENDED_KEY_USAGE: False,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER: False,
    }
    assert extension(found, x509.BasicConstraints).value == x509.BasicConstraints(
        ca=True, path_length=0
    )
    assert extension(found, x509.KeyUsage).value == authority.usage(key_cert_sign=True)
    assert list(extension(found, x509.ExtendedKeyUsage).value) == [Use.SERVER_AUTH]
    inside = extension(found, x509.NameConstraints).value
    assert inside.permitted_subtrees == [
        x509.DNSName("lab.example.org"),
        x509.IPAddress(ipaddress.ip_network("203.0.113.5/32")),
        x509.IPAddress(ipaddress.ip_network("2001:db8::5/128")),
    ]
    assert inside.excluded_subtrees is None


def test_the_leaf_field_by_field(ca):
    """A server's certificate for these names, tied to its CA, valid for as long as browsers accept."""
    key = ec.generate_private_key(ec.SECP256R1())
    found = certificate.parse(authority.sign(ca, request(key), NAMES))
    assert found.public_key() == key.public_key() and found.issuer == ca.certificate.subject
    critical = {one.oid: one.critical for one in found.extensions}
    assert critical == {
        ExtensionOID.BASIC_CONSTRAINTS: True,
        ExtensionOID.KEY_USAGE: True,
        ExtensionOID.EXTENDED_KEY_USAGE: False,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME: False,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER: False,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER: False,
    }
    assert extension(found, x509.BasicConstraints).value == x509.BasicConstraints(
        ca=False, path_length=None
    )
    assert extension(found, x509.KeyUsage).value == authority.usage(digital_signature=True)
    assert list(extension(found, x509.ExtendedKeyUsage).value) == [Use.SERVER_AUTH]
    assert certificate.names(found) == ("lab.example.org", "203.0.113.5", "2001:db8::5")
    # GnuTLS would apply the constraints of DNS names to it.
    assert not found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    own = extension(ca.certificate, x509.SubjectKeyIdentifier).value.digest
    assert extension(found, x509.AuthorityKeyIdentifier).value.key_identifier == own
    assert found.not_valid_after_utc - found.not_valid_before_utc <= timedelta(days=397)
    early = datetime.now(timezone.utc) - found.not_valid_before_utc
    assert timedelta(minutes=59) < early < timedelta(minutes=61)
    assert found.not_valid_after_utc <= ca.certificate.not_valid_after_utc


def test_serials_are_random(ca):
    serials = {certificate.read(authority.sign(ca, request(), NAMES)).serial for _ in range(20)}
    assert len(serials) == 20 and min(map(len, serials)) > 16


def test_what_a_request_asks_for_does_not_count(ca):
    """Neither its subject, nor a request to be a CA or to have other names, counts."""
    wishes = [
        x509.BasicConstraints(ca=True, path_length=9),
        x509.SubjectAlternativeName([x509.DNSName("example.com")]),
        x509.KeyUsage(*[True] * 7, False, False),
    ]
    found = certificate.parse(authority.sign(ca, request(name="example.com", wishes=wishes), NAMES))
    assert (
        certificate.names(found) == tuple(NAMES)
        and "example.com" not in found.subject.rfc4514_string()
    )
    assert not extension(found, x509.BasicConstraints).value.ca
    assert extension(found, x509.KeyUsage).value == authority.usage(digital_signature=True)


@pytest.mark.parametrize("what", ["", "nonsense", "rsa", "p384", "another's"])
def test_a_request_that_is_not_ours_is_not_signed(ca, what):
    """No request, another kind of key, or one that was signed by somebody who does not have the key."""
    if what == "rsa":
        text = request(rsa.generate_private_key(65537, 2048))
    elif what == "p384":
        text = request(ec.generate_private_key(ec.SECP384R1()))
    elif what == "another's":
        text = forged()
    else:
        text = what
    with pytest.raises(SetupError, match="the host's certificate request"):
        authority.sign(ca, text, NAMES)


def forged() -> str:
    """A request for the key of somebody else."""
    one, other = (x509.load_pem_x509_csr(request(name="labfab").encode()) for _ in range(2))
    spki = [
        found.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        for found in (one, other)
    ]
    der = one.public_bytes(serialization.Encoding.DER).replace(*spki)
    return x509.load_der_x509_csr(der).public_bytes(serialization.Encoding.PEM).decode()


# What those who check certificates say ------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_openssl_takes_the_names_of_the_lab(ca, tmp_path, name):
    flag = "-verify_ip" if ":" in name or name[0].isdigit() else "-verify_hostname"
    assert "leaf.pem: OK" in openssl(
        tmp_path, ca.pem, authority.sign(ca, request(), NAMES), flag, name
    )


@pytest.mark.parametrize(
    "names",
    [
        ["example.com"],
        ["lab.example.org.example.com"],
        ["xlab.example.org"],
        ["198.51.100.7"],
        ["203.0.113.6"],
        ["2001:db8::6"],
        ["*.org"],
    ],
    ids="-".join,
)
def test_openssl_takes_no_other_name(ca, tmp_path, names):
    """Not even next to a right one: the CA may not vouch for it."""
    for told in (names, [*NAMES, *names]):
        assert "permitted subtree violation" in openssl(
            tmp_path, ca.pem, authority.sign(ca, request(), told)
        )


@pytest.mark.parametrize(
    "own, foreign",
    [
        (["203.0.113.5"], ["example.com"]),
        (["203.0.113.5"], ["localhost"]),
        (["203.0.113.5"], ["2001:db8::6"]),
        (["lab.example.org"], ["198.51.100.7"]),
        (["lab.example.org"], ["2001:db8::6"]),
        (["2001:db8::5"], ["198.51.100.7"]),
        (["2001:db8::5"], ["example.com"]),
    ],
)
def test_openssl_takes_no_name_of_a_kind_that_the_lab_has_none_of(tmp_path, own, foreign):
    """A kind of name that is not mentioned would be allowed."""
    lab = authority.make("homelab", own)
    assert "leaf.pem: OK" in openssl(tmp_path, lab.pem, authority.sign(lab, request(), own))
    assert re.search(
        "(permitted|excluded) subtree violation",
        openssl(tmp_path, lab.pem, authority.sign(lab, request(), foreign)),
    )


@pytest.mark.local
@pytest.mark.skipif(
    not shutil.which("certutil") and not shutil.which("certtool"),
    reason="install libnss3-tools or gnutls-bin",
)
@pytest.mark.parametrize("own", [NAMES, NAMES[:1], NAMES[1:2], NAMES[2:]], ids="-".join)
def test_the_browsers_library_and_gnutls_say_the_same(tmp_path, own):
    """NSS as Firefox has it, and what wget and git use on Debian: the lab's names, and no other one of any kind."""
    lab = authority.make("homelab", own)
    for names, good in [
        (own, True),
        (["example.com"], False),
        (["198.51.100.7"], False),
        (["2001:db8::6"], False),
    ]:
        (tmp_path / "ca.pem").write_text(lab.pem)
        (tmp_path / "leaf.pem").write_text(authority.sign(lab, request(), names))
        assert {takes(tmp_path) for takes in (nss, gnutls)} <= {good, None}, names


def nss(folder: Path) -> bool | None:
    """Whether NSS takes the certificate; None where it is not here."""
    if not shutil.which("certutil"):
        return None
    shutil.rmtree(folder / "nss", ignore_errors=True)
    (folder / "nss").mkdir()
    for words in (
        "-N --empty-password",
        "-A -n ca -t C,, -i ca.pem",
        "-A -n leaf -t ,, -i leaf.pem",
    ):
        subprocess.run(["certutil", "-d", "sql:nss", *words.split()], cwd=folder, check=True)
    said = subprocess.run(
        ["certutil", "-V", "-d", "sql:nss", "-n", "leaf", "-u", "V"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert re.search(
        "is valid|is not permitted to issue a certificate with this name", said.stdout + said.stderr
    ), said
    return said.returncode == 0


def gnutls(folder: Path) -> bool | None:
    """Whether GnuTLS takes the certificate; None where it is not here."""
    if not shutil.which("certtool"):
        return None
    command = ["certtool", "--verify", "--load-ca-certificate", "ca.pem", "--infile", "leaf.pem"]
    said = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert re.search("is trusted|violates the signer's constraints", said.stdout), said
    return said.returncode == 0


def test_openssl_takes_no_authority_below_it(ca, tmp_path):
    """Even for a right name."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        authority.certificate_builder(
            authority.common_name("below it"), ca.certificate.subject, key.public_key(), 30
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(authority.usage(key_cert_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key()), critical=False
        )
    )
    below = authority.Authority(authority.sign_certificate(builder, ca.key), key)
    said = openssl(tmp_path, ca.pem, authority.sign(below, request(), NAMES), between=below.pem)
    assert "path length constraint exceeded" in said


# What a CA may vouch for, read from it -------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [NAMES, NAMES[:1], NAMES[1:2], NAMES[2:], ["localhost", "127.0.0.1", "nas"]],
    ids="-".join,
)
def test_what_a_lab_may_vouch_for_is_told(names):
    assert constraints.permitted(authority.make("homelab", names).pem) == frozenset(names)


def loose(**other) -> str:
    """A CA like ours except for one thing."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = authority.common_name("loose")
    inside = other.get("inside", constraints.name_constraints(NAMES[:1]))
    builder = authority.certificate_builder(subject, subject, key.public_key(), 30).add_extension(
        x509.BasicConstraints(ca=True, path_length=other.get("length", 0)), critical=True
    )
    if inside:
        builder = builder.add_extension(inside, critical=other.get("critical", True))
    return authority.pem_of(authority.sign_certificate(builder, key))


@pytest.mark.parametrize(
    "pem",
    [
        "",
        "nonsense",
        loose(inside=None),
        loose(critical=False),
        loose(length=None),
        loose(length=1),
        loose(inside=x509.NameConstraints([x509.DNSName("lab.example.org")], None)),
        loose(inside=x509.NameConstraints(None, [x509.DNSName("example.com")])),
        loose(
            inside=x509.NameConstraints(
                [x509.IPAddress(ipaddress.ip_network("0.0.0.0/0"))], [x509.DNSName("")]
            )
        ),
        loose(inside=x509.NameConstraints([x509.RFC822Name("example.com")], None)),
    ],
    ids=[
        "empty",
        "nonsense",
        "free",
        "advice",
        "sub-CAs",
        "one sub-CA",
        "any address",
        "all but one",
        "every address",
        "mail",
    ],
)
def test_a_ca_that_may_vouch_for_more_is_known(pem):
    assert constraints.permitted(loose()) == frozenset(NAMES[:1])
    assert constraints.permitted(pem) is None


# What a certificate says --------------------------------------------------------------------------


def test_days_left_are_whole_days(ca):
    found = certificate.read(authority.sign(ca, request(), NAMES, days=40))
    assert (
        found.days_left == 39
        and certificate.read(authority.sign(ca, request(), NAMES, days=0)).days_left < 0
    )
    assert certificate.read("no certificate") is None and certificate.read("") is None


def test_who_signed_it_is_found_by_the_signature(ca):
    """Not by the name: another CA of the same name is a different CA."""
    leaf = authority.sign(ca, request(), NAMES)
    same = authority.Authority(ca.certificate, ec.generate_private_key(ec.SECP256R1()))
    assert certificate.signed_by(leaf, ca.pem)
    assert not certificate.signed_by(authority.sign(same, request(), NAMES), ca.pem)
    assert not certificate.signed_by(leaf, authority.make("homelab", NAMES).pem)
    assert not certificate.signed_by(leaf, "") and not certificate.signed_by("", ca.pem)


def test_a_name_is_written_one_way():
    assert list(map(certificate.plain, ["Lab.Example.ORG.", "2001:DB8:0::5", "10.0.0.1"])) == [
        "lab.example.org",
        "2001:db8::5",
        "10.0.0.1",
    ]
