"""A hostile host: what is pulled from it, and what a backup of it makes labfab read and do here."""

import json
import os
import stat
import sys
import time
from pathlib import Path

import pytest

from labfab.errors import SetupError
from labfab.laptop import archive, arrival, rsync, transfer
from labfab.laptop.arrival import Link
from labfab.laptop.openssh import Target
from labfab.laptop.transfer import KEPT, MINE, Preview, RemoteEnd, Transfer
from labfab.stages import files

# The shell of the host is this machine's.
SSH = """\
#!/bin/sh
while [ "$1" != homelab ]; do shift; done; shift
exec sh -c "$*"
"""


@pytest.fixture
def far(tmp_path, monkeypatch) -> RemoteEnd:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/ssh").write_text(SSH)
    (tmp_path / "bin/ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/local/bin:/usr/bin:/bin")
    return RemoteEnd(Target("homelab"), "lab", 22)


def pull(
    far: RemoteEnd, source: str, target: Path, options=MINE
) -> tuple[Preview, tuple[Link, ...]]:
    """Pull as files.pull does; return what was shown, and the links that were left out."""
    errand = Transfer(far, source, f"{target}/", pull=True, options=options)
    every = transfer.preview(errand)
    left = transfer.links_out(source, every)
    found = transfer.without(every, left)
    if found:
        target.mkdir(exist_ok=True)
        transfer.run_transfer(errand, lambda line: None)
        files.make_links(target, found)
    return found, left


@pytest.fixture
def hostile(tmp_path) -> Path:
    """A folder of a host, made to lead out, to be run by others and to look like something else."""
    folder = tmp_path / "host/data"
    (folder / "sub/deep").mkdir(parents=True)
    (folder / "sub/file").write_text("1")
    for name, target in {
        "in": "sub/file",
        "sub/up": "../sub/deep",
        "nowhere": "/no/where",
        "two words -> x": "sub",
        "absolute": "/etc/passwd",
        "home": str(tmp_path),
        "root": "/",
        "sibling": "../secret",
        "sub/sibling": "../../secret",
        "itself": "../data/sub",
        "by detour": "sub/../../secret",
        "top": ".",
        "by another": "top/../../secret",
        "hidden": ".//.././../secret",
    }.items():
        (folder / name).symlink_to(target)
    os.utime(folder / "sub", (10**9, 10**9))
    (folder / "run me").write_text("x")
    (folder / "run me").chmod(0o6777)
    os.mkfifo(folder / "pipe")
    (folder / "*deleting   notes").write_text("")
    (folder / "a\u2028*deleting   notes").write_text("")
    return folder


OUT = {
    "absolute",
    "home",
    "root",
    "sibling",
    "sub/sibling",
    "itself",
    "by detour",
    "by another",
    "hidden",
}


@pytest.mark.parametrize("whole", [True, False], ids=["folder", "contents"])
def test_no_link_leads_out_of_what_is_pulled(far, hostile, tmp_path, whole):
    """The others arrive, and a second pull finds nothing to do."""
    target, prefix = tmp_path / "here", "data/" if whole else ""
    target.mkdir()
    (target / "secret").write_text("mine")
    # Where the folder itself is pulled, its own name leads into it.
    inside = {"itself"} if whole else set()
    out = {f"{prefix}{name}" for name in OUT - inside}
    if not whole:
        (tmp_path / "secret").write_text("mine")
    found, left = pull(far, str(hostile) + ("" if whole else "/"), target)
    assert set(left) == out and not found.deleted
    links = {
        str(path.relative_to(target)): os.readlink(path)
        for path in target.rglob("*")
        if path.is_symlink()
    }
    kept = {"in": "sub/file", "sub/up": "../sub/deep", "nowhere": "/no/where", "top": "."}
    kept |= {"two words -> x": "sub"} | dict.fromkeys(inside, "../data/sub")
    assert links == {f"{prefix}{name}": there for name, there in kept.items()}
    assert not (target / prefix / "pipe").exists()
    assert (target / prefix / "sub").stat().st_mtime == (hostile / "sub").stat().st_mtime
    again, left = pull(far, str(hostile) + ("" if whole else "/"), target)
    assert not again and set(left) == out


def test_a_link_alone_is_not_taken(far, hostile, tmp_path):
    found, left = pull(far, f"{hostile}/absolute", tmp_path / "here")
    assert not found and left == ("absolute",)


def test_modes_of_this_machine_stay_its_own(far, hostile, tmp_path):
    """The folder itself, those in it, and files; nothing sets a user or a group."""
    target = tmp_path / "here"
    (target / "sub").mkdir(parents=True)
    (target / "sub/file").write_text("older")
    for path, mode in ((target, 0o700), (target / "sub", 0o750), (target / "sub/file", 0o600)):
        path.chmod(mode)
    hostile.chmod(0o777), (hostile / "sub").chmod(0o7777), (hostile / "sub/deep").chmod(0o7777)
    umask = os.umask(0o022)
    try:
        pull(far, f"{hostile}/", target)
    finally:
        os.umask(umask)
    modes = {
        name: stat.S_IMODE((target / name).stat().st_mode)
        for name in (".", "sub", "sub/file", "sub/deep", "run me")
    }
    assert modes == {
        ".": 0o700,
        "sub": 0o750,
        "sub/file": 0o600,
        "sub/deep": 0o755,
        "run me": 0o755,
    }


