import subprocess
from pathlib import Path
from types import SimpleNamespace

import paramiko
import pytest

from labfab.errors import SetupError
from labfab.host.host_key import AskAboutHostKey
from labfab.local_state import known_hosts

OTHERS = (
    b"# mine\r\n\nother.example,10.0.0.1 ssh-rsa AAAA broken\n@revoked * ssh-ed25519 AAAA\n"
    b"|1|x|y ssh-rsa AAAA\nshort line\n\xff\xfe"
)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("keys")
    for name, kind in (("a", "ed25519"), ("b", "ed25519"), ("c", "ecdsa")):
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", folder / name], check=True)
    return [folder / name for name in "abc"]


@pytest.fixture
def key(keys: list[Path]) -> paramiko.PKey:
    return paramiko.PKey.from_path(keys[0])


@pytest.fixture
def path(home: Path) -> Path:
    return home / ".ssh/known_hosts"


def found(path: Path, name: str) -> int:
    """Return how many keys OpenSSH finds for a name."""
    told = subprocess.run(
        ["ssh-keygen", "-F", name, "-f", path], check=False, capture_output=True, text=True
    )
    return sum(not line.startswith("#") for line in told.stdout.splitlines())


def test_fingerprint(keys: list[Path]) -> None:
    """Fingerprints are written as ssh-keygen writes them."""
    for one in keys:
        shown = subprocess.run(
            ["ssh-keygen", "-lf", one], check=True, capture_output=True, text=True
        ).stdout
        assert known_hosts.fingerprint(paramiko.PKey.from_path(one)) == shown.split()[1]


@pytest.mark.parametrize(
    ("hostname", "port", "name"),
    [
        ("Lab.Example", 22, "lab.example"),
        ("lab.example", 2222, "[lab.example]:2222"),
        ("2001:db8::1", 22, "2001:db8::1"),
        ("2001:db8::1", 2222, "[2001:db8::1]:2222"),
    ],
)
def test_pin(hostname: str, port: int, name: str, path: Path, key: paramiko.PKey) -> None:
    """A pinned key is found by labfab, OpenSSH and paramiko; pinning again writes nothing."""
    assert known_hosts.pinned(path, hostname, port) == []
    assert known_hosts.pin(path, hostname, port, key)
    assert not known_hosts.pin(path, hostname, port, key)
    assert known_hosts.pinned(path, hostname, port) == [key]
    assert known_hosts.pinned(path, hostname, port + 1) == []
    assert found(path, name) == 1
    assert paramiko.HostKeys(str(path)).check(name, key)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_other_lines_stay(path: Path, key: paramiko.PKey) -> None:
    """Foreign lines, garbled ones and a missing final newline survive pinning and forgetting."""
    path.parent.mkdir()
    path.write_bytes(OTHERS)
    path.chmod(0o644)
    known_hosts.pin(path, "lab.example", 2222, key)
    assert path.read_bytes().startswith(OTHERS + b"\n[lab.example]:2222 ssh-ed25519 ")
    assert known_hosts.forget(path, "lab.example", 2222)
    assert not known_hosts.forget(path, "lab.example", 2222)
    assert path.read_bytes() == OTHERS + b"\n"
    assert path.stat().st_mode & 0o777 == 0o644


def test_hashed_and_wildcards(path: Path, key: paramiko.PKey) -> None:
    """Hashed names, lists and patterns are read as OpenSSH reads them."""
    path.parent.mkdir()
    line = f"{key.get_name()} {key.get_base64()}\n"
    path.write_text(f"[lab.example]:2222 {line}")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", path], check=True, capture_output=True)
    assert path.read_text().startswith("|1|")
    path.write_text(
        f"{path.read_text()}*.wild.example,!not.wild.example {line}one,[two]:2200,1.2.3.? {line}"
    )
    for hostname, port, count in [
        ("lab.example", 2222, 1),
        ("LAB.example", 2222, 1),
        ("lab.example", 22, 0),
        ("a.wild.example", 22, 1),
        ("not.wild.example", 22, 0),
        ("two", 2200, 1),
        ("1.2.3.4", 22, 1),
        ("two", 22, 0),
    ]:
        assert len(known_hosts.pinned(path, hostname, port)) == count, hostname
        assert found(path, known_hosts.host_name(hostname, port).lower()) == count, hostname
    assert not known_hosts.pin(path, "lab.example", 2222, key)
    assert not known_hosts.forget(path, "lab.example", 2222)


def test_changed_key(path: Path, keys: list[Path]) -> None:
    """Another key of the same type stops everything; one of another type is added."""
    first, second, other = (paramiko.PKey.from_path(one) for one in keys)
    known_hosts.pin(path, "lab.example", 2222, first)
    before = path.read_bytes()
    with pytest.raises(
        SetupError, match=r"HAS CHANGED.*ssh-keygen -f \S+ -R '\[lab.example\]:2222'"
    ):
        known_hosts.pin(path, "lab.example", 2222, second)
    assert path.read_bytes() == before
    assert known_hosts.pin(path, "lab.example", 2222, other)


def test_users_own_line_stays(path: Path, key: paramiko.PKey) -> None:
    """A line that the user wrote for the same host is not removed."""
    path.parent.mkdir()
    path.write_text(f"lab.example {key.get_name()} {key.get_base64()} me@home\n")
    assert not known_hosts.forget(path, "lab.example", 22)


def test_not_a_file(path: Path, key: paramiko.PKey) -> None:
    """A folder in place of the file is reported."""
    path.mkdir(parents=True)
    with pytest.raises(SetupError, match="cannot read"):
        known_hosts.pin(path, "lab.example", 22, key)


