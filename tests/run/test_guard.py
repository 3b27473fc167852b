"""The host's half of the guard, run by a local `sh` in a folder of its own: what it puts back, and who wins."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from labfab.on_host import loader

SCRIPT = loader.words("Linux") + loader.script("guard", "Linux")
# Without systemd, ufw and boots, which tests/hosts/test_guard.py tests on machines.
ROOTLESS = {
    "systemctl": "exit 0",
    "systemd-run": "exit 1",
    "setsid": "exit 0",
    "install": "exit 0",
    "sync": "exit 0",
    "ufw": "exit 1",
}

pytestmark = [
    pytest.mark.local,
    pytest.mark.skipif(
        shutil.which("flock") is None or os.uname().sysname != "Linux",
        reason="the guard runs on Linux hosts",
    ),
]


class Box:
    """A folder that stands for the host."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.etc, self.guard = folder, folder / "etc", folder / "lib" / "guard"
        (folder / "bin").mkdir()
        for name, text in ROOTLESS.items():
            (folder / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
            (folder / "bin" / name).chmod(0o755)
        # The root paths that a plain account may not write to.
        text = SCRIPT.replace("/etc/systemd/system", f"{folder}/units").replace(
            "/run/systemd/system", f"{folder}/nowhere"
        )
        (folder / "guard.sh").write_text(text.replace("/etc/ufw", f"{folder}/ufw"))
        self.etc.mkdir()
        (self.etc / "sshd_config").write_text("Port 22\n")
        (self.etc / "folder").mkdir(mode=0o750)
        (self.etc / "folder" / "a file").write_text("old\n")
        (self.etc / "link").symlink_to("sshd_config")

    def __call__(self, *words: str, **given: str) -> subprocess.CompletedProcess:
        env = {"PATH": f"{self.folder}/bin:/usr/bin:/bin", "GUARD": str(self.guard), **given}
        command = ["sh", str(self.folder / "guard.sh"), *words]
        return subprocess.run(
            command, env=env, capture_output=True, text=True, timeout=30, check=False
        )

    def arm(self, id: str = "one", *, seconds: str = "60") -> None:
        self.guard.mkdir(parents=True)
        shutil.copy(self.folder / "guard.sh", self.guard)
        done = self(
            "arm",
            id,
            PATHS=f"{self.etc} {self.folder}/absent",
            FOLDERS=str(self.folder),
            SECONDS_LEFT=seconds,
            WHY="try",
            RUN_SSHD=f"echo ran >>{self.folder}/ran",
        )
        assert done.returncode == 0, done.stderr

    def state(self) -> dict[str, tuple[int, str]]:
        """Return the modes, and the contents or the targets of links."""
        return {
            str(path): (
                path.lstat().st_mode,
                os.readlink(path)
                if path.is_symlink()
                else path.read_text()
                if path.is_file()
                else "",
            )
            for path in [self.etc, *sorted(self.etc.rglob("*")), self.folder / "absent"]
            if path.is_symlink() or path.exists()
        }

    @property
    def ran(self) -> bool:
        return (self.folder / "ran").exists()


@pytest.fixture
def box(tmp_path):
    return Box(tmp_path)


def spoil(box: Box) -> None:
    """Change everything that the guard restores."""
    (box.etc / "sshd_config").write_text("Port 2222\n")
    (box.etc / "new").write_text("new\n")
    (box.etc / "new folder").mkdir()
    (box.etc / "new folder" / "deep").write_text("new\n")
    (box.folder / "absent").write_text("new\n")
    shutil.rmtree(box.etc / "folder")
    (box.etc / "folder").write_text("a file now\n")
    (box.etc / "link").unlink()
    (box.etc / "link").mkdir()


@pytest.mark.parametrize("cause", ["deadline", "boot", "asked"])
def test_everything_is_put_back(box, cause):
    before = box.state()
    box.arm()
    spoil(box)
    assert box("revert", cause).returncode == 0
    assert box.state() == before and box.ran and not box.guard.exists()
    assert (box.folder / "lib" / "reverted").read_text().splitlines()[1:] == [cause, "try", "one"]


@pytest.mark.parametrize("mode", [0o600, 0o666, 0o400])
def test_modes_are_put_back(box, mode):
    before = box.state()
    box.arm()
    (box.etc / "sshd_config").chmod(mode)
    (box.etc / "folder").chmod(0o777)
    assert box("revert", "asked", "one").returncode == 0
    assert box.state() == before


def test_what_is_as_before_is_not_touched(box):
    box.arm()
    inode = (box.etc / "sshd_config").stat().st_ino
    assert box("revert", "asked").returncode == 0
    assert (box.etc / "sshd_config").stat().st_ino == inode


def test_a_confirmed_change_stays(box):
    box.arm()
    spoil(box)
    after = box.state()
    assert box("disarm", "one").returncode == 0
    assert box.state() == after and not box.ran and not box.guard.exists()
    assert box("revert", "asked", "one").returncode == 3  # the laptop is told that it came too late
    assert (
        box("revert", "deadline", "one").returncode == 3 and box("revert", "boot").returncode == 0
    )
    assert box.state() == after


def test_a_proof_that_comes_too_late_is_told(box):
    box.arm()
    box("revert", "deadline", "one")
    assert box("disarm", "one").returncode == 1
    assert box("revert", "asked", "one").returncode == 0  # it was taken back, if not just now


def test_what_is_late_from_one_window_leaves_the_next_alone(box):
    box.arm("one")
    assert box("disarm", "one").returncode == 0
    box.arm("two")
    spoil(box)
    after = box.state()
    assert box("revert", "deadline", "one").returncode == 3 and box("disarm", "one").returncode == 1
    assert box.state() == after
    assert box("disarm", "two").returncode == 0


@pytest.mark.parametrize("done", [[], ["sshd_config"], ["sshd_config", "folder", "new"]])
def test_a_revert_that_was_cut_off_is_finished(box, done):
    before = box.state()
    box.arm()
    spoil(box)
    (box.guard / "armed").rename(box.guard / "reverting")
    for name in done:  # gone at that moment, as in the worst of cases
        path = box.etc / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (box.etc / "sshd_config.labfab-new").write_text("half a fi")
    assert box("revert", "boot").returncode == 0
    assert box.state() == before and not box.guard.exists()


def test_what_cannot_be_put_back_is_tried_again(box):
    before = box.state()
    box.arm()
    spoil(box)
    for name in ("cp", "mkdir"):
        (box.folder / "bin" / name).write_text("#!/bin/sh\nexit 1\n")
        (box.folder / "bin" / name).chmod(0o755)
    failed = box("revert", "deadline", "one")
    assert (
        failed.returncode == 1
        and "next boot" in failed.stderr
        and (box.guard / "reverting").exists()
    )
    assert box.ran  # what could be put back counts
    for name in ("cp", "mkdir"):
        (box.folder / "bin" / name).unlink()
    assert box("revert", "boot").returncode == 0
    assert box.state() == before


def test_a_confirmation_that_was_cut_off_counts(box):
    box.arm()
    spoil(box)
    after = box.state()
    (box.guard / "armed").rename(box.guard / "disarmed")
    assert box("revert", "boot").returncode == 0
    assert box.state() == after and not box.guard.exists()


def test_a_way_back_that_cannot_be_prepared_leaves_nothing(box):
    box.guard.mkdir(parents=True)
    done = box(
        "arm",
        "one",
        PATHS=str(box.etc),
        FOLDERS="",
        SECONDS_LEFT="no number at all",
        WHY="try",
        RUN_SSHD="true",
    )
    assert done.returncode != 0 and not box.guard.exists()


@pytest.mark.parametrize("round", range(8))
def test_exactly_one_wins(box, round):
    before = box.state()
    box.arm()
    spoil(box)
    after = box.state()
    env = {"PATH": f"{box.folder}/bin:/usr/bin:/bin", "GUARD": str(box.guard)}
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    steps = [("disarm", "one"), ("revert", "deadline", "one"), ("revert", "asked", "one")]
    both = [
        subprocess.Popen(["sh", str(box.folder / "guard.sh"), *words], env=env, **pipes)
        for words in steps
    ]
    kept, *reverted = (process.wait(30) for process in both)
    assert (kept, reverted) in ((0, [3, 3]), (1, [0, 0]))
    assert box.state() == (after if kept == 0 else before) and not box.guard.exists()


@pytest.mark.parametrize(
    "run, words",
    [
        ("echo quiet; echo 'no port' >&2; exit 1", "no port"),
        ("exit 3", "it ended with an error"),
        ("true", ""),
    ],
)
def test_an_sshd_that_does_not_come_up_is_told(box, run, words):
    """What the way back runs is looked at: its last words reach labfab, and the next run."""
    before = box.state()
    box.arm()
    spoil(box)
    (box.guard / "run-sshd").write_text(f"{run}\n")
    done = box("revert", "asked")
    assert done.returncode == 0 and box.state() == before
    told = f"labfab-sshd: {words}" if words else ""
    assert done.stdout.strip() == told
    kept = (box.folder / "lib" / "reverted").read_text()
    assert (f"sshd: {words}" in kept.splitlines()) is bool(words) and "labfab" not in kept


def test_a_disk_that_takes_nothing_does_not_keep_sshd_down(box):
    box.arm()
    (box.guard / "said").mkdir()  # nothing can be written there
    assert box("revert", "asked").returncode == 0 and box.ran
