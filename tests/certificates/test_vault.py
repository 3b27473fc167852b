"""What is kept of a lab's CA: only its certificate, unless a passphrase locks the key."""

import io
from pathlib import Path

import pytest

from labfab.certificates import authority, certificate, vault
from labfab.errors import SetupError
from labfab.local_state import secrets

NAMES = ["lab.example.org", "203.0.113.5"]


@pytest.fixture(autouse=True)
def nobody_to_ask(monkeypatch):
    monkeypatch.setattr(secrets, "TAKEN", {})
    monkeypatch.setattr("sys.stdin", io.StringIO())
    monkeypatch.delenv("LABFAB_CA_PASSPHRASE", raising=False)


@pytest.fixture
def passphrase(monkeypatch):
    def give(value: str) -> None:
        monkeypatch.setattr(secrets, "TAKEN", {})
        monkeypatch.setenv("LABFAB_CA_PASSPHRASE", value)

    return give


def folder(home: Path) -> Path:
    return home / ".config/labfab/homelab"


def test_without_a_passphrase_no_key_is_written(home):
    """A different CA each time; nothing is on disk until it is remembered, and then only the certificate."""
    first, second = vault.open_ca("homelab", NAMES), vault.open_ca("homelab", NAMES)
    assert first.pem != second.pem and not folder(home).exists()
    assert vault.store_ca("homelab", first.pem) and not vault.store_ca("homelab", first.pem)
    assert [path.name for path in folder(home).iterdir()] == ["ca.pem"]
    assert (folder(home) / "ca.pem").read_text() == first.pem and "PRIVATE" not in first.pem
    assert "PRIVATE KEY" not in "".join(
        path.read_text() for path in home.rglob("*") if path.is_file()
    )


def test_with_a_passphrase_it_is_kept_locked(home, passphrase):
    """The same CA signs again, so browsers need not trust a new one; it lasts for years."""
    passphrase("a long passphrase")
    first = vault.open_ca("homelab", NAMES)
    path = folder(home) / "ca-key.pem"
    assert path.stat().st_mode & 0o777 == 0o600 and folder(home).stat().st_mode & 0o777 == 0o700
    assert (
        "ENCRYPTED PRIVATE KEY" in path.read_text() and "a long passphrase" not in path.read_text()
    )
    passphrase("a long passphrase")
    second = vault.open_ca("homelab", NAMES[::-1])
    assert second.pem == first.pem and second.key.private_numbers() == first.key.private_numbers()
    assert 3600 < certificate.read(first.pem).days_left < 3651


@pytest.mark.parametrize(
    "given, says",
    [
        ("", "is locked with a passphrase: set LABFAB_CA_PASSPHRASE"),
        ("another", "does not open with this passphrase"),
    ],
)
def test_a_locked_ca_that_does_not_open_is_named(home, passphrase, given, says):
    """A kept CA is never replaced without the owner's knowledge."""
    passphrase("right")
    vault.open_ca("homelab", NAMES)
    before = (folder(home) / "ca-key.pem").read_bytes()
    passphrase(given)
    with pytest.raises(SetupError, match=says):
        vault.open_ca("homelab", NAMES)
    assert (folder(home) / "ca-key.pem").read_bytes() == before


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    ],
)
def test_a_damaged_file_is_no_traceback(home, passphrase, text):
    passphrase("right")
    vault.open_ca("homelab", NAMES)
    (folder(home) / "ca-key.pem").write_text(text)
    if text:
        with pytest.raises(SetupError, match="does not open"):
            vault.open_ca("homelab", NAMES)
    else:
        assert vault.open_ca("homelab", NAMES)  # an empty file counts as none


def test_a_key_of_another_ca_is_not_used(home, passphrase):
    """Key and certificate in the file must belong together."""
    passphrase("right")
    vault.open_ca("homelab", NAMES)
    path = folder(home) / "ca-key.pem"
    key = path.read_text().partition("-----BEGIN CERT")[0]
    path.write_text(key + authority.make("homelab", NAMES).pem)
    with pytest.raises(SetupError, match="is not what labfab wrote"):
        vault.open_ca("homelab", NAMES)


@pytest.mark.parametrize(
    "names",
    [[*NAMES, "more.example.org"], NAMES[:1], ["other.example.org", "203.0.113.5"]],
    ids="-".join,
)
def test_other_names_need_another_ca(passphrase, names):
    """A CA vouches for its names exactly, so that none can be slipped in or left over."""
    passphrase("right")
    first = vault.open_ca("homelab", NAMES)
    assert vault.open_ca("homelab", names).pem != first.pem
    assert vault.open_ca("homelab", names).pem == vault.open_ca("homelab", names).pem


def test_a_ca_that_ends_soon_is_not_used(passphrase, monkeypatch):
    passphrase("right")
    monkeypatch.setattr(authority, "KEPT_DAYS", 80)
    assert vault.open_ca("homelab", NAMES).pem != vault.open_ca("homelab", NAMES).pem


def test_a_lab_is_forgotten(home, passphrase):
    passphrase("right")
    vault.store_ca("homelab", vault.open_ca("homelab", NAMES).pem)
    vault.forget("homelab"), vault.forget("never-seen")
    assert list(folder(home).iterdir()) == []
