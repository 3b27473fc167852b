import hashlib

import pytest

from labfab.errors import SetupError
from labfab.local_state import passwords

HOSTILE = ["a b '\"` $(x)${y}$1 %s %% \\n\\", "-größer als Ä", "x" * 300]


def test_hash_form() -> None:
    """A hash has the parameters and the length of jupyter_server's own."""
    made = passwords.hash("secret")
    assert made.startswith("argon2:$argon2id$v=19$m=10240,t=10,p=8$")
    assert len(made) == 105


@pytest.mark.parametrize("value", HOSTILE)
def test_round_trip(value: str) -> None:
    """Hostile passwords are hashed and verified."""
    assert passwords.verify(passwords.hash(value), value)


def test_wrong_password() -> None:
    """Another password is refused."""
    assert not passwords.verify(passwords.hash("secret"), "secret ")


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_old_hash(algorithm: str) -> None:
    """Hashes of older notebooks are verified."""
    digest = hashlib.new(algorithm, "größer".encode() + b"abc123").hexdigest()
    assert passwords.verify(f"{algorithm}:abc123:{digest}", "größer")
    assert not passwords.verify(f"{algorithm}:abc123:{digest}", "kleiner")


@pytest.mark.parametrize(
    "hashed",
    [
        "",
        "argon2:",
        "argon2:$argon2id$garbled",
        "sha1",
        "sha1:a:",
        "nosuch:a:b",
        "shake_128:a:b",
        "sha1:ä:ö",
    ],
)
def test_garbled_hash(hashed: str) -> None:
    """A garbled hash matches no password and raises nothing."""
    assert not passwords.verify(hashed, "secret")
    assert not passwords.verify(hashed, "")


@pytest.mark.parametrize("cost", ["m=3000000,t=1,p=1", "m=8,t=4294967295,p=1", "m=65536,t=90,p=1"])
def test_a_hash_that_takes_minutes_or_gigabytes_is_not_tried(monkeypatch, cost: str) -> None:
    """It comes from the host, where JupyterLab's account can write it."""
    monkeypatch.setattr(passwords, "verify_argon2", lambda *words: pytest.fail("tried"))
    salt, digest = "c29tZXNhbHRzb21lc2FsdA", "RdescudvJCsgt3ub+b2dWRWJTmaaJObG"
    assert not passwords.verify(f"argon2:$argon2id$v=19${cost}${salt}${digest}", "secret")


def test_generate() -> None:
    """Generated passwords differ, are long, have no look-alikes, and please any rule of PAM."""
    many = {passwords.generate() for _ in range(200)}
    assert len(many) == 200
    assert {len(one.replace("-", "")) for one in many} == {24}
    assert not set("".join(many)) & set("0O1lI")
    kinds = (str.islower, str.isupper, str.isdigit, lambda letter: not letter.isalnum())
    assert all(any(map(kind, one)) for one in many for kind in kinds)


def test_not_text() -> None:
    """A password that is not text is refused in one line."""
    with pytest.raises(SetupError, match="not valid text"):
        passwords.hash("\udce4")
