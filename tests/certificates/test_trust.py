"""What this machine's programs trust: real NSS databases, and stand-ins for the keychain and Windows."""

import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from labfab.certificates import authority, stores, trust, vault
from labfab.errors import SetupError

pytestmark = pytest.mark.local
needs_nss = pytest.mark.skipif(
    not shutil.which("certutil"), reason="no certutil here: install libnss3-tools"
)
NAMES = ["lab.example.org", "203.0.113.5"]


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setattr(trust, "SYSTEM", {f"{tmp_path}/anchors": "update-them"})


def remembered(alias: str = "homelab", names=NAMES) -> Path:
    """Give a lab a new CA."""
    vault.store_ca(alias, authority.make(alias, names).pem)
    return trust.load_ca(alias)[0]


def profile(home: Path, name: str) -> Path:
    """Make the database of a profile of Firefox."""
    folder = home / name
    folder.mkdir(parents=True)
    subprocess.run(["certutil", "-N", "--empty-password", "-d", f"sql:{folder}"], check=True)
    return folder


def trusted(folder: Path) -> dict[str, str]:
    """What a database trusts: names and flags."""
    said = subprocess.run(
        ["certutil", "-L", "-d", f"sql:{folder}"], capture_output=True, text=True
    ).stdout
    rows = [line.rsplit(maxsplit=1) for line in said.splitlines() if line.startswith("labfab")]
    return {name.strip(): flags for name, flags in rows}


@needs_nss
def test_every_browser_learns_it_and_forgets_it(home):
    """Chromium's database is made; Firefox's profiles are found, with spaces and in a snap; another lab is not touched."""
    places = [home / ".pki/nssdb"]
    places += [
        profile(home, ".mozilla/firefox/a.default release"),
        profile(home, "snap/firefox/common/.mozilla/firefox/b.default"),
    ]
    ca, other = remembered(), remembered("other")
    assert len(list(trust.add("homelab", ca))) == 3 and len(list(trust.add("other", other))) == 3
    assert [trusted(place) for place in places] == [
        {"labfab homelab": "C,,", "labfab other": "C,,"}
    ] * 3
    assert trust.stores_lacking("homelab", ca) == [] and list(trust.add("homelab", ca)) == []
    assert len(list(trust.remove("homelab"))) == 3 and list(trust.remove("homelab")) == []
    assert [trusted(place) for place in places] == [{"labfab other": "C,,"}] * 3
    assert places[0].stat().st_mode & 0o777 == 0o700


@needs_nss
def test_a_new_ca_of_the_lab_takes_the_place_of_the_old_one(home):
    """The old one is no longer trusted, because somebody may have its key."""
    old = remembered().read_text()
    list(trust.add("homelab", trust.load_ca("homelab")[0]))
    new = remembered()
    assert [store.where for store in trust.stores_lacking("homelab", new)] == [
        f"Chromium and Chrome ({home}/.pki/nssdb)"
    ]
    list(trust.add("homelab", new))
    store, older = stores.here()[0], home / "old.pem"
    older.write_text(old)
    assert store.holds("labfab homelab", new) and not store.holds("labfab homelab", older)
    assert trusted(home / ".pki/nssdb") == {"labfab homelab": "C,,"}


