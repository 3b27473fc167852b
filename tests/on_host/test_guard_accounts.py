"""A revert takes sudo and a password back from an account, and leaves everything else of it."""

import subprocess
from pathlib import Path

import pytest

from labfab.on_host import loader

# Stand-ins that keep groups and passwords in files.
TOOLS = """\
id() { case $1 in -u) [ -e "$D/$2.groups" ] ;; -Gn) cat "$D/$2.groups" ;; esac; }
getent() { printf '%s:%s:20000:0:99999:7:::\\n' "$2" "$(cat "$D/$2.hash")"; }
gpasswd() { sed -i "s/ $3//" "$D/$2.groups"; }
chpasswd() { IFS=: read -r name hash; printf %s "$hash" >"$D/$name.hash"; }
chage() { echo "$@" >>"$D/chage"; }
ufw_active() { false; }
"""


def run(folder: Path, script: str) -> None:
    """Run functions of guard.linux.sh; `broken` must stay empty."""
    own = loader.system_part("guard", "Linux")
    text = f'D={folder} GUARD={folder} ACCOUNTS="lab gone"\n{own}\n{TOOLS}\nbroken=\n{script}\n'
    text += '[ -z "$broken" ]'
    subprocess.run(["sh", "-c", text], check=True)


@pytest.mark.parametrize("hash", ["!", "$y$j9T$own$hash/with.signs", ""])
def test_sudo_and_the_password_are_taken_back(tmp_path, hash):
    (tmp_path / "lab.groups").write_text("lab video\n")
    (tmp_path / "lab.hash").write_text(hash)
    run(tmp_path, "save_state")
    (tmp_path / "lab.groups").write_text("lab video sudo\n")
    (tmp_path / "lab.hash").write_text("$y$generated")
    run(tmp_path, "restore_accounts")
    assert (tmp_path / "lab.groups").read_text() == "lab video\n"
    assert (tmp_path / "lab.hash").read_text() == hash
    assert (tmp_path / "chage").read_text() == "-d 20000 lab\n"


def test_what_it_had_before_stays(tmp_path):
    (tmp_path / "lab.groups").write_text("lab sudo\n")
    (tmp_path / "lab.hash").write_text("$y$own")
    run(tmp_path, "save_state")
    run(tmp_path, "restore_accounts")
    assert (tmp_path / "lab.groups").read_text() == "lab sudo\n"
    assert not (tmp_path / "chage").exists()


def test_a_window_that_an_older_version_opened_has_no_accounts(tmp_path):
    run(tmp_path, "restore_accounts")
