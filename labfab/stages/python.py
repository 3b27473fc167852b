"""Python: an environment of your own with JupyterLab in it, below the home of the account that runs Lab.

Owns: ~/miniforge3, ~/anaconda3, ~/miniconda3 or ~/jupyter-venv; a line in ~/.profile or ~/.zprofile.  Undo: delete that folder
The guides say Anaconda; Miniforge is the default because it is free for everybody and verified the same way.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from fabric import Connection

from .. import console
from ..facts import facts
from ..facts.reader import PREFIXES
from ..host.changes import change
from ..platforms import conda, platform
from ..run.task import host_task
from ..settings import Settings
from . import user

# jupyter_server below 2.21 has known holes, among them CVE-2026-44727 and CVE-2026-86049.
FLOOR = (2, 21)
JUPYTER = ("jupyterlab>=4.4", f"jupyter_server>={FLOOR[0]}.{FLOOR[1]}")
# A mark on the host outlives a run that is cut off, so that the next one does not take the half for the whole.
# venv and uv swallow the words of what they run, so a full disk is looked for.
MARKED = (
    "mkdir -p ~/.cache/labfab && touch ~/.cache/labfab/{mark} && {{ {command} || {{ "
    "[ \"$(df -Pk ~ | awk 'NR == 2 {{ print $4 }}')\" -gt 51200 ] || echo No space left on device >&2; exit 1; }}; }} "
    "&& rm -f ~/.cache/labfab/{mark}"
)
# Without ensurepip, which takes as long as all the rest: uv is fetched by the pip that Python brings along to be unpacked.
# Run out of its zip file, that pip would take half a second longer.
VENV = (
    "PATH=%s; export PATH; python3 -m venv --without-pip{clear} ~/%s && pip=$({wheel}) && "
    '{{ [ "$pip" ] || {{ echo no wheel of pip is there >&2; false; }}; }} && '
    'rm -rf ~/.cache/labfab/pip/unpacked && python3 -m zipfile -e "$pip" ~/.cache/labfab/pip/unpacked && '
    "~/%s/bin/python -B ~/.cache/labfab/pip/unpacked/pip install -q --no-compile --disable-pip-version-check{index} uv && "
    "rm -rf ~/.cache/labfab/pip"
)
UV = "~/%s/bin/uv pip install -q --python ~/%s/bin/python"
PIP = "~/%s/bin/python -m pip install -q --disable-pip-version-check"
CONDA = "~/%s/bin/conda install -y -q -n base --override-channels -c conda-forge"
INDEX = " --index-url %s"
ZSH = " zsh"
STARTUP = (".bashrc", ".bash_profile", ".zshrc")  # one of them is where conda writes
PROFILE = '\n# labfab: JupyterLab\'s Python comes first\nPATH="$HOME/%s/bin:$PATH"\n'


@host_task(default=True)
def install(c: Connection) -> None:
    """Install Python and JupyterLab."""
    want = Settings.of(c)
    user.add(c)
    platform(c).install(c, *packages(c))
    have = facts(c).python
    if want.python == "venv" and ("uv" not in have.versions or have.unfinished):
        make_venv(c, want)
    if want.python != "venv" and (not have.conda or not have.python or have.unfinished):
        conda.unpack(c, want)
    add_packages(c, want)


def due(c: Connection) -> bool:
    """Whether much is to do that needs none of the packages that are still to come, and that no reboot will cut off."""
    want, have = Settings.of(c), facts(c)
    needs = (
        {"curl"} if want.python != "venv" else {*platform(c).venv_packages(c)} - {"python3-pip-whl"}
    )
    fresh = not have.python.python and not have.python.unfinished
    return (
        fresh
        and not want.reboot
        and want.jupyter_user in have.accounts
        and needs <= have.system.packages
    )


def prepare(c: Connection) -> None:
    """Do what takes long of a first installation: the whole of a venv; of a distribution have the installer there."""
    want = Settings.of(c)
    if want.python == "venv":
        make_venv(c, want)
        add_packages(c, want)
    else:
        conda.fetch(c, want)


def packages(c: Connection) -> list[str]:
    """What the system has to have for it."""
    return [
        "ca-certificates",
        "curl",
        *(platform(c).venv_packages(c) if Settings.of(c).python == "venv" else []),
    ]


def make_venv(c: Connection, want: Settings) -> None:
    """Make a virtual environment with uv in it, which installs many times faster than pip."""
    folder, index = PREFIXES["venv"], [want.package_index] if want.package_index else []
    place = f"{facts(c).accounts[want.jupyter_user].home}/{folder}"
    command = VENV.format(
        clear=" --clear" * facts(c).python.unfinished,
        wheel=platform(c).PIP_WHEEL,
        index=INDEX * len(index),
    )
    change(
        c,
        marked(command, f"{folder}.unfinished"),
        platform(c).PATH,
        folder,
        folder,
        *index,
        user=want.jupyter_user,
        long=True,
        why=f"make the environment ~/{folder}",
        undo=("tree %s", place),
        keep=[place],
        then={"python.python": "yes", "python.version.uv": "0", "python.unfinished": None},
    )


def marked(command: str, mark: str) -> str:
    return MARKED.format(mark=mark, command=command)


def add_packages(c: Connection, want: Settings) -> None:
    """Install JupyterLab where it is missing or too old, and the packages of the setting."""
    have = facts(c).python
    whole = have.lab and not have.half
    if not is_ready(c):
        # A first JupyterLab comes the distribution's own way; an old one is raised by pip, which solves in seconds.
        own = ("pip",) * (
            want.python == "venv" and "pip" not in have.versions
        )  # for you, in notebooks
        add(c, want, (*JUPYTER, *own), "JupyterLab", by_conda=want.python != "venv" and not whole)
    missing = [name for name in want.packages if have.half or plain(name) not in have.versions]
    if missing:
        add(c, want, missing, ", ".join(missing))


def add(
    c: Connection, want: Settings, packages: Sequence[str], what: str, by_conda: bool = False
) -> None:
    """Install packages into the environment: uv in a venv, else conda or its pip."""
    command = CONDA if by_conda else UV if want.python == "venv" else PIP
    if command is UV and facts(c).python.half:
        command += " --reinstall"
    index = [want.package_index] if want.package_index and not by_conda else []
    names = [PREFIXES[want.python]] * command.count("%s")
    then = {f"python.version.{plain(name)}": "9999" for name in packages}
    command = marked(
        command + INDEX * len(index) + " %s" * len(packages), f"{PREFIXES[want.python]}.packages"
    )
    change(
        c,
        command,
        *names,
        *index,
        *packages,
        user=want.jupyter_user,
        why=f"install {what}",
        long=True,
        then=then | {"python.lab": "yes", "python.half": None},
    )


def is_ready(c: Connection) -> bool:
    """Whether JupyterLab may be started as it is."""
    have = facts(c).python
    return (
        have.lab
        and not have.half
        and not have.unfinished
        and is_safe(have.versions.get("jupyter_server", ""))
    )


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
    if not facts(c).python.python:
        install(c)
    folder, kind = PREFIXES[want.python], "venv" if want.python == "venv" else "conda"
    if kind in facts(c).python.shells:
        return
    account, then = facts(c).accounts[want.jupyter_user], {f"python.shell.{kind}": "yes"}
    if kind == "venv":
        line, file = PROFILE % folder, account.profile
        why, undo = (
            f"put ~/{folder}/bin first in login shells",
            ("lines %s" + " %s" * 2, file, *line.split("\n")[1:3]),
        )
        change(
            c,
            "printf %%s %s >>%s",
            line,
            file,
            user=account.name,
            why=why,
            undo=undo,
            keep=[file],
            then=then,
        )
    else:
        change(
            c,
            "~/%s/bin/conda init bash" + ZSH * (account.shell.endswith("zsh")),
            folder,
            user=account.name,
            why="let login shells know conda",
            undo=("conda_shell %s %s", account.name, folder),
            keep=[f"{account.home}/{name}" for name in STARTUP],
            then=then,
        )
    console.note("open a new login shell to see it")