@needs_nss
def test_a_ca_that_is_known_but_not_trusted_is_no_success(home):
    """As after somebody removed the trust by hand."""
    ca = remembered()
    list(trust.add("homelab", ca))
    database = f"sql:{home}/.pki/nssdb"
    subprocess.run(
        ["certutil", "-M", "-d", database, "-n", "labfab homelab", "-t", ",,"],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    assert len(trust.stores_lacking("homelab", ca)) == 1
    list(trust.add("homelab", ca))
    assert trusted(home / ".pki/nssdb") == {"labfab homelab": "C,,"}


@needs_nss
def test_a_database_that_is_damaged_is_named_and_the_others_learn(home):
    folder = profile(home, ".mozilla/firefox/broken")
    (folder / "cert9.db").write_text("nonsense")
    with pytest.raises(SetupError, match=r"^could not change Firefox \(\S+/broken\): "):
        list(trust.add("homelab", remembered()))
    assert trusted(home / ".pki/nssdb") == {"labfab homelab": "C,,"}


def test_the_database_that_chromium_reads_is_taken(home):
    """A new one must not hide an existing one."""
    new, old = home / ".local/share/pki/nssdb", home / ".pki/nssdb"
    assert list(stores.databases(home)) == [old]
    new.mkdir(parents=True)
    assert list(stores.databases(home)) == [new]
    old.mkdir(parents=True)
    assert list(stores.databases(home)) == [old]


def test_looking_makes_no_database(home, monkeypatch):
    """As plan mode does."""
    monkeypatch.setattr(
        stores.shutil, "which", lambda name: "/usr/bin/certutil" if name == "certutil" else None
    )
    assert len(trust.stores_lacking("homelab", remembered())) == 1
    assert not (home / ".pki").exists() and not vault.path_of("homelab", "trusted.pem").exists()


def test_without_certutil_its_package_is_named(monkeypatch):
    monkeypatch.setattr(stores.shutil, "which", lambda name: None)
    with pytest.raises(SetupError, match="certutil.* is missing: sudo apt install libnss3-tools"):
        list(trust.add("homelab", remembered()))


def test_a_ca_that_may_vouch_for_more_is_not_trusted():
    """It may come from a host that somebody else has taken over."""
    free = authority.make("homelab", NAMES)
    builder = authority.certificate_builder(
        free.certificate.subject, free.certificate.subject, free.key.public_key(), 30
    )
    vault.store_ca("homelab", authority.pem_of(authority.sign_certificate(builder, free.key)))
    with pytest.raises(SetupError, match="may vouch for more than this lab"):
        trust.load_ca("homelab")


def test_a_lab_without_a_ca_here_is_told_where_it_comes_from():
    with pytest.raises(
        SetupError, match="homelab: its CA is not known on this machine: fab -H homelab https.issue"
    ):
        trust.load_ca("homelab")


def test_what_needs_sudo_is_left_to_you_until_it_is_done(tmp_path):
    ca = remembered()
    assert list(trust.by_hand("homelab", ca)) == []
    (tmp_path / "anchors").mkdir()
    target = tmp_path / "anchors/labfab-homelab.crt"
    assert list(trust.by_hand("homelab", ca)) == [
        ("curl, Python and the like", f"sudo install -m 644 {ca} {target} && sudo update-them")
    ]
    assert list(trust.by_hand_undone("homelab")) == []
    target.write_bytes(ca.read_bytes())
    assert list(trust.by_hand("homelab", ca)) == [] and list(trust.by_hand_undone("homelab")) == [
        f"sudo rm {target} && sudo update-them"
    ]


def test_on_wsl_the_command_for_windows_is_told(monkeypatch):
    monkeypatch.setattr(
        stores.os, "uname", lambda: SimpleNamespace(release="5.15.90.1-microsoft-standard-WSL2")
    )
    ca = remembered()
    assert (
        "the browsers of Windows",
        f'certutil.exe -user -addstore Root "$(wslpath -w {ca})"',
    ) in trust.by_hand("homelab", ca)


# Stand-ins: they keep hashes in a file and refuse what they do not know -----------------------------

SECURITY = """\
echo "$*" >>%(log)s; last=$(eval "echo \\${$#}")
hash() { openssl x509 -in "$1" -noout -fingerprint -sha1 | tr -d : | cut -d= -f2; }
case "$1 $2 $3 $4 $5 $6" in
  "find-certificate -a -Z $last  ") sed 's/^/SHA-1 hash: /' %(state)s 2>/dev/null ;;
  "add-trusted-cert -r trustRoot -p ssl -k") hash "$last" >>%(state)s ;;
  "remove-trusted-cert $last    ") ;;
  "delete-certificate -Z $3 $last  ") sed -i "/^$3$/d" %(state)s ;;
  *) echo "unknown: $*" >&2; exit 64 ;;
esac
"""
CERTUTIL_EXE = """\
echo "$*" >>%(log)s; [ "$1 $3" = "-user Root" ] || exit 64
hash() { openssl x509 -in "${1#W:}" -noout -fingerprint -sha1 | tr -d : | cut -d= -f2; }
case $2 in
  -store) grep -qx "$4" %(state)s 2>/dev/null || exit 87 ;;
  -addstore) hash "$4" >>%(state)s ;;
  -delstore) grep -qx "$4" %(state)s && sed -i "/^$4$/d" %(state)s ;;
  *) exit 64 ;;
esac
"""


def stand_in(folder: Path, name: str, text: str) -> Path:
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin" / name).write_text(
        "#!/bin/sh\n" + text % {"log": folder / "log", "state": folder / "state"}
    )
    (folder / "bin" / name).chmod(0o755)
    return folder / "state"


@pytest.mark.parametrize("system", ["mac", "windows"])
def test_a_mac_and_windows_are_told_by_their_own_programs(tmp_path, monkeypatch, system):
    """Add it, find it, replace the old CA by a new one, forget it."""
    if system == "mac":
        state = stand_in(tmp_path, "security", SECURITY)
        monkeypatch.setattr(stores.sys, "platform", "darwin")
    else:
        state = stand_in(tmp_path, "certutil.exe", CERTUTIL_EXE)
        stand_in(tmp_path, "wslpath", '[ "$1" = -w ] && echo "W:$2"\n')
        monkeypatch.setattr(stores, "Nss", None)
        real = shutil.which
        monkeypatch.setattr(
            stores.shutil, "which", lambda name: None if name == "certutil" else real(name)
        )
    monkeypatch.setenv("PATH", f"{tmp_path}/bin", prepend=":")
    first = remembered()
    hash = stores.sha1(first)
    assert len(list(trust.add("homelab", first))) == 1 and state.read_text() == f"{hash}\n"
    assert trust.stores_lacking("homelab", first) == []
    second = remembered()
    assert (
        len(list(trust.add("homelab", second))) == 1
        and state.read_text() == f"{stores.sha1(second)}\n" != f"{hash}\n"
    )
    assert (
        len(list(trust.remove("homelab"))) == 1
        and state.read_text() == ""
        and list(trust.remove("homelab")) == []
    )
