"""The pipes between two rsyncs on the host: nobody else there can read anything of them."""

import getpass
import os
import subprocess
import time

import pytest

from labfab.errors import SetupError
from labfab.host import rsync_as_account
from labfab.host.changes import fill
from labfab.host.session import Host
from labfab.on_host import loader
from tests import fake as models
from tests.facts.test_facts import stand_in

alone, fake = models.alone, models.fake


def test_nobody_else_can_read_what_rsync_says(tmp_path):
    """Its errors name files, so they are private; what rsync writes for the account has normal modes."""
    place = tmp_path / "bridge"
    path = (
        stand_in(tmp_path, "runuser", f"echo private/name >&2; umask >{tmp_path}/umask")
        + os.environ["PATH"]
    )
    path = stand_in(tmp_path, "mkfifo", f'{fifo()} "$@"; stat -c %a "$@" >{tmp_path}/modes') + path
    script = "umask 022\n" + fill(
        loader.as_command("serve_rsync", 4), place, getpass.getuser(), "lab", ""
    )
    subprocess.run(["sh", "-c", script], env={"PATH": path}, check=True, stdin=subprocess.DEVNULL)
    assert (tmp_path / "modes").read_text().split() == ["600"] * 3
    (place / "called").write_text("--server\n-sn\n")
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


@pytest.mark.parametrize(
    ("called", "starts"),
    [
        ("--server\n--sender\n-slogDtprze.iLsfxC\n", "-u lab -- rsync --server -slogDtprze.iLsfxC"),
        ("--server\n--daemon\n-s\n.\n/etc\n-v\n", "-u lab -- rsync --server -v"),
        ("--server\n-s\n.\n/etc\n", ""),
        ("--server\n--daemon\n", ""),
        ("-e sh -c id\n", ""),
        ("-s;id\n", ""),
        ("-s$(id)\n", ""),
        ("-\n", ""),
        ("x" * 400, ""),
        ("-" + "x" * 400 + "\n-s\n", "-u lab -- rsync --server -" + "x" * 299),
    ],
)
def test_the_caller_does_not_choose_what_root_starts(tmp_path, called, starts):
    """Of its words root takes the options of one letter, and nothing else."""
    place, said = tmp_path / "bridge", tmp_path / "started"
    path = stand_in(tmp_path, "runuser", f'echo "$*" >{said}') + os.environ["PATH"]
    script = fill(loader.as_command("serve_rsync", 4), place, getpass.getuser(), "lab", "")
    subprocess.run(["sh", "-c", script], env={"PATH": path}, check=True, stdin=subprocess.DEVNULL)
    ends = [os.open(place / name, os.O_RDWR) for name in ("in", "out")]
    try:
        (place / "called").write_text(called)
        (place / "end").read_text()
    finally:
        for end in ends:
            os.close(end)
        subprocess.run(["rm", "-rf", str(place)])
    assert (said.read_text().strip() if said.exists() else "") == starts


def test_only_the_login_of_the_root_shell_acts_as_another_account(fake):
    """Whoever may open the pipes runs rsync as that account."""
    box = fake("lab")
    rsync_as_account.refuse_without_sudo(Host.of(box.c), "lab", "nb")
    with (
        pytest.raises(SetupError, match="jupyter has no right to act as lab: type LABFAB_LAB_USER"),
        rsync_as_account.opened(box.c, "jupyter", "lab"),
    ):
        pass


def fifo() -> str:
    """Run the real one behind the stand-in."""
    import shutil

    return shutil.which("mkfifo")