def test_a_backup_keeps_modes_but_sets_no_user(far, hostile, tmp_path):
    (hostile / "sub").chmod(0o2770), (hostile / "sub/file").chmod(0o200)
    pull(far, f"{hostile}/", tmp_path / "kept", KEPT)
    kept = tmp_path / "kept"
    assert stat.S_IMODE((kept / "sub").stat().st_mode) == 0o770
    assert stat.S_IMODE((kept / "sub/file").stat().st_mode) == 0o600
    assert stat.S_IMODE((kept / "run me").stat().st_mode) == 0o777


def test_a_link_in_the_way_is_replaced_and_never_followed(far, tmp_path):
    """The host's folder takes the place of a link of the same name; what is behind it is safe."""
    target, victim, source = tmp_path / "here", tmp_path / "victim", tmp_path / "host/data"
    target.mkdir(), victim.mkdir(), (source / "sub").mkdir(parents=True)
    (source / "sub/file").write_text("new")
    (target / "data").mkdir()
    (target / "data/sub").symlink_to(victim)
    pull(far, str(source), target)
    assert not list(victim.iterdir()) and (target / "data/sub/file").read_text() == "new"


@pytest.mark.parametrize(
    "name", ["../x", "/x", "a/../../x", "", ".", "a/.", "out/x", "sub\0/x", "file/x", "none/x"]
)
def test_a_name_that_leads_elsewhere_makes_and_deletes_nothing(tmp_path, name):
    target, victim = tmp_path / "here", tmp_path / "victim"
    target.mkdir(), victim.mkdir()
    (target / "out").symlink_to(victim), (target / "file").touch(), (victim / "x").touch()
    (tmp_path / "x").touch()
    before = sorted(tmp_path.rglob("*"))
    assert not arrival.make_link(target, Link(name, "file"))
    shown = arrival.marks(target, [name])
    arrival.delete(target, shown)
    assert shown == {} and sorted(tmp_path.rglob("*")) == before


def test_only_what_was_shown_is_deleted(tmp_path):
    """Not what has come since, nor what took its place, nor what is behind a link."""
    tmp_path /= "here"
    for name in ("old", "gone/one", "gone/two", "kept/one", "changed", "swapped", "new"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    victim = tmp_path / "victim"
    victim.mkdir(), (victim / "one").write_text("mine")
    names = ["old", "gone/", "gone/one", "gone/two", "kept/", "kept/one", "changed", "swapped"]
    shown = arrival.marks(tmp_path, names)
    time.sleep(0.02)
    (tmp_path / "changed").write_text("the host has sent it after all")
    (tmp_path / "swapped").unlink(), (tmp_path / "swapped").write_text("another")
    (tmp_path / "kept/one").unlink(), (tmp_path / "kept").rmdir()
    (tmp_path / "kept").symlink_to(victim)
    arrival.delete(tmp_path, shown)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["changed", "kept", "new", "swapped", "victim"]
    assert (victim / "one").exists()


def test_names_are_as_they_are_not_as_they_are_printed(far, tmp_path):
    """Of any character; a name that looks like a line of rsync is no line of rsync."""
    source, target = tmp_path / "host", tmp_path / "here"
    source.mkdir(), target.mkdir()
    names = ["new\nline", "a\\#012b", "\x1b[2J", "tab\t", os.fsdecode(b"latin \xe4")]
    names += ["a\x85*deleting   x", "b\u2028>f+++++++++ 9 y", "c\x1f -> d", "  blank "]
    for name in names:
        (target / name).write_text("")
    errand = Transfer(far, f"{source}/", f"{target}/", pull=True, options=MINE)
    doomed = transfer.preview(errand, delete=True).deleted
    assert sorted(doomed) == sorted(names)
    arrival.delete(target, arrival.marks(target, doomed))
    assert not list(target.iterdir())
    for name in names:
        (source / name).write_text("1")
        (source / f"{name}.link").symlink_to(name)
    found = transfer.preview(errand)
    assert {str(name) for name in found.new} == {*names, *(f"{name}.link" for name in names)}
    assert {link.target for link in transfer.links(found)} == set(names)


def test_a_disk_that_fills_up_stops_it(far, hostile, tmp_path, monkeypatch):
    (hostile / "large").write_bytes(os.urandom(3_000_000))

    class Usage:
        free = 10**8

    monkeypatch.setattr(arrival.shutil, "disk_usage", lambda place: Usage)
    with pytest.raises(SetupError, match="not enough room on this machine: 100 MB are free"):
        transfer.run_transfer(
            Transfer(far, f"{hostile}/", f"{tmp_path}/here/", pull=True), lambda line: None
        )
    with pytest.raises(SetupError, match="not enough room"):
        arrival.refuse_full(tmp_path / "none/yet")


def test_an_endless_list_of_names_ends(monkeypatch):
    monkeypatch.setattr(rsync, "LONGEST", 1_000_000)
    began = time.monotonic()
    with pytest.raises(SetupError, match="lists more than 1 MB of names"):
        rsync.run(["yes"])
    code, _, errors = rsync.run(["sh", "-c", "yes | head -c 5000000 >&2; exit 3"])
    assert code == 3 and len(errors) == rsync.LONGEST_ERRORS and time.monotonic() - began < 20


def test_an_ssh_that_stays_in_the_background_holds_up_nothing():
    began = time.monotonic()
    assert rsync.run(["sh", "-c", "sleep 30 >/dev/null & echo out; echo err >&2"]) == (
        0,
        "out\n",
        "err\n",
    )
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("version", "says"),
    [((3, 2, 7), "3.2.7"), ((3, 4, 2), "before 3.4.3"), ((3, 4, 3), ""), ((4,), ""), ((3, 10), "")],
)
def test_an_rsync_with_holes_is_named(version, says):
    assert says in rsync.known_holes(version) and bool(rsync.known_holes(version)) == bool(says)


