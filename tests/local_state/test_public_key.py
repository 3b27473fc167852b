import subprocess
from pathlib import Path

import pytest

from labfab.errors import SetupError
from labfab.local_state.public_key import read_publics

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIL0RHjOzI0boVhPawHMYrog7F62BOEbSfFe6GX3Ha7xE"
EC = (
    "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBDHYIZFCaDT7VLS6"
    "dR1CgMh7RdStB/y/fMD6wbwL9Wqkp1UIaeb11jp/+2pRkRPtuDqq+hdSAs78S0BzE5NeeW4="
)
SK = (
    "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIL0RHjOzI0boVhPawHMY"
    "rog7F62BOEbSfFe6GX3Ha7xEAAAABHNzaDo="
)


@pytest.mark.parametrize(
    "line",
    [
        KEY,
        SK,
        KEY + ' größer "quoted" \'n $(x) \\ %s #1',
        KEY + "\tafter a tab",
        'from="10.0.0.0/8,*.example.org" ' + KEY,
        'command="echo \\"a b\\" $(x)",no-pty,restrict ' + KEY + " x",
        'no-X11-forwarding,permitopen="127.0.0.1:9999" ' + KEY,
    ],
)
def test_kept_as_given(line: str, home: Path) -> None:
    """A good line survives unchanged, given in full or in a file."""
    assert read_publics(line) == [line]
    path = home / "my keys $(x) ü.pub"
    path.write_text(line + "\n")
    assert read_publics(str(path)) == [line]
    assert read_publics("~/my keys $(x) ü.pub") == [line]


def test_file_with_several(home: Path) -> None:
    """Comments, blank lines, CRLF, a byte order mark and repetitions are accepted."""
    path = home / "keys"
    path.write_bytes(f"\ufeff# mine\r\n\r\n  {KEY} laptop\r\n{EC}\r\n{EC}\r\n".encode())
    assert read_publics(str(path)) == [f"{KEY} laptop", EC]


def test_old_comment(home: Path) -> None:
    """A comment in Latin-1 becomes UTF-8."""
    path = home / "key.pub"
    path.write_bytes(f"{KEY} Jürgen".encode("latin-1"))
    assert read_publics(str(path)) == [f"{KEY} Jürgen"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (KEY[:-9], "damaged or cut off"),
        (KEY.replace("ssh-ed25519", "ssh-rsa"), "damaged or cut off"),
        (KEY + "%%%", "not a public key"),
        ("ssh-ed25519 not/base64!", "not a public key"),
        ("ssh-ed25519 AAAA", "damaged or cut off"),
        ("ssh-dss " + KEY.split()[1], "hosts no longer accept ssh-dss keys"),
        ("ssh-ed25519-cert-v01@openssh.com " + KEY.split()[1], "certificate"),
        ("cert-authority " + KEY, "not a public key"),
        ('command="open ' + KEY, "not a public key"),
        ('command="x\\" ' + KEY, "not a public key"),
        ("hello " + KEY, "not a public key"),
        (KEY + "\nssh-ed25519 x!", "line 2"),
        (KEY + " a\x1b[2Jb", "not a public key"),
        ("\n\n# nothing\n", "no public key file|holds no public key"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n", "private half"),
        ("---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n---- END SSH2 PUBLIC KEY ----", "ssh-keygen -i"),
        ("/nowhere/id.pub", "there is no public key file /nowhere/id.pub"),
        ("~/a b; rm -rf", "there is no public key file"),
        ("x" * 5000, "cannot read|no public key file"),
        ("", "no public key is given"),
        (" \n ", "no public key is given"),
        ("~", "is a folder"),
        ("/dev/zero", "name a file that ends in .pub"),
    ],
)
def test_refused(value: str, message: str) -> None:
    """Whatever sshd would silently ignore is refused in one line."""
    with pytest.raises(SetupError, match=message) as caught:
        read_publics(value)
    assert "\n" not in caught.value.message
    assert caught.value.code == 1


def test_private_half_is_not_shown(home: Path) -> None:
    """A private key given as public is named by its path, and its public half is suggested."""
    path = home / "id_ed25519"
    path.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5v\n-----END")
    with pytest.raises(SetupError, match=f"name {path}.pub") as caught:
        read_publics(str(path))
    assert "b3BlbnNz" not in caught.value.message


@pytest.mark.parametrize(
    "data", [b"a" * 10_000_000, bytes(range(256)), "ssh-ed25519 AAAA".encode("utf-16")]
)
def test_not_text(data: bytes, home: Path) -> None:
    """Large and binary files are refused."""
    path = home / "key.pub"
    path.write_bytes(data)
    with pytest.raises(SetupError, match="so it is not a public key|is not a public key"):
        read_publics(str(path))


def test_agrees_with_ssh_keygen(home: Path) -> None:
    """Keys that labfab accepts are accepted by OpenSSH's own tool."""
    path = home / "key.pub"
    for line in (KEY, EC, SK, 'from="*",no-pty ' + KEY):
        path.write_text(line + "\n")
        subprocess.run(["ssh-keygen", "-lf", path], check=True, capture_output=True)
        assert read_publics(str(path)) == [line]
