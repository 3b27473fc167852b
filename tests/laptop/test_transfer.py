import hashlib
import shlex
import sys
from pathlib import Path

import pytest

from labfab.errors import SetupError
from labfab.laptop import patchwork, rsync, transfer
from labfab.laptop.openssh import Target
from labfab.laptop.transfer import RemoteEnd, Transfer

LAB = Target("homelab")
# ssh as rsync sees it: options, then the host, then what the shell of that host is to run.
SSH = """\
#!/bin/sh
printf '%s\\n' "$@" >"$LOG"
env | grep -c ^LABFAB_ >>"$LOG"
while [ "$1" != homelab ]; do shift; done; shift
exec sh -c "$*"
"""
NAMES = ("two words", 'it\'s "$HOME" `id`', "new\nline", "-dash", "ü", "a:b")


@pytest.fixture
def called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a stand-in for ssh first in PATH, and return the file that logs its arguments."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/ssh").write_text(SSH)
    (tmp_path / "bin/ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/local/bin:/usr/bin:/bin")
    monkeypatch.setenv("LOG", str(tmp_path / "called"))
    monkeypatch.setenv("LABFAB_SUDO_PASSWORD", "secret")
    return tmp_path / "called"


def contents(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.mark.parametrize("pull", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_paths_arrive_as_they_are(called, tmp_path, name, pull) -> None:
    """A folder of any name can be sent both ways, and ssh gets all its options."""
    source, place = tmp_path / name, tmp_path / f"{name} there"
    source.mkdir()
    (source / name).write_text(name)
    far = RemoteEnd(Target("homelab", config='/it\'s a/"config"'), "lab", 2222)
    errand = Transfer(far, str(source) + "/", str(place) + "/", pull)
    assert transfer.preview(errand).files == 1
    transfer.run_transfer(errand, lambda line: None)
    assert contents(place) == contents(source)
    assert not transfer.preview(errand)
    words = called.read_text().splitlines()
    assert (
        words[words.index("-F") + 1] == '/it\'s a/"config"'
        and words[words.index("-p") + 1] == "2222"
    )
    assert "BatchMode=yes" in words and words[-1] == "0"


def test_deletes_no_more_than_was_told(called, tmp_path) -> None:
    """What appears after the question is not deleted with the rest."""
    source, place = tmp_path / "a", tmp_path / "b"
    source.mkdir(), place.mkdir()
    for name in ("one", "two"):
        (place / name).touch()
    errand = Transfer(RemoteEnd(LAB, "lab", 22), f"{source}/", f"{place}/")
    assert sorted(transfer.preview(errand, delete=True).deleted) == ["one", "two"]
    with pytest.raises(SetupError, match="more files would be deleted"):
        transfer.run_transfer(errand, lambda line: None, delete=1)
    assert len(list(place.iterdir())) == 1
    transfer.run_transfer(errand, lambda line: None, delete=1)
    assert not list(place.iterdir())


def test_preview_is_read() -> None:
    said = (
        "cd+++++++++ 4096 src/\n>f+++++++++ 12 src/a b\n<f.st...... 30 src/old\n"
        "cL+++++++++ 7 src/link\n.f...p..... 3 x\n"
    )
    found = transfer.parse(
        said + "*deleting   0 gone\n*deleting   src/dir/\ncreated directory /x\n"
    )
    assert found == (("src/a b", "src/link"), ("src/old",), 2, ("gone", "src/dir/"), 49, ("x",))
    assert not transfer.parse("created directory /x\n.d..t...... 4096 x/\n")


def test_progress_is_the_newest_state() -> None:
    text = (
        "\r         32,768   0%    0.00kB/s    0:00:00"
        "\r      3,400,000  45%   10.51MB/s    0:00:12 (xfr#1, to-chk=3/9)"
    )
    assert rsync.progress(text) == "3,400,000 45% 10.51MB/s 0:00:12"
    assert rsync.progress("\r") == ""


@pytest.mark.parametrize(
    ("code", "errors", "message"),
    [
        (
            12,
            "rsync: connection unexpectedly closed (0 bytes)\nrsync error: error in protocol",
            "continues where it stopped",
        ),
        (20, "", "continues where it stopped"),
        (
            127,
            "bash: line 1: rsync: command not found\nrsync: connection unexpectedly closed",
            "apt install rsync on the host",
        ),
        (25, "Deletions stopped due to --max-delete limit", "more files would be deleted"),
        (
            11,
            'rsync: [receiver] write failed on "/x": No space left on device (28)',
            "no space left",
        ),
        (
            23,
            'rsync: [sender] link_stat "/x y" failed: No such file or directory (2)\n'
            "rsync error: some",
            "there is no /x y",
        ),
        (
            23,
            'rsync: [sender] opendir "/x" failed: Permission denied (13)\nrsync error: some',
            'not all could be copied: opendir "/x"',
        ),
    ],
)
def test_errors_are_one_line(code, errors, message) -> None:
    with pytest.raises(SetupError) as caught:
        rsync.judge(LAB, code, errors)
    assert caught.value.message.startswith("homelab: ") and message in caught.value.message


@pytest.mark.parametrize(
    ("code", "said", "message"),
    [
        (255, "ssh: connect to host 203.0.113.5 port 2222: Connection refused", "nothing listens"),
        (12, "lab@x: Permission denied (publickey).", "Permission denied"),
    ],
)
def test_errors_of_ssh_are_those_in_its_own_log(code, said, message) -> None:
    """The same words on stderr may be anybody's on the host, and are shown as such."""
    end = "rsync: connection unexpectedly closed"
    with pytest.raises(SetupError, match=message):
        rsync.judge(LAB, code, end, said)
    with pytest.raises(SetupError, match="interrupted .* printed: (ssh|lab)"):
        rsync.judge(LAB, code, f"{said}\n{end}")


# A shell of the host that speaks like ssh, and ssh with its own words.
SAYS = 'for one; do [ "$before" = -E ] && log=$one; before=$one; done\n'
FORGED = "REMOTE HOST IDENTIFICATION HAS CHANGED\nHost key for x';id>PWNED;' has changed"


@pytest.mark.parametrize("pull", [False, True])
def test_a_host_cannot_speak_for_ssh(called, tmp_path, pull) -> None:
    """In a preview and in both directions; what ssh itself says is understood."""
    program, errand = tmp_path / "bin/ssh", Transfer(RemoteEnd(LAB, "lab", 22), "/x/", "/y/", pull)
    errands = (lambda: transfer.preview(errand), lambda: transfer.run_transfer(errand, print))
    for words, where, message in (
        (FORGED, "&2", "interrupted .* printed: Host key for x"),
        ("Host key verification failed.", '"$log"', "unknown host key: log in once"),
    ):
        program.write_text(f'#!/bin/sh\n{SAYS}echo "{words}" >{where}; exit 12\n')
        for go in errands:
            with pytest.raises(SetupError, match=message) as caught:
                go()
            assert "ssh-keygen" not in caught.value.message


def test_files_that_vanished_are_no_error() -> None:
    rsync.judge(LAB, 24, "file has vanished: x")
    rsync.judge(LAB, 0, "")


@pytest.mark.parametrize("name", ["patchwork", "six"])
def test_what_is_missing_is_named_with_the_command(monkeypatch, name) -> None:
    """The wheel requires neither."""
    for module in [module for module in sys.modules if module.split(".")[0] == "patchwork"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        SetupError,
        match=f"{name} is missing on this machine.*pip install --no-deps patchwork==1.0.1 six",
    ):
        patchwork.rsync()


@pytest.mark.parametrize(
    "version",
    [
        "echo 'openrsync: protocol version 29'",
        "echo 'rsync  version 2.6.9  protocol version 29'",
        "",
    ],
)
def test_another_rsync_is_refused(tmp_path, monkeypatch, version) -> None:
    if version:
        (tmp_path / "rsync").write_text(f"#!/bin/sh\n{version}\n")
        (tmp_path / "rsync").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError, match="brew install rsync"):
        rsync.require()


def test_no_shell_reads_the_login(called, tmp_path, monkeypatch) -> None:
    """patchwork puts user and host into a command line as they are."""
    asked = []
    monkeypatch.setattr(rsync, "run", lambda argv, tell=None: asked.append(argv) or (0, "", ""))
    for user, host in (
        ("a;id", "lab"),
        ("$(id)", "h`id`"),
        ("lab", "x y&z"),
    ):
        far = RemoteEnd(Target(host), user, 22)
        transfer.run_transfer(Transfer(far, f"{tmp_path}/", "/x/"), lambda line: None)
        shell, option, command = asked.pop()
        assert (shell, option) == ("sh", "-c")
        assert far.path("/x/") in shlex.split(command)