# Backups --------------------------------------------------------------------------------------


@pytest.fixture
def backup(home) -> Path:
    folder = archive.unfinished("homelab")
    (folder / "jupyter").mkdir(), (folder / "notebooks").mkdir()
    (folder / "jupyter/jupyter_server_config.json").write_text("{}")
    (folder / "requirements.txt").write_text("")
    (folder / "notebooks/file").write_text("1")
    return archive.finish(folder, {"alias": "homelab", "host": "x", "python": "venv"})


def resealed(backup: Path) -> Path:
    """Make a manifest that fits, as a hostile host would have had it made."""
    about = {
        key: value
        for key, value in json.loads((backup / "manifest.json").read_text()).items()
        if key not in ("entries", "seal")
    }
    manifest = {**about, "entries": archive.entries(backup)}
    manifest["seal"] = archive.manifest_digest(manifest)
    (backup / "manifest.json").write_text(json.dumps(manifest))
    return backup


def test_links_are_not_followed_into_the_laptop(backup, home):
    """M1: the token in ~/.docker/config.json went to another host."""
    from labfab.settings import Settings
    from labfab.stages.backup import restoring

    secret = home / ".docker/config.json"
    secret.parent.mkdir(), secret.write_text('{"auths": {"auth": "a token"}}')
    for name, read in (
        ("jupyter/jupyter_server_config.json", lambda: restoring.config_of(backup)),
        ("requirements.txt", lambda: restoring.lock_of(backup, Settings(python="venv"))),
        ("links.json", lambda: archive.links_left_out(backup)),
        ("manifest.json", lambda: archive.read(backup)),
    ):
        for make in (os.symlink, os.link):
            (backup / name).unlink(missing_ok=True)
            make(secret, backup / name)
            with pytest.raises(SetupError, match="is a link|hard link"):
                read()
        (backup / name).unlink()
    (backup / "jupyter").rmdir()
    (backup / "jupyter").symlink_to(secret.parent)
    with pytest.raises(SetupError, match="is a link"):
        archive.load(backup, "jupyter", "config.json")


def test_a_part_that_is_a_link_is_refused(backup, home):
    """rsync would send what it leads to."""
    (backup / "notebooks/file").unlink(), (backup / "notebooks").rmdir()
    (backup / "notebooks").symlink_to(home)
    with pytest.raises(SetupError, match="notebooks is a link"):
        archive.verify(resealed(backup))


@pytest.mark.parametrize("kind", ["pipe", "socket", "hard link", "device"])
def test_what_is_no_file_is_refused_and_never_waited_for(backup, home, kind):
    path = backup / "notebooks/odd"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        import socket

        here = os.getcwd()
        os.chdir(path.parent)
        with socket.socket(socket.AF_UNIX) as door:
            door.bind(path.name)
        os.chdir(here)
    elif kind == "device":
        path = backup / "notebooks/null"
        try:
            os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
        except OSError:
            pytest.skip("only root makes devices")
    else:
        (home / "secret").write_text("mine")
        os.link(home / "secret", path)
    with pytest.raises(SetupError, match="no file at all|hard link"):
        archive.verify(backup)


def test_json_that_is_too_deep_is_one_line(backup):
    from labfab.stages.backup import restoring

    deep = "[" * (sys.getrecursionlimit() * 200)
    (backup / "jupyter/jupyter_server_config.json").write_text(deep)
    with pytest.raises(SetupError, match="is not a configuration"):
        restoring.config_of(backup)
    for text in ("[]", '{"ServerApp": []}', "nothing"):
        (backup / "jupyter/jupyter_server_config.json").write_text(text)
        with pytest.raises(SetupError, match="is not a configuration"):
            restoring.config_of(backup)
