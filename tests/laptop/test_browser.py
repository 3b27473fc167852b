"""The page that logs a browser in: where it is, who can read it, what it contains."""

import os
import time
from pathlib import Path

import pytest

from labfab.laptop import browser, show_page


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "BROWSER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_the_form_keeps_its_values_together():
    """The form respects a base URL, and no token can break out of its attribute."""
    page = browser.rendered("https://lab.example.org/jupyter/", '"><script>')
    assert 'action="https://lab.example.org/jupyter/login?next=%2Fjupyter%2Flab"' in page
    assert page.count("&quot;&gt;&lt;script&gt;") == 2 and "<script>" not in page


def test_the_page_is_for_its_owner_and_a_crash_leaves_nothing_for_long(home):
    """0600 in a 0700 folder of its own; pages of an earlier crash are removed."""
    old = browser.write(browser.folder("homelab"), "old")
    past = time.time() - 2 * show_page.PATIENCE
    os.utime(old, (past, past))
    page = browser.write(browser.folder("homelab"), "new")
    assert page.stat().st_mode & 0o777 == 0o600 and page.parent.stat().st_mode & 0o777 == 0o700
    assert page.is_relative_to(home / ".config/labfab/homelab") and not old.parent.exists()
    show_page.remove(page)
    assert not page.parent.exists()


def test_a_snap_gets_it_where_it_can_read(home, monkeypatch):
    """Ubuntu's Firefox cannot read hidden folders in the home."""
    own = home / "snap/firefox/common"
    own.mkdir(parents=True)
    monkeypatch.setattr(browser, "default", lambda: "firefox_firefox.desktop")
    assert browser.folder("homelab") == own
    monkeypatch.setattr(browser, "default", lambda: "google-chrome.desktop")
    assert browser.folder("homelab") == home / ".config/labfab/homelab"


@pytest.mark.parametrize(
    "platform, given, there",
    [
        ("linux", {}, False),
        ("linux", {"BROWSER": "firefox"}, True),
        ("darwin", {}, True),
        ("darwin", {"SSH_CONNECTION": "x"}, False),
    ],
)
def test_whether_there_is_a_screen(home, monkeypatch, platform, given, there):
    """Over SSH and in a container no browser opens."""
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.platform", platform)
    assert browser.can_open() is there