# @revoked and @cert-authority -----------------------------------------------------------------

PLACES = [
    ("lab.example", "lab.example", 22),
    ("*", "lab.example", 2222),
    ("*.example,!other.example", "lab.example", 22),
    ("[lab.example]:2222", "lab.example", 2222),
    ("lab.example", "lab.example", 2222),  # a name stands for all ports
    ("HASHED", "lab.example", 22),
    ("[HASHED]:2222", "lab.example", 2222),
    ("2001:db8::1", "2001:db8::1", 2222),
]


def written(names: str, hostname: str, port: int) -> str:
    if "HASHED" not in names:
        return names
    return paramiko.HostKeys.hash_host(known_hosts.host_name(hostname, port))


@pytest.fixture
def no_shared(monkeypatch, tmp_path):
    monkeypatch.setattr(known_hosts, "SHARED", (tmp_path / "ssh_known_hosts",))
    return tmp_path / "ssh_known_hosts"


@pytest.mark.parametrize(("names", "hostname", "port"), PLACES)
@pytest.mark.parametrize("where", ["before", "after", "known_hosts2", "shared"])
def test_a_revoked_key_is_refused_even_if_it_is_known(
    path, keys, no_shared, names, hostname, port, where
):
    one, other = (paramiko.PKey.from_path(key) for key in keys[:2])
    known_hosts.pin(path, hostname, port, one)
    line = f"@revoked {written(names, hostname, port)} {one.get_name()} {one.get_base64()} stolen\n"
    if where == "before":
        path.write_text(line + path.read_text())
    elif where == "after":
        path.write_text(path.read_text() + line)
    else:
        (path.with_name("known_hosts2") if where == "known_hosts2" else no_shared).write_text(line)
    assert known_hosts.pinned(path, hostname, port) == []
    with pytest.raises(SetupError, match=r"is REVOKED \(@revoked in .*new key") as error:
        known_hosts.pin(path, hostname, port, one)
    assert "\n" not in str(error.value)
    for given in ("", known_hosts.fingerprint(one)):
        with pytest.raises(SetupError, match="is REVOKED"):
            asked(path, hostname, port, given).missing_host_key(None, hostname, one)
    # Another key of this host, and this key elsewhere, are not concerned.
    assert not known_hosts.is_revoked(path, hostname, port, other)
    if names != "*":
        assert not known_hosts.is_revoked(path, "other.example", 22, one)
        assert known_hosts.pin(path, "other.example", 22, one)


def asked(path: Path, hostname: str, port: int, given: str = "") -> AskAboutHostKey:
    c = SimpleNamespace(host=hostname, port=port, user="lab")
    return AskAboutHostKey(c, SimpleNamespace(host_key=given), path)


def test_ssh_refuses_the_same_lines(path, keys, no_shared):
    """ssh-keygen -F reads the patterns as ssh does."""
    one = paramiko.PKey.from_path(keys[0])
    for names, hostname, port in PLACES:
        path.parent.mkdir(exist_ok=True)
        text = f"@revoked {written(names, hostname, port)} {one.get_name()} {one.get_base64()}\n"
        path.write_text(text)
        exact = names != "lab.example" or port == 22
        if exact and hostname != "2001:db8::1":
            assert found(path, known_hosts.host_name(hostname, port)) == 1, names
        assert known_hosts.is_revoked(path, hostname, port, one), names


def test_lines_that_only_look_like_it_revoke_nothing(path, keys, no_shared):
    one, other = (paramiko.PKey.from_path(key) for key in keys[:2])
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        f"# @revoked lab.example {one.get_name()} {one.get_base64()}\n"
        f"@revoked other.example {one.get_name()} {one.get_base64()}\n"
        f"@revoked !lab.example,*.example {one.get_name()} {one.get_base64()}\n"
        f"@revoked lab.example {other.get_name()} {other.get_base64()}\n"
        f"@revoked lab.example {one.get_name()} AAAA!\n@revoked\n@\n@revoked lab.example\n"
    )
    assert not known_hosts.is_revoked(path, "lab.example", 22, one)
    assert known_hosts.pin(path, "lab.example", 22, one)


def test_a_key_of_a_kind_that_paramiko_lacks_can_be_revoked(path, key, no_shared):
    """The blob counts, whatever stands in front of it."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"@revoked lab.example sk-unknown {key.get_base64()}\n")
    assert known_hosts.is_revoked(path, "lab.example", 22, key)


@pytest.mark.parametrize("terminal", [True, False])
def test_a_certificate_authority_is_named_with_what_to_do(
    path, key, no_shared, monkeypatch, capsys, terminal
):
    """paramiko cannot check certificates of hosts. The key itself is still asked for, never taken."""
    no_shared.write_text(f"@cert-authority *.example {key.get_name()} {key.get_base64()}\n")
    monkeypatch.setattr("sys.stdin.isatty", lambda: terminal, raising=False)
    monkeypatch.setattr("labfab.console.agreed", lambda *words: False)
    says = "not accepted" if terminal else "names a certificate authority.*compare with ssh -p 2222"
    with pytest.raises(SetupError, match=says):
        asked(path, "lab.example", 2222).missing_host_key(None, "lab.example", key)
    if terminal:
        assert "compare with ssh -p 2222 lab@lab.example" in capsys.readouterr().out
    assert known_hosts.pinned(path, "lab.example", 2222) == []
    assert not known_hosts.has_authority(path, "lab.test", 22)
    # Its own key is no key of the host.
    with pytest.raises(SetupError, match="unknown host key" if not terminal else "not accepted"):
        asked(path, "lab.test", 22).missing_host_key(None, "lab.test", key)
