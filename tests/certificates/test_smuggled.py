"""A host that shows more than one certificate: only what was tested is kept, shown and trusted."""

import base64
import shutil
import ssl
import subprocess
from types import SimpleNamespace

import pytest

from labfab.certificates import authority, certificate, constraints, stores, trust, vault
from labfab.check import https_front
from labfab.check.findings import Wrong
from labfab.errors import SetupError
from tests.made_certificates import issue

NAMES = ["lab.example.org", "203.0.113.5"]
GOOD = authority.make("homelab", NAMES)
EVIL = issue("a CA for everything").pem
BANK = issue("bank", ("bank.example",))


def labeled(label: str, text: str = EVIL) -> str:
    return text.replace(" CERTIFICATE", f" {label}")


def glued() -> str:
    """One block with the bytes of two certificates."""
    both = b"".join(ssl.PEM_cert_to_DER_cert(one) for one in (GOOD.pem, EVIL))
    body = base64.encodebytes(both).decode()
    return f"-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n"


SMUGGLED = {
    "behind": GOOD.pem + EVIL,
    "in front": EVIL + GOOD.pem,
    "with other ends of lines": GOOD.pem + EVIL.replace("\n", "\r\n"),
    "with old ends of lines": GOOD.pem + EVIL.replace("\n", "\r"),
    "for OpenSSL alone": GOOD.pem + labeled("TRUSTED CERTIFICATE"),
    "in front for OpenSSL alone": labeled("TRUSTED CERTIFICATE") + GOOD.pem,
    "by the old label": GOOD.pem + labeled("X509 CERTIFICATE"),
    "a revocation list": GOOD.pem + labeled("X509 CRL"),
    "a key": BANK.key_pem + GOOD.pem,
    "behind a remark": f"# the lab's CA\n{GOOD.pem}{EVIL}",
    "a remark alone": f"{GOOD.pem}bank.example is fine\n",
    "half of one": GOOD.pem + EVIL[:100],
    "behind a NUL": f"{GOOD.pem}\0{EVIL}",
    "two in one block": glued(),
    "a header": GOOD.pem.replace("-----\n", "-----\nProc-Type: 4,ENCRYPTED\n\n", 1),
    "nested": GOOD.pem.replace("-----\n", f"-----\n{EVIL}", 1),
    "endless": GOOD.pem + "\n" * 100_000,
}
smuggled = pytest.mark.parametrize("text", SMUGGLED.values(), ids=SMUGGLED)


@smuggled
def test_a_file_with_more_in_it_is_no_ca(text):
    assert certificate.only_certificate(text) is None and certificate.reencoded(text) is None
    assert constraints.permitted(text) is None and not certificate.signed_by(GOOD.pem, text)


def test_one_certificate_is_kept_as_it_was_tested():
    for text in (GOOD.pem, f"\n{GOOD.pem}\n", GOOD.pem.replace("\n", "\r\n")):
        assert certificate.reencoded(text) == GOOD.pem
    assert vault.store_ca("homelab", GOOD.pem.replace("\n", "\r\n"))
    assert vault.path_of("homelab").read_text() == GOOD.pem
    assert vault.is_known_ca("homelab", GOOD.pem) and not vault.is_known_ca("other", GOOD.pem)


@smuggled
def test_it_is_neither_kept_nor_known(text):
    with pytest.raises(SetupError, match="contains more than one certificate"):
        vault.store_ca("homelab", text)
    assert not vault.path_of("homelab").exists()
    vault.write(vault.path_of("homelab"), text.encode())
    assert not vault.is_known_ca("homelab", text) and not vault.own_ca("homelab")


@smuggled
def test_one_that_an_earlier_version_kept_is_not_trusted(text, monkeypatch, tmp_path):
    """No store gets it, no command is shown for it; untrust still takes back what was done."""
    (tmp_path / "anchors").mkdir()
    monkeypatch.setattr(trust, "SYSTEM", {f"{tmp_path}/anchors": "update-them"})
    vault.write(vault.path_of("homelab"), text.encode())
    with pytest.raises(SetupError, match=r"homelab https\.(untrust|issue)"):
        trust.load_ca("homelab")
    (tmp_path / "anchors/labfab-homelab.crt").write_text(text)
    assert len(list(trust.by_hand_undone("homelab"))) == 1
    assert stores.sha1(vault.path_of("homelab"))


@smuggled
def test_what_is_behind_it_opens_no_door_for_a_man_in_the_middle(text):
    """check.https sends the password to whom it trusts."""
    vault.write(vault.path_of("homelab"), text.encode())
    want = SimpleNamespace(certificate="self-signed")
    with pytest.raises(Wrong, match=r"ca\.pem holds"):
        https_front.trust(SimpleNamespace(alias="homelab", want=want))


@pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl here")
def test_openssl_verifies_nothing_else_by_what_is_kept(tmp_path):
    """The whole way of the attack: the host's file, the laptop's copy, the system's bundle."""
    evil = issue("a CA for everything")
    leaf = issue("bank", ("bank.example",), by=evil)
    vault.store_ca("homelab", GOOD.pem)
    with pytest.raises(SetupError):
        vault.store_ca("homelab", GOOD.pem + evil.pem)
    (tmp_path / "leaf").write_text(leaf.pem)
    for bundle, verified in ((GOOD.pem + evil.pem, True), (None, False)):
        (tmp_path / "bundle").write_text(bundle or vault.path_of("homelab").read_text())
        command = ["openssl", "verify", "-CAfile", tmp_path / "bundle", tmp_path / "leaf"]
        assert (subprocess.run(command, capture_output=True).returncode == 0) == verified
