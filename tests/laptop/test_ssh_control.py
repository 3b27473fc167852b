import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from labfab.errors import SetupError
from labfab.laptop import ssh_control


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path; pytest's own are long."""
    with tempfile.TemporaryDirectory(prefix="h", dir="/tmp") as name:
        yield Path(name)


def test_place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lab always has the same socket: in ~/.ssh, or in a folder with a shorter path."""
    monkeypatch.setenv("HOME", str(folder))
    one = ssh_control.socket_path("homelab")
    assert one.parent == folder / ".ssh"
    assert one == ssh_control.socket_path("homelab") != ssh_control.socket_path("other")
    monkeypatch.setenv("HOME", str(folder / ("x" * 90)))
    runtime = folder / "run"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    assert ssh_control.socket_path("homelab").parent == runtime
    runtime.chmod(0o755)
    assert ssh_control.socket_path("homelab").parent == Path(f"/tmp/labfab-{os.getuid()}")
    assert len(str(ssh_control.socket_path("x" * 64))) <= ssh_control.LONGEST


def test_private(tmp_path: Path, folder: Path) -> None:
    """A folder counts as private when it is real, yours and closed."""
    (tmp_path / "link").symlink_to(folder)
    assert ssh_control.is_private(folder)
    assert not ssh_control.is_private(tmp_path / "link")
    assert not ssh_control.is_private(tmp_path / "none")
    folder.chmod(0o770)
    assert not ssh_control.is_private(folder)


def test_somebody_was_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse a folder in /tmp that is not yours."""
    monkeypatch.setenv("HOME", str(folder / ("x" * 90)))
    monkeypatch.setattr(ssh_control, "is_private", lambda _: False)
    with pytest.raises(SetupError, match="not a folder of yours alone"):
        ssh_control.socket_path("homelab")


def test_only_our_ssh_is_ended(tmp_path: Path) -> None:
    """End our ssh, but not another program that has the recorded process ID by now."""
    place = tmp_path / "s"
    argv = [sys.executable, "-c", "import time; time.sleep(30)"]
    with (
        subprocess.Popen(argv) as other,
        subprocess.Popen(["ssh", *argv[1:], "-S", str(place)], executable=argv[0]) as ours,
    ):
        try:
            assert not ssh_control.end(place, other.pid)
            assert not ssh_control.end(place, 0)
            assert not ssh_control.end(place, 1)
            assert not ssh_control.end(tmp_path / "another", ours.pid)
            assert other.poll() is None
            deadline = time.monotonic() + 5
            # A process that has just started has no command line yet.
            while not ssh_control.is_ours(ours.pid, place):
                assert time.monotonic() < deadline
            assert ssh_control.end(place, ours.pid)
            assert ours.wait(5) == -15
        finally:
            other.kill()
            ours.kill()


def test_stale_socket(tmp_path: Path) -> None:
    """A socket with no process behind it is removed."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    assert ssh_control.pid(path) == 0
    assert not ssh_control.end(path, 0)
    assert not path.exists()
