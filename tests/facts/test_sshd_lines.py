"""The order in which sshd reads its files: run for real with Perl, and what it means."""

import shutil
import subprocess
from pathlib import Path

import pytest

from labfab.facts import sshd_lines
from labfab.on_host import loader

pytestmark = pytest.mark.skipif(shutil.which("perl") is None, reason="hosts have Perl")


def read(folder: Path, **files: str) -> tuple[sshd_lines.Line, ...]:
    """Write sshd_config and files of its folder, and read them as a host does."""
    (folder / "d").mkdir()
    for name, text in files.items():
        path = folder / "sshd_config" if name == "main" else folder / "d" / f"{name}.conf"
        path.write_text(text.replace("DIR", str(folder)))
    argv = [
        "perl",
        "-e",
        loader.perl("sshd_lines"),
        f"{folder}/sshd_config",
        f"{folder}/d/50-us.conf",
    ]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert not done.stderr
    return sshd_lines.parse(done.stdout)


def test_what_comes_before_our_file_decides(tmp_path):
    """By its name, by its place in the main file, and by an Include of another folder."""
    (tmp_path / "deep.conf").write_text("PermitRootLogin=yes\n")
    lines = read(
        tmp_path,
        main="port 2300\nInclude DIR/deep.conf DIR/d/*.conf\nPasswordAuthentication yes\n",
        **{"10-first": "# x\n\tChallengeResponseAuthentication  yes\r\n", "90-late": "Port 1\n"},
    )
    found = [(Path(line.file).name, line.number, line.option, line.value) for line in lines]
    assert found == [
        ("sshd_config", 1, "port", "2300"),
        ("deep.conf", 1, "permitrootlogin", "yes"),
        ("10-first.conf", 2, "kbdinteractiveauthentication", "yes"),
        ("50-us.conf", 0, "ours", "ours"),
        ("90-late.conf", 1, "port", "1"),
        ("sshd_config", 3, "passwordauthentication", "yes"),
    ]
    assert [line.option for line in sshd_lines.before_ours(lines)] == [
        line[2] for line in found[:3]
    ]


def test_a_match_block_ends_with_its_file(tmp_path):
    lines = read(
        tmp_path,
        main="Include DIR/d/*.conf\nPermitRootLogin no\nMatch User a,b\nAllowUsers x\n",
        **{"10-first": "Match Address 10.0.0.0/8\n PasswordAuthentication yes\n"},
    )
    assert [(line.option, line.match) for line in lines] == [
        ("passwordauthentication", "Address 10.0.0.0/8"),
        ("ours", ""),
        ("permitrootlogin", ""),
        ("allowusers", "User a,b"),
    ]


def test_a_file_that_includes_itself_ends(tmp_path):
    assert len(read(tmp_path, main="Port 1\nInclude DIR/sshd_config\n")) < 50


@pytest.mark.parametrize(
    "criteria, holds",
    [
        ("User root", True),
        ("User lab,r*", True),
        ("User *,!root", False),
        ("Group wheel", False),
        ("Group wheel,root Address 10.0.0.0/8", True),
        ('User "lab"', False),
        ("LocalPort 22", True),
        ("all", True),
    ],
)
def test_whom_a_block_may_hold_for(criteria, holds):
    assert sshd_lines.may_hold(criteria, "root", {"root"}) is holds


def test_a_folder_that_only_a_match_block_includes_is_not_read_for_everybody(tmp_path):
    lines = read(tmp_path, main="Port 1\nMatch User x\nInclude DIR/d/*.conf\n")
    assert not sshd_lines.reads_ours(lines) and not list(sshd_lines.before_ours(lines))
