"""Python: an environment of your own with JupyterLab in it, below the home of the account that runs Lab.

Owns: ~/miniforge3, ~/anaconda3, ~/miniconda3 or ~/jupyter-venv; a line in ~/.profile.  Undo: delete that folder
The guides say Anaconda; Miniforge is the default because it is free for everybody and verified the same way.
"""

from __future__ import annotations

import re

from fabric import Connection

from .. import screen
from ..errors import SetupError
from ..facts import PREFIXES, facts
from ..host import Host, ask, change, host_task
from ..platforms import platform
from ..platforms.installers import Installer, checksum_in, installer
from ..settings import Settings
from . import user

# jupyter_server below 2.21 has known holes, among them CVE-2026-44727 and CVE-2026-86049.
FLOOR = (2, 21)
JUPYTER = ("jupyterlab>=4.4", f"jupyter_server>={FLOOR[0]}.{FLOOR[1]}")
# Resumed where it was cut, and never below /tmp, which lies in memory on Debian 13 and Ubuntu 26.04.
DOWNLOAD = "mkdir -p ~/.cache/labfab && cd ~/.cache/labfab && curl -fsSL --retry 3 -C - -o %s.part %s && mv %s.part %s"
CHECKSUM = "curl -fsSL --retry 3 %s"
# The mark outlives a run that is cut off, so that the next one repairs what the installer left half-made.
UNPACK = "cd ~/.cache/labfab && touch %s.unfinished && bash %s -b -u -p ~/%s && rm -f %s.unfinished %s"
VENV = "python3 -m venv ~/%s && ~/%s/bin/python -m pip install -q --disable-pip-version-check uv"
UV = "~/%s/bin/uv pip install -q --python ~/%s/bin/python"
PIP = "~/%s/bin/python -m pip install -q --disable-pip-version-check"
CONDA = "~/%s/bin/conda install -y -q -n base --override-channels -c conda-forge"
PROFILE = "\n# labfab: JupyterLab's Python comes first\nPATH=\"$HOME/%s/bin:$PATH\"\n"


@host_task(default=True)
def install(c: Connection) -> None:
    """Install Python and JupyterLab."""
    want = Settings.of(c)
    user.add(c)
    if want.python == "venv":
        make_venv(c, want)
    else:
        run_installer(c, want)
    add_packages(c, want)


def make_venv(c: Connection, want: Settings) -> None:
    """Make a virtual environment with uv in it, which installs many times faster than pip."""
    platform(c).install(c, "python3-venv", "ca-certificates", "curl")
    if "uv" not in facts(c).python.versions:
        folder = PREFIXES["venv"]
        index = ("--index-url %s", want.package_index) if want.package_index else ("",)
        change(c, f"{VENV} {index[0]}", folder, folder, *index[1:], user=want.jupyter_user, why=f"make the environment ~/{folder}", undo=("rm -rf ~%s/%s", want.jupyter_user, folder), long=True)


def run_installer(c: Connection, want: Settings) -> None:
    """Download, verify and run the installer of a conda distribution."""
    platform(c).install(c, "ca-certificates", "curl")
    have, folder = facts(c).python, PREFIXES[want.python]
    if have.conda and have.python and not have.unfinished:
        return
    system = facts(c).system
    chosen = installer(want.python, system.kernel, system.machine, want.python_version, want.python_mirror)
    fetch(c, want, chosen)
    name = chosen.filename
    change(c, UNPACK, folder, name, folder, folder, name, user=want.jupyter_user, why=f"unpack {name} to ~/{folder}", undo=("rm -rf ~%s/%s", want.jupyter_user, folder), long=True)


def fetch(c: Connection, want: Settings, chosen: Installer) -> None:
    """Have the verified installer in ~/.cache/labfab."""
    name, account = chosen.filename, want.jupyter_user
    if is_verified(c, want, chosen):
        return
    try:
        change(c, DOWNLOAD, name, chosen.url, name, name, user=account, why=f"download {name}", undo=("rm -f ~%s/.cache/labfab/%s", account, name), long=True)
    except SetupError as error:
        hint = f" There is no such file at {chosen.url}: set python_version or python_mirror." if "404" in str(error) else ""
        raise SetupError(f"{error}{hint}") from None
    if not Host.of(c).planning and not is_verified(c, want, chosen):
        ask(c, "rm -f ~/.cache/labfab/%s", name, user=account)
        raise SetupError(
            f"{Host.of(c).label}: {name} has not the published SHA-256 and was deleted: run this again, or set another python_mirror"
        )


def is_verified(c: Connection, want: Settings, chosen: Installer) -> bool:
    """Compare the downloaded file with the published checksum."""
    wanted = chosen.sha256 or published(c, want, chosen)
    have = ask(c, "[ -f ~/.cache/labfab/%s ] && sha256sum ~/.cache/labfab/%s || exit 1", chosen.filename, chosen.filename, user=want.jupyter_user)
    return have.ok and have.out.split()[0] == wanted


def published(c: Connection, want: Settings, chosen: Installer) -> str:
    """The checksum that the publisher keeps beside the file."""
    answer = ask(c, f"{CHECKSUM} || exit 1", chosen.checksum_url, user=want.jupyter_user)
    try:
        return checksum_in(answer.out, chosen.filename)
    except SetupError as error:
        raise SetupError(f"{Host.of(c).label}: no checksum at {chosen.checksum_url} ({error}): set python_version or python_mirror") from None


def add_packages(c: Connection, want: Settings) -> None:
    """Install JupyterLab where it is missing or too old, and the packages of the setting."""
    have = facts(c).python
    missing = [] if have.lab and is_safe(have.versions.get("jupyter_server", "")) else list(JUPYTER)
    extra = [name for name in want.packages if plain(name) not in have.versions]
    for packages, what in ((missing, "JupyterLab"), (extra, ", ".join(extra))):
        if packages:
            command = pip_command(want, conda=have.lab is False and packages is missing)
            change(c, command + " %s" * len(packages), *packages, user=want.jupyter_user, why=f"install {what}", long=True)


def pip_command(want: Settings, conda: bool) -> str:
    """The installer that fits the environment: uv, conda for a first JupyterLab, else pip."""
    folder = PREFIXES[want.python]
    if conda and want.python != "venv":
        return CONDA.replace("%s", folder)
    index = f" --index-url {want.package_index}" if want.package_index else ""
    return (UV if want.python == "venv" else PIP).replace("%s", folder) + index


def is_safe(version: str) -> bool:
    numbers = re.findall(r"\d+", version)
    return tuple(map(int, numbers[:2])) >= FLOOR


def plain(requirement: str) -> str:
    """The name of a requirement as its installed metadata spells it."""
    return re.sub(r"[-_.]+", "_", re.split(r"[\[<>=!~]", requirement)[0]).lower()


@host_task(name="init-shell")
def init_shell(c: Connection) -> None:
    """Make this Python the first one in login shells."""
    want = Settings.of(c)
    have, folder = facts(c).python, PREFIXES[want.python]
    if not have.python:
        install(c)
        have = facts(c).python
    if ("venv" if want.python == "venv" else "conda") in have.shells:
        return
    if want.python == "venv":
        change(c, f"printf %%s %s >>~/.profile", PROFILE % folder, user=want.jupyter_user, why=f"put ~/{folder}/bin first in login shells")
    else:
        change(c, "~/%s/bin/conda init -q bash", folder, user=want.jupyter_user, why="let login shells know conda")
    screen.note("open a new login shell to see it")
