import subprocess
from pathlib import Path

import paramiko
import pytest

from labfab.errors import SetupError
from labfab.local_state import keypair

HOSTILE = "p'w\"$(x)\\ ü"


def keygen(path: Path, *options: str) -> Path:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    subprocess.run(
        ["ssh-keygen", "-q", "-f", path, "-C", "made by ssh-keygen", *options], check=True
    )
    return path


def test_generate(home: Path) -> None:
    """A new pair has the right modes, and OpenSSH and paramiko read it."""
    path = keypair.generate(home / ".ssh/id_ed25519", comment='größer "x"\n$(y)')
    public = home / ".ssh/id_ed25519.pub"
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_mode & 0o777 == 0o600
    assert public.stat().st_mode & 0o777 == 0o644
    assert public.read_text().endswith(' größer "x" $(y)\n')
    derived = subprocess.run(
        ["ssh-keygen", "-y", "-f", path], check=True, capture_output=True, text=True
    )
    assert keypair.public_line(path).startswith(derived.stdout.strip())
    assert paramiko.Ed25519Key(filename=str(path)).get_base64() in public.read_text()
    assert not keypair.is_encrypted(path)


def test_generate_encrypted(home: Path) -> None:
    """A passphrase with quotes, blanks and umlauts opens the key, nothing else does."""
    path = keypair.generate(home / "my keys/a b", passphrase=HOSTILE)
    assert keypair.is_encrypted(path)
    opened = ["ssh-keygen", "-y", "-f", path, "-P"]
    assert subprocess.run([*opened, HOSTILE], check=False, capture_output=True).returncode == 0
    assert subprocess.run([*opened, "wrong"], check=False, capture_output=True).returncode != 0


@pytest.mark.parametrize("taken", ["id_ed25519", "id_ed25519.pub"])
def test_never_overwrites(taken: str, home: Path) -> None:
    """An existing half stays, and the other half is not created."""
    (home / ".ssh").mkdir()
    (home / ".ssh" / taken).write_text("precious")
    with pytest.raises(SetupError, match=f"{taken} already exists"):
        keypair.generate(home / ".ssh/id_ed25519")
    assert [(one.name, one.read_text()) for one in (home / ".ssh").iterdir()] == [
        (taken, "precious")
    ]


def test_ensure_makes_one_once(home: Path) -> None:
    """Without any key one is created; the next call uses it."""
    path = keypair.ensure("")
    before = path.read_bytes()
    assert path == home / ".ssh/id_ed25519"
    assert keypair.ensure("") == path
    assert path.read_bytes() == before


def test_ensure_uses_an_existing_key(home: Path) -> None:
    """The first key with a matching public half is used; others are skipped."""
    keygen(home / ".ssh/id_rsa", "-t", "ecdsa", "-N", "", "-m", "PEM")
    assert keypair.ensure("").name == "id_rsa"
    ed25519 = keygen(home / ".ssh/id_ed25519", "-t", "ed25519", "-N", "")
    assert keypair.ensure("") == ed25519
    (home / ".ssh/id_ed25519.pub").write_bytes((home / ".ssh/id_rsa.pub").read_bytes())
    assert keypair.ensure("").name == "id_rsa"
    (home / ".ssh/id_rsa").unlink()
    with pytest.raises(SetupError, match="does not belong to"):
        keypair.ensure("")


def test_ensure_named(home: Path) -> None:
    """The named key is used, and no other is created in its place."""
    path = keygen(home / "work key", "-t", "ecdsa", "-N", "")
    assert keypair.ensure("~/work key") == path
    for named, message in [
        ("~/none", "no private key .*keys.generate"),
        ("~/work key.pub", "public half"),
        ("~", "is not a private key"),
        ("/dev/zero", "is not a private key"),
    ]:
        with pytest.raises(SetupError, match=message):
            keypair.ensure(named)
    path.chmod(0o644)
    with pytest.raises(SetupError, match="chmod 600"):
        keypair.ensure(str(path))
    assert not (home / ".ssh").exists()


@pytest.mark.parametrize(
    "options",
    [["-t", "ed25519"], ["-t", "ecdsa"], ["-t", "ecdsa", "-m", "PEM"], ["-t", "rsa", "-b", "1024"]],
)
def test_public_half_is_derived(options: list[str], home: Path) -> None:
    """A missing .pub is derived, from OpenSSH's format and from the older one."""
    path = keygen(home / "key", *options, "-N", "")
    line = keypair.public_line(path)
    assert line.endswith("made by ssh-keygen")
    (home / "key.pub").unlink()
    assert line.startswith(keypair.public_line(path) + " ")


def test_encrypted_without_public_half(home: Path) -> None:
    """OpenSSH's format reveals its public half; the older one needs the passphrase."""
    new = keygen(home / "new", "-t", "ed25519", "-N", "secret")
    old = keygen(home / "old", "-t", "ecdsa", "-m", "PEM", "-N", "secret")
    assert keypair.is_encrypted(new) and keypair.is_encrypted(old)
    line = keypair.public_line(new)
    for path in (new, old):
        Path(f"{path}.pub").unlink()
    assert line.startswith(keypair.public_line(new))
    with pytest.raises(SetupError, match="ssh-keygen -y"):
        keypair.public_line(old)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\xff" * 99,
        b"x" * 10_000_000,
        b"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n"
        b"-----END OPENSSH PRIVATE KEY-----",
        b"-----BEGIN OPENSSH PRIVATE KEY-----\n!!\n-----END OPENSSH PRIVATE KEY-----",
        b"-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_garbled_private_key(data: bytes, home: Path) -> None:
    """A garbled key is reported in one line."""
    path = home / "key"
    path.write_bytes(data)
    path.chmod(0o600)
    with pytest.raises(SetupError, match="not a private key|is damaged") as caught:
        keypair.ensure(str(path))
    assert str(path) in caught.value.message
