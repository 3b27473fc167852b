"""Finding an engine: a client alone is none, and without any there is one line that says what to do."""

import pytest

from tests.rig import RigError, browser, dockerd, engine, machine


@pytest.fixture
def client_only(tmp_path, monkeypatch):
    """A `docker` in PATH whose engine is not there, as on many laptops."""
    client = tmp_path / "docker"
    client.write_text("#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2\nexit 1\n")
    client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(dockerd, "SOCKET", tmp_path / "none.sock")
    monkeypatch.setattr(
        engine.shutil, "which", lambda name: str(client) if name == "docker" else None
    )


def test_client_without_an_engine_is_no_engine(client_only):
    assert engine.running() is None


def test_no_engine_and_no_root_is_one_line(client_only, monkeypatch):
    monkeypatch.setattr(dockerd, "possible", lambda: False)
    with pytest.raises(RigError, match="start docker or install podman") as caught:
        engine.find()
    assert "\n" not in str(caught.value)


def test_engine_that_hangs_is_given_up(tmp_path):
    slow = tmp_path / "docker"
    slow.write_text("#!/bin/sh\nexec sleep 30\n")
    slow.chmod(0o755)
    with pytest.raises(RigError, match="no answer within 0 s"):
        engine.Engine(str(slow)).run("info", timeout=0.2)


def test_only_addresses_that_mean_the_same_inside_are_taken_over():
    assert machine.usable("https://index.example.org/simple")
    assert not machine.usable("http://127.0.0.1:3141/simple")
    assert not machine.usable("file:///srv/simple")


def test_no_browser_and_no_root_is_one_line(monkeypatch):
    monkeypatch.setattr(browser.shutil, "which", lambda name: None)
    monkeypatch.setattr(browser.os, "geteuid", lambda: 1000)
    with pytest.raises(RigError, match="apt-get install chromium libnss3-tools") as caught:
        browser.need_tools()
    assert "\n" not in str(caught.value)
