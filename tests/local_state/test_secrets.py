import copy
import os
import pickle
from pathlib import Path

import pytest

from labfab.errors import SetupError
from labfab.local_state import secrets
from labfab.local_state.secrets import Secret

HOSTILE = ["a b ", "'\"`", "$(x)${y}", "\\n\\", "größer als Ä", "%s", "\ttab"]


@pytest.fixture(autouse=True)
def nothing_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "TAKEN", {})


@pytest.mark.parametrize("value", HOSTILE)
def test_environment(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable is removed once read, and a second task still finds the value."""
    monkeypatch.setenv("LABFAB_SUDO_PASSWORD", value)
    assert secrets.take_from_environment("sudo-password").reveal() == value
    assert "LABFAB_SUDO_PASSWORD" not in os.environ
    assert secrets.take_from_environment("sudo-password").reveal() == value
    assert secrets.take_from_environment("login-password") is None


def test_environment_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable set again wins over the remembered value; an empty one counts as not given."""
    monkeypatch.setenv("LABFAB_JUPYTER_PASSWORD", "")
    assert secrets.take_from_environment("jupyter-password") is None
    assert "LABFAB_JUPYTER_PASSWORD" not in os.environ
    for value in ("first", "second"):
        monkeypatch.setenv("LABFAB_JUPYTER_PASSWORD", value)
        assert secrets.take_from_environment("jupyter-password").reveal() == value


@pytest.mark.parametrize("value", HOSTILE)
def test_store(value: str, home: Path) -> None:
    """A stored secret comes back byte for byte, in a file and a folder of your own."""
    path = secrets.store("homelab", "sudo-password", value)
    assert path == home / ".config/labfab/homelab/sudo-password"
    assert secrets.load("homelab", "sudo-password") == Secret(value)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == ["sudo-password"]


def test_store_keeps() -> None:
    """A stored secret stays unless it is replaced explicitly."""
    secrets.store("homelab", "sudo-password", "first")
    secrets.store("homelab", "sudo-password", "second")
    assert secrets.load("homelab", "sudo-password").reveal() == "first"
    path = secrets.store("homelab", "sudo-password", Secret("third"), replace=True)
    assert secrets.load("homelab", "sudo-password").reveal() == "third"
    path.chmod(0o644)
    secrets.store("homelab", "sudo-password", "fourth", replace=True)
    assert path.stat().st_mode & 0o777 == 0o600


def test_load_edited() -> None:
    """A file edited by hand loses only its line end, and its mode becomes private again."""
    path = secrets.store("homelab", "login-password", "x")
    path.write_bytes("größer \r\n".encode())
    path.chmod(0o644)
    assert secrets.load("homelab", "login-password").reveal() == "größer "
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_bytes(b"\n")
    assert secrets.load("homelab", "login-password") is None
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(SetupError, match="login-password"):
        secrets.load("homelab", "login-password")


def test_xdg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """XDG_CONFIG_HOME is honored when it is absolute."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "my config"))
    assert secrets.store("a", "sudo-password", "x") == tmp_path / "my config/labfab/a/sudo-password"
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    assert secrets.store("a", "sudo-password", "x") == home / ".config/labfab/a/sudo-password"


def test_forget() -> None:
    """Forgetting deletes the secrets of one lab and nothing of another."""
    path = secrets.store("one", "sudo-password", "x")
    other = secrets.store("two", "sudo-password", "x")
    secrets.forget("one")
    secrets.forget("one")
    assert not path.parent.exists()
    assert other.exists()


@pytest.mark.parametrize(
    "alias", ["../x", "..", ".", "", "a/b", "/etc", "a b", "$(x)", "-n", "a\n", "ä", "x" * 65]
)
def test_alias_stays_inside(alias: str) -> None:
    """A name that points outside the folder is refused everywhere."""
    for act in (
        lambda: secrets.load(alias, "sudo-password"),
        lambda: secrets.store(alias, "sudo-password", "x"),
        lambda: secrets.forget(alias),
    ):
        with pytest.raises(SetupError, match="cannot be an alias"):
            act()


@pytest.mark.parametrize("value", ["two\nlines", "nul\0", "\udce4", "end\n"])
def test_one_line(value: str) -> None:
    """A value that no password prompt could take is refused and not shown."""
    with pytest.raises(SetupError, match="one line of text") as caught:
        secrets.store("homelab", "sudo-password", value)
    assert value not in caught.value.message


def test_unwritable(home: Path) -> None:
    """A folder that cannot be created is reported in one line."""
    (home / ".config").write_text("a file in the way")
    with pytest.raises(SetupError, match="cannot create the folder"):
        secrets.store("homelab", "sudo-password", "x")


def test_secret_is_masked() -> None:
    """A secret shows in no text and survives copying."""
    secret = Secret("hunter2")
    shown = f"{secret} {secret!r} {secret:>20} %s {[secret]} { ({'a': secret}) }" % secret
    assert "hunter2" not in shown
    assert copy.deepcopy({"a": secret})["a"].reveal() == copy.copy(secret).reveal() == "hunter2"
    assert secret == Secret("hunter2") != Secret("x")
    assert secret != "hunter2"
    assert not hasattr(secret, "__dict__")
    with pytest.raises(TypeError):
        pickle.dumps(secret)
