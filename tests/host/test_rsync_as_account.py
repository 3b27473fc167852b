"""The pipes between two rsyncs on the host: nobody else there can read anything of them."""

import getpass
import os
import subprocess
import time

from labfab.host.changes import fill
from labfab.on_host import loader
from tests.facts.test_facts import stand_in


def test_nobody_else_can_read_what_rsync_says(tmp_path):
    """Its errors name files, so they are private; what rsync writes for the account has normal modes."""
    place = tmp_path / "bridge"
    path = (
        stand_in(tmp_path, "runuser", f"echo private/name >&2; umask >{tmp_path}/umask")
        + os.environ["PATH"]
    )
    path = stand_in(tmp_path, "mkfifo", f'{fifo()} "$@"; stat -c %a "$@" >{tmp_path}/modes') + path
    script = "umask 022\n" + fill(
        loader.as_command("serve_rsync", 3), place, getpass.getuser(), "lab"
    )
    subprocess.run(["sh", "-c", script], env={"PATH": path}, check=True, stdin=subprocess.DEVNULL)
    assert (tmp_path / "modes").read_text().split() == ["600"] * 3
    (place / "called").write_text("--server\n")
    feed = os.open(place / "in", os.O_RDWR)
    out = os.open(place / "out", os.O_RDWR)
    try:
        end = time.monotonic() + 10
        while not (tmp_path / "umask").exists() or not (tmp_path / "umask").read_text():
            assert time.monotonic() < end
            time.sleep(0.02)
        assert (place / "errors").read_text() == "private/name\n"
        assert (
            place / "errors"
        ).stat().st_mode & 0o777 == 0o600 and place.stat().st_mode & 0o777 == 0o711
        assert (tmp_path / "umask").read_text().strip() == "0022"
        (place / "end").read_text()
    finally:
        os.close(feed), os.close(out)
        subprocess.run(["rm", "-rf", str(place)])


def fifo() -> str:
    """Run the real one behind the stand-in."""
    import shutil

    return shutil.which("mkfifo")
