import pytest

from labfab.host.shell import Result
from labfab.settings import Settings
from labfab.stages.backup import packages

VENV = """\
# Editable install with no version control (mine==1.0)
-e /home/lab/mine
humanize==4.9.0
jupyterlab==4.4.10
local @ file:///tmp/local
pip==25.0
PyYAML==6.0.2
torch==2.4.0+cu121
uv==0.9.1
"""
CONDA = """\
name: base
channels:
  - conda-forge
dependencies:
  - python=3.13.1
  - pip=25.0
  - jupyterlab=4.4.10
  - numpy=2.1.0
  - pip:
      - humanize==4.9.0
prefix: /home/lab/miniforge3
"""


def test_pins_are_what_an_index_has() -> None:
    assert packages.pins(VENV) == [
        "humanize==4.9.0",
        "jupyterlab==4.4.10",
        "PyYAML==6.0.2",
        "torch==2.4.0+cu121",
    ]
    assert packages.pins(CONDA) == ["jupyterlab==4.4.10", "numpy==2.1.0", "humanize==4.9.0"]


def test_what_no_index_has_is_named() -> None:
    assert packages.others(VENV) == ["-e /home/lab/mine", "local @ file:///tmp/local"]
    assert packages.others(CONDA) == []


@pytest.mark.parametrize("lock", [VENV, CONDA])
def test_a_backup_does_not_bring_known_holes_back(lock, capsys) -> None:
    """An old JupyterLab in a backup is named and left out; a safe one is restored as it was."""
    assert "jupyterlab" not in packages.without_holes(lock)
    assert "jupyterlab 4.4.10 of the backup has known vulnerabilities" in capsys.readouterr().err
    safe = lock.replace("4.4.10", "4.5.11")
    assert packages.without_holes(safe) == safe


@pytest.mark.parametrize(
    ("version", "installed"),
    [("4.9.0", []), ("4.8.0", ["humanize==4.9.0"]), ("", ["humanize==4.9.0"])],
)
def test_only_what_is_missing_or_differs_is_installed(fake, version, installed) -> None:
    box = fake("lab", python="venv")
    box.add_account("lab")
    box.sections["python"] |= {"python": "yes", "version.PyYAML": "6.0.2"} | (
        {"version.humanize": version} if version else {}
    )
    packages.install(box.c, Settings.of(box.c), "humanize==4.9.0\nPyYAML==6.0.2\n")
    assert [write.command.count("humanize==4.9.0") for write in box.writes] == [1] * bool(installed)
    assert not any("PyYAML" in write.command for write in box.writes)


@pytest.mark.parametrize(
    ("export", "planned"),
    [
        (Result(0, CONDA, ""), []),
        (Result(0, CONDA.replace("2.1.0", "2.0.0"), ""), ["install 1 package of the backup"]),
        # A plan for a bare host.
        (Result(127, "", "conda: not found"), ["install 3 packages of the backup"]),
    ],
)
def test_conda_is_asked_what_is_missing(fake, export, planned) -> None:
    box = fake("lab", python="miniforge", dry=True)
    box.add_account("lab")
    box.answers.append(("conda env export", export))
    packages.install(box.c, Settings.of(box.c), CONDA)
    assert box.planned == planned
