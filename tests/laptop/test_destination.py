"""Where the files of a host may go: nowhere that a name alone gives them a meaning."""

import os
import sys
from pathlib import Path

import pytest

from labfab.errors import SetupError
from labfab.laptop.destination import PROGRAM, Destination, refuse_dangerous


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """The home with a project in it; fab is started in a folder of the project."""
    home = tmp_path / "home"
    (home / "work/deep").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home / "work/deep")
    (home / "link").symlink_to(home / "work")
    return home / "work"


DANGEROUS = (
    (".", ""),
    ("..", ""),
    ("~", ""),
    ("~/..", ""),
    ("/", ""),
    ("~/link", ""),
    ("..", "deep"),
    ("~", "link"),
    ("~", ".bashrc"),
    ("~/.ssh", ""),
    ("~/.ssh", "config"),
    ("~/.config/systemd/user", "x.service"),
    ("../.git/hooks", "pre-commit"),
    ("..", ".venv"),
    (".", ".envrc"),
    ("..", "fabfile.py"),
    (".", "fabfile"),
    ("..", "Fabfile.py"),
    ("..", "tasks.py"),
    ("..", "invoke.yaml"),
    ("..", "fabric.json"),
    ("..", "Makefile"),
    ("..", "sitecustomize.py"),
    ("..", "labfab"),
    (".", "email"),
    ("..", "rich.py"),
    ("..", "msgspec"),
    (str(PROGRAM), ""),
    (str(PROGRAM), "labfab"),
    (str(PROGRAM / "labfab"), "x.py"),
    (sys.prefix, "lib"),
    (f"{sys.prefix}/lib", "x"),
)
SAFE = (
    ("results", ""),
    (".", "results"),
    ("..", "data"),
    ("~", "Desktop"),
    ("~/Desktop", ""),
    ("~/Desktop", "fabfile.py"),
    (".", "email.csv"),
    (".", "lab.log"),
    (".", "a.ipynb"),
    ("/srv/data", ""),
)


@pytest.mark.parametrize(("folder", "name"), DANGEROUS)
def test_a_host_may_not_write_where_names_have_a_meaning(project, folder, name):
    to = Destination(Path(os.path.abspath(os.path.expanduser(folder))), name)
    with pytest.raises(SetupError, match="such as --to results"):
        refuse_dangerous(to, project)


@pytest.mark.parametrize(("folder", "name"), SAFE)
def test_results_may_go_anywhere_else(project, folder, name):
    refuse_dangerous(Destination(Path(os.path.abspath(os.path.expanduser(folder))), name), project)


def test_what_an_earlier_pull_brought_may_be_pulled_again(project):
    (project / "results").mkdir()
    (project / "results/__init__.py").write_text("")
    refuse_dangerous(Destination(project, "results"), project)
