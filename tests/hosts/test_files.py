"""Files go both ways as they are, whatever they are called, and nothing is lost on the way."""

import hashlib
import os
import threading
import time
from pathlib import Path

import pytest

from tests.rig import probes
from tests.rig.terminal import terminal

pytestmark = pytest.mark.host

NAMES = (
    "plain",
    "two words ",
    " blank first",
    "it's",
    'quote"d',
    "$HOME `id` $(id)",
    "back\\slash",
    "new\nline",
    "täst ☃",
    "-dash",
    "--delete",
    "semi;colon & amp",
    "st*r ?",
    "[a]",
    "#hash",
    "~",
    "a:b",
    "%s %20",
    "!bang",
    "tab\tbed",
)
ENV = {"LABFAB_UPDATE": "false", "LABFAB_FIREWALL": "false"}
NB = ENV | {
    "LABFAB_LAB_USER": "nb"
}  # an account that cannot log in, and whose files the login cannot read


@pytest.fixture(scope="module")
def box(module_host, module_fab):
    box = module_host("debian13")
    module_fab.on(box, "keys.copy", env=NB).ok()
    box.run("chmod 700 /home/nb")
    return box


def tree(folder: Path) -> Path:
    """Make files, links and folders with names that shells, ssh or rsync could stumble over."""
    for number, name in enumerate(NAMES):
        below = folder / f"{name}.d"
        (below / "empty").mkdir(parents=True)
        (below / name).write_text(f"{name} {number}")
        (below / name).chmod(0o600 if number % 2 else 0o755)
        os.utime(below / name, (1_000_000_000 + number, 1_000_000_000 + number))
        (below / "link").symlink_to(name)
    (folder / "dangling").symlink_to("/no/where")
    (folder / os.fsdecode(b"latin \xe4")).write_bytes(bytes(range(256)))
    (folder / "closed").mkdir(mode=0o500)
    return folder


