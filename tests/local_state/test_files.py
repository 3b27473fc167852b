import os
import threading
import time
from pathlib import Path

import pytest

from labfab.local_state import files


def test_create_never_replaces(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An existing file stays, also on a file system without hard links."""

    def no_links(*_: object) -> None:
        raise PermissionError

    path = home / "a b"
    for attempt in range(2):
        files.create(path, b"first")
        with pytest.raises(FileExistsError):
            files.create(path, b"second")
        assert path.read_bytes() == b"first"
        assert path.stat().st_mode & 0o777 == 0o600
        assert os.listdir(home) == ["a b"]
        if attempt == 0:
            path.unlink()
            monkeypatch.setattr(os, "link", no_links)


def test_failed_write_leaves_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the disk is full, the old file is intact and no temporary file remains."""

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    path = home / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.replace(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(home) == ["file"]


def test_locked(home: Path) -> None:
    """The second one waits for the first."""
    order = []

    def second() -> None:
        with files.locked(home):
            order.append("second")

    with files.locked(home):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.1)
        order.append("first")
    thread.join(5)
    assert order == ["first", "second"]
