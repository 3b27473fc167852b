"""Python: an environment of your own with JupyterLab, in the home of the account that runs it.

Owns: ~/miniforge3, ~/anaconda3, ~/miniconda3 or ~/jupyter-venv; a line in ~/.profile or
~/.zprofile.  Undo: delete that folder
The guides say Anaconda. Miniforge is the default: it is free for everybody, and verified as well.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fabric import Connection

from .. import console
from ..facts import facts
from ..facts.package_names import normalized_name
from ..facts.reader import PREFIXES
from ..host.changes import change
from ..host.shell import Result
from ..on_host import loader
from ..platforms import conda, locks, minimum_versions, platform
from ..run.task import host_task
from ..settings import Settings
from . import user

if TYPE_CHECKING:
    from ..facts.records import Account, Python
    from ..platforms.base import Platform

UNDER_MARK = loader.as_command("under_mark")
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
        if "uv" not in have.versions or have.environment_interrupted:
            make_venv(c, want, system)
    elif not have.conda or not have.python or have.environment_interrupted:
        conda.install_distribution(c, want)
    add_packages(c, want)


def can_install_early(c: Connection) -> bool:
    """Return whether a first installation can begin early.

    It can if the packages it needs are there, and no reboot will cut it off.
    """
    want, have = Settings.of(c), facts(c)
    needs = {"curl"}
    if want.python == "venv":
        needs = {*platform(c).venv_packages(c)} - {"python3-pip-whl"}
    fresh = not have.python.python and not have.python.environment_interrupted
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
    clear = "--clear" if have.python.environment_interrupted else ""
    uv = (locks.text("uv"), "--require-hashes") if want.locked else ("uv", "")
    options = [clear, *uv, *index_options(want, by_pip=True)]
    script = "wheel_of_pip() {\n" + system.FIND_PIP_WHEEL + "\n}\n"
    script += UNDER_MARK + loader.as_command("make_venv", 2 + len(options))
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
        explain=explain,
        then={"python.python": "yes", "python.version.uv": "0", "python.unfinished": None},
    )


def add_packages(c: Connection, want: Settings) -> None:
    """Install JupyterLab if it is missing or too old, and the packages of the setting."""
    have = facts(c).python
    if not is_ready(c):
        install_jupyterlab(c, want, have)
    missing = [
        name
        for name in want.packages
        if have.packages_interrupted or normalized_name(name) not in have.versions
    ]
    if missing:
        install_packages(c, want, missing, ", ".join(missing))


def install_jupyterlab(c: Connection, want: Settings, have: Python) -> None:
    """Install JupyterLab, from our lock if it is the first in a venv, or raise what is too old."""
    whole = have.lab and not have.packages_interrupted
    if want.python == "venv" and want.locked and not (whole or is_newer_than_lock(have)):
        install_lock(c, want, have)
        return
    due = minimum_versions.below(have.versions) if whole else minimum_versions.FLOORS
    names = [floor.requirement for floor in due]
    if want.python == "venv" and "pip" not in have.versions:
        names.append("pip")  # for use in notebooks
    # conda installs a first JupyterLab; pip upgrades an old one, as it solves in seconds.
    by_conda = want.python != "venv" and not whole
    install_packages(c, want, names, "JupyterLab", by_conda)


def is_newer_than_lock(have: Python) -> bool:
    """Return whether lab.update, say, has installed a JupyterLab that is newer than our lock."""
    from packaging.version import Version

    found = have.versions.get("jupyterlab", "")
    # Whatever is no version is not newer; is_ready() has seen it.
    return bool(re.match(r"\d+(\.\d+)*\Z", found)) and Version(found) > Version(
        locks.version("jupyterlab")
    )


def install_lock(c: Connection, want: Settings, have: Python) -> None:
    """Install JupyterLab and all it needs in the versions and with the checksums of our lock."""
    options = [*(["--reinstall"] if have.packages_interrupted else []), *index_options(want)]
    change(
        c,
        UNDER_MARK + loader.as_command("install_packages", 2 + len(options)),
        "uv-locked",
        PREFIXES["venv"],
        *options,
        user=want.jupyter_user,
        stdin=locks.text("jupyterlab"),
        explain=explain,
        why="install JupyterLab",
        long=True,
        then={
            **{
                f"python.version.{normalized_name(name)}": locks.version(name)
                for name in ("jupyterlab", "jupyter-server", "pip")
            },
            "python.lab": "yes",
            "python.half": None,
        },
    )


def install_packages(
    c: Connection, want: Settings, packages: Sequence[str], what: str, by_conda: bool = False
) -> None:
    """Install packages into the environment.

    packages: requirements such as `pandas>=2`. what: their name for the user. by_conda: let conda
    install them, from conda-forge; otherwise uv does in a venv, and pip in a distribution.
    """
    installer = "uv" if want.python == "venv" else "conda" if by_conda else "pip"
    options = ["--reinstall"] if installer == "uv" and facts(c).python.packages_interrupted else []
    if not by_conda:
        options += index_options(want, by_pip=installer == "pip")
    then: dict[str, str | None] = {
        f"python.version.{normalized_name(name)}": "9999" for name in packages
    }
    change(
        c,
        UNDER_MARK + loader.as_command("install_packages", 2 + len(options) + len(packages)),
        installer,
        PREFIXES[want.python],
        *options,
        *packages,
        user=want.jupyter_user,
        why=f"install {what}",
        long=True,
        then=then | {"python.lab": "yes", "python.half": None},
    )


def explain(said: str) -> str:
    """Put in words that a package is not the one of our lock; else return the end of the output."""
    if re.search(r"DO NOT MATCH THE HASHES|[Hh]ash mismatch", said):
        return (
            "a package does not have the SHA-256 of labfab's lock: the index, or somebody on the "
            "way, serves another file than everybody else"
        )
    return Result(1, "", said).last_words


def index_options(want: Settings, by_pip: bool = False) -> list[str]:
    """Return the options that point pip and uv at the package index in the settings.

    by_pip: pip also has to be told that an index without TLS was accepted.
    """
    if not want.package_index:
        return []
    host = urlsplit(want.package_index).hostname or ""
    plain = by_pip and want.package_index.startswith("http:")
    return ["--index-url", want.package_index, *(["--trusted-host", host] if plain else [])]


def is_ready(c: Connection) -> bool:
    """Return whether the installed JupyterLab is complete and safe to start."""
    have = facts(c).python
    whole = have.lab and not have.packages_interrupted and not have.environment_interrupted
    return whole and not minimum_versions.below(have.versions)


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