def seen(folder: Path) -> dict[str, tuple]:
    """Everything below a folder: kind, mode, time, content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        stat = path.lstat()
        content = (
            os.readlink(path)
            if path.is_symlink()
            else hashlib.sha256(path.read_bytes()).hexdigest()
            if path.is_file()
            else ""
        )
        found[str(path.relative_to(folder))] = (
            stat.st_mode,
            "" if path.is_symlink() else int(stat.st_mtime),
            content,
        )
    return found


@pytest.mark.parametrize("env", [ENV, NB], ids=["login", "lab_user"])
def test_hostile_names_go_both_ways(box, module_fab, tmp_path, env):
    account = env.get("LABFAB_LAB_USER", "lab")
    source, back = tree(tmp_path / 'it\'s $HOME; "here"'), tmp_path / "back `id`"
    secret = (module_fab.home / ".config/labfab/homelab/sudo-password").read_text().strip()
    with probes.watching(box) as processes:
        module_fab("-H", "homelab", "files.push", str(source), "--to", "a 'b' $c", env=env).ok()
        module_fab(
            "-H", "homelab", "files.pull", f"a 'b' $c/{source.name}", "--to", str(back), env=env
        ).ok()
    assert len(seen(source)) > 80 and seen(back / source.name) == seen(source)
    assert box.run(f"find /home/{account}/notebooks ! -user {account} | wc -l") == "0"
    assert not [line for line in processes if secret in line]
    assert (
        "nothing to change"
        in module_fab("-H", "homelab", "files.push", str(source), "--to", "a 'b' $c", env=env)
        .ok()
        .out
    )
    assert (
        "nothing to pull"
        in module_fab(
            "-H", "homelab", "files.pull", f"a 'b' $c/{source.name}", "--to", str(back), env=env
        )
        .ok()
        .out
    )
    assert box.run("ls /run | grep labfab-files || true; pgrep rsync || true") == ""


def test_nothing_is_deleted_unless_told_and_confirmed(box, module_fab, tmp_path):
    source = tmp_path / "data"
    source.mkdir()
    for name in ("one", "two"):
        (source / name).write_text(name)

    def push(*more: str):
        return module_fab("-H", "homelab", *more, env=ENV)

    push("files.push", str(source)).ok()
    (source / "one").unlink()
    (source / "three").write_text("3")
    push("files.push", str(source)).ok()
    assert box.run("ls /home/lab/notebooks/data").split() == ["one", "three", "two"]
    push("files.push", str(source), "--delete").fails("data/one", "1 file", "--yes")
    assert box.run("ls /home/lab/notebooks/data").split() == ["one", "three", "two"]
    assert (
        "would be deleted" in push("--dry", "files.push", str(source), "--delete", "--yes").ok().out
    )
    assert box.run("ls /home/lab/notebooks/data").split() == ["one", "three", "two"]
    with terminal(
        module_fab, "-H", "homelab", "files.push", str(source), "--delete", env=ENV
    ) as screen:
        screen.sees("1 file will be deleted from homelab: data/one").sees(
            "delete 1 file on homelab?"
        ).types("no")
        assert screen.ends() == 1
    assert box.run("ls /home/lab/notebooks/data").split() == ["one", "three", "two"]
    push("files.push", str(source), "--delete", "--yes").ok()
    assert box.run("ls /home/lab/notebooks/data").split() == ["three", "two"]

    (source / "mine").write_text("mine")
    push("files.pull", "data", "--to", str(tmp_path)).ok()
    assert (source / "mine").exists()
    push("files.pull", "data", "--to", str(tmp_path), "--delete").fails("data/mine", "this machine")
    push("files.pull", "data", "--to", str(tmp_path), "--delete", "--yes").ok()
    assert sorted(os.listdir(source)) == ["three", "two"]


def test_a_transfer_that_was_cut_off_goes_on(box, module_fab, tmp_path):
    big = tmp_path / "big.bin"
    big.write_bytes(os.urandom(150_000_000))
    box.run("echo old >/home/lab/notebooks/big.bin; chown lab: /home/lab/notebooks/big.bin")
    cutter = threading.Thread(target=cut_off, args=(box,))
    cutter.start()
    module_fab("-H", "homelab", "files.push", str(big), env=ENV).fails(
        "homelab", "interrupted", "continues where"
    )
    cutter.join(60)
    assert box.run("cat /home/lab/notebooks/big.bin") == "old"  # never half a file under its name
    kept = int(box.run("stat -c %s /home/lab/notebooks/.labfab-partial/big.bin"))
    before = received(box)
    module_fab("-H", "homelab", "files.push", str(big), env=ENV).ok()
    assert kept > 10_000_000 and received(box) - before < big.stat().st_size - kept * 0.8
    assert (
        box.run("sha256sum </home/lab/notebooks/big.bin").split()[0]
        == hashlib.sha256(big.read_bytes()).hexdigest()
    )
    assert box.run("ls -A /home/lab/notebooks | grep partial || true") == ""


def cut_off(box) -> None:
    """Wait until a good part has arrived, then end rsync there."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if (
            int(
                box.run("stat -c %s /home/lab/notebooks/.big.bin.* 2>/dev/null || echo 0").split()[
                    0
                ]
            )
            > 20_000_000
        ):
            box.run("pkill -TERM -u lab rsync")
            return
        time.sleep(0.02)


def received(box) -> int:
    return int(box.run("cat /sys/class/net/eth0/statistics/rx_bytes"))


def test_what_goes_wrong_is_one_line(box, module_fab, tmp_path):
    (tmp_path / "file").write_text("x")
    for words, said in (
        (("files.push", str(tmp_path / "none")), "not on this machine"),
        (("files.pull", "none"), "there is no /home/nb/notebooks/none"),
        (("files.push", str(tmp_path / "file"), "--to", "/root/x"), "Permission denied"),
    ):
        run = module_fab("-H", "homelab", *words, env=NB).fails(said)
        assert len(run.err.strip().splitlines()) == 1, run.err
    empty = tmp_path / "bin"
    empty.mkdir()
    for name in ("ssh", "env", "sh"):
        (empty / name).symlink_to(f"/usr/bin/{name}")
    module_fab(
        "-H", "homelab", "files.push", str(tmp_path / "file"), env=ENV | {"PATH": str(empty)}
    ).fails("apt install rsync")
    box.pause()
    try:
        module_fab(
            "-H",
            "homelab",
            "files.pull",
            "data",
            env=ENV | {"LABFAB_CONNECT_TIMEOUT": "2"},
            timeout=60,
        ).fails("no answer on port")
    finally:
        box.resume()
