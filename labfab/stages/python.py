"""Python: an environment of your own with JupyterLab, in the home of the account that runs it.

Owns: ~/miniforge3, ~/anaconda3, ~/miniconda3 or ~/jupyter-venv; a line in ~/.profile or
~/.zprofile.  Undo: delete that folder
The guides say Anaconda. Miniforge is the default: it is free for everybody, and verified as well.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fabric import Connection

from .. import console
from ..facts import facts
from ..facts.package_names import normalized_name
from ..facts.reader import PREFIXES
from ..host.changes import change
from ..on_host import loader
from ..platforms import conda, platform
from ..run.task import host_task
from ..settings import Settings
from . import user

if TYPE_CHECKING:
    from ..facts.records import Account
    from ..platforms.base import Platform

# jupyter_server below 2.21 has known vulnerabilities, among them CVE-2026-44727 and CVE-2026-86049.
MIN_JUPYTER_SERVER = (2, 21)
JUPYTER = ("jupyterlab>=4.4", f"jupyter_server>={MIN_JUPYTER_SERVER[0]}.{MIN_JUPYTER_SERVER[1]}")
UNDER_MARK = loader.called("unfinished")
INDEX = " --index-url %s"
STARTUP_FILES = (".bashrc", ".bash_profile", ".zshrc")  # conda writes to one of them
PROFILE = '\n# labfab: JupyterLab\'s Python comes first\nPATH="$HOME/%s/bin:$PATH"\n'


@host_task(default=True)
def install(c: Connection) -> None:
    """Install Python and JupyterLab."""
    want, system = Settings.of(c), platform(c)
    user.add(c)
    system.install(c, *packages(c, want, system))
    have = facts(c).python
    if want.python == "venv":
        if "uv" not in have.versions or have.unfinished:
            make_venv(c, want, system)
    elif not have.conda or not have.python or have.unfinished:
        conda.install_distribution(c, want)
    add_packages(c, want)


def due(c: Connection) -> bool:
    """Return whether a first installation can begin early.

    It can if the packages it needs are there, and no reboot will cut it off.
    """
    want, have = Settings.of(c), facts(c)
    needs = {"curl"}
    if want.python == "venv":
        needs = {*platform(c).venv_packages(c)} - {"python3-pip-whl"}
    fresh = not have.python.python and not have.python.unfinished
    return (
        fresh
        and not want.reboot
        and want.jupyter_user in have.accounts
        and needs <= have.system.packages
    )


def prepare(c: Connection) -> None:
    """Do the slow part of a first installation: all of a venv; the download of a distribution."""
    want = Settings.of(c)
    if want.python == "venv":
        make_venv(c, want, platform(c))
        add_packages(c, want)
    else:
        conda.fetch_installer(c, want)


def packages(c: Connection, want: Settings, system: Platform) -> list[str]:
    """Return the system packages that this stage needs."""
    names = ["ca-certificates", "curl"]
    if want.python == "venv":
        names += system.venv_packages(c)
    return names


def make_venv(c: Connection, want: Settings, system: Platform) -> None:
    """Make a virtual environment with uv, which installs many times faster than pip."""
    have, folder = facts(c), PREFIXES["venv"]
    place = f"{have.accounts[want.jupyter_user].home}/{folder}"
    options = ["--clear" if have.python.unfinished else "", *index_options(want)]
    script = "wheel_of_pip() {\n" + system.FIND_PIP_WHEEL + "\n}\n"
    script += UNDER_MARK + loader.called("make_venv", 2 + len(options))
    change(
        c,
        script,
        system.LAB_PATH,
        folder,
        *options,
        user=want.jupyter_user,
        long=True,
        why=f"make the environment ~/{folder}",
        undo=("tree %s", place),
        keep=[place],
        then={"python.python": "yes", "python.version.uv": "0", "python.unfinished": None},
    )


def add_packages(c: Connection, want: Settings) -> None:
    """Install JupyterLab if it is missing or too old, and the packages of the setting."""
    have = facts(c).python
    if not is_ready(c):
        names = [*JUPYTER]
        if want.python == "venv" and "pip" not in have.versions:
            names.append("pip")  # for use in notebooks
        # conda installs a first JupyterLab; pip upgrades an old one, as it solves in seconds.
        first = not have.lab or have.half
        install_packages(c, want, names, "JupyterLab", by_conda=want.python != "venv" and first)
    missing = [
        name for name in want.packages if have.half or normalized_name(name) not in have.versions
    ]
    if missing:
        install_packages(c, want, missing, ", ".join(missing))


def install_packages(
    c: Connection, want: Settings, packages: Sequence[str], what: str, by_conda: bool = False
) -> None:
    """Install packages into the environment.

    packages: requirements such as `pandas>=2`. what: their name for the user. by_conda: let conda
    install them, from conda-forge; otherwise uv does in a venv, and pip in a distribution.
    """
    installer = "uv" if want.python == "venv" else "conda" if by_conda else "pip"
    options = ["--reinstall"] if installer == "uv" and facts(c).python.half else []
    if not by_conda:
        options += index_options(want)
    then: dict[str, str | None] = {
        f"python.version.{normalized_name(name)}": "9999" for name in packages
    }
    change(
        c,
        UNDER_MARK + loader.called("install_packages", 2 + len(options) + len(packages)),
        installer,
        PREFIXES[want.python],
        *options,
        *packages,
        user=want.jupyter_user,
        why=f"install {what}",
        long=True,
        then=then | {"python.lab": "yes", "python.half": None},
    )


def index_options(want: Settings) -> list[str]:
    """Return the options that point pip and uv at the package index in the settings."""
    return ["--index-url", want.package_index] if want.package_index else []


def is_ready(c: Connection) -> bool:
    """Return whether the installed JupyterLab is complete and safe to start."""
    have = facts(c).python
    whole = have.lab and not have.half and not have.unfinished
    return whole and is_safe(have.versions.get("jupyter_server", ""))


def is_safe(version: str) -> bool:
    """Return whether a version of jupyter_server has no known vulnerability."""
    numbers = re.findall(r"\d+", version)
    return tuple(map(int, numbers[:2])) >= MIN_JUPYTER_SERVER


@host_task(name="init-shell")
def init_shell(c: Connection) -> None:
    """Make this Python the first one in login shells."""
    want = Settings.of(c)
    if not facts(c).python.python:
        install(c)
    have, folder = facts(c), PREFIXES[want.python]
    account = have.accounts[want.jupyter_user]
    kind = "venv" if want.python == "venv" else "conda"
    if kind in have.python.shells:
        return
    if kind == "venv":
        put_first(c, account, folder)
    else:
        init_conda(c, account, folder)
    console.note("open a new login shell to see it")


def put_first(c: Connection, account: Account, folder: str) -> None:
    """Add a line to the account's profile that puts the venv first in PATH."""
    lines, file = PROFILE % folder, account.profile
    comment, path = lines.strip().split("\n")
    change(
        c,
        "printf %%s %s >>%s",
        lines,
        file,
        user=account.name,
        why=f"put ~/{folder}/bin first in login shells",
        undo=("lines %s %s %s", file, comment, path),
        keep=[file],
        then={"python.shell.venv": "yes"},
    )


def init_conda(c: Connection, account: Account, folder: str) -> None:
    """Let conda add itself to the files that the account's login shell reads."""
    zsh = account.shell.endswith("zsh")
    change(
        c,
        "~/%s/bin/conda init bash zsh" if zsh else "~/%s/bin/conda init bash",
        folder,
        user=account.name,
        why="set up conda in login shells",
        undo=("conda_shell %s %s", account.name, folder),
        keep=[f"{account.home}/{name}" for name in STARTUP_FILES],
        then={"python.shell.conda": "yes"},
    )
