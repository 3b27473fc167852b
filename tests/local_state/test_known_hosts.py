import subprocess
from pathlib import Path

import paramiko
import pytest

from labfab.errors import SetupError
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
    with pytest.raises(SetupError, match=r"HAS CHANGED.*ssh-keygen -R '\[lab.example\]:2222'"):
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
