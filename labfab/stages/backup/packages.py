"""Packages: list the exact packages of a Python in a lock file, and install from one."""

from __future__ import annotations

import re

from fabric import Connection

from ... import console
from ...errors import SetupError
from ...facts import facts
from ...facts.package_names import normalized_name
from ...facts.reader import PREFIXES
from ...host.changes import ask, change
from ...host.session import Host
from ...platforms.minimum_versions import FLOORS
from ...settings import Settings
from ...text import counted
from .. import python

FREEZE = "~/%s/bin/python -m pip freeze --disable-pip-version-check"
EXPORT = "~/%s/bin/conda env export -n base --no-builds"
UPDATE = """\
mkdir -p ~/.cache/labfab && cd ~/.cache/labfab && printf %%s %s >environment.yml &&
~/%s/bin/conda env update -q -n base -f environment.yml
"""
VERSION = "~/%s/bin/python -c 'import platform; print(platform.python_version())'"
PIN = r"[A-Za-z0-9][A-Za-z0-9._-]*==\S+"
# conda's own form of a pin; the section `pip:` below has pip's.
CONDA_PIN = r"(?m)^ *- ([A-Za-z0-9][A-Za-z0-9._-]*==?[^=\s]+)"
# One line of either form.
ONE_PIN = r" *(?:- )?([A-Za-z0-9][A-Za-z0-9._-]*)==?([^=\s]+)"
# The installers themselves are not pinned.
TOOLS = ("pip", "setuptools", "uv", "wheel", "python", "conda")


def is_venv(want: Settings) -> bool:
    """Return whether the lock file is pip's requirements.txt, not conda's environment.yml."""
    return want.python == "venv"


def file_name(want: Settings) -> str:
    """Return the name of the lock file."""
    return "requirements.txt" if is_venv(want) else "environment.yml"


def listed(c: Connection, want: Settings) -> str:
    """List the host's packages as a lock file. Raises SetupError if that fails."""
    command = FREEZE if is_venv(want) else EXPORT
    answer = ask(c, command, PREFIXES[want.python], user=want.jupyter_user)
    if not answer.ok:
        raise SetupError(f"cannot list the packages: {answer.last_words}", host=Host.of(c).label)
    return answer.out.strip() + "\n"


def version(c: Connection, want: Settings) -> str:
    """Return Python's version, or an empty string if there is none."""
    return ask(c, VERSION, PREFIXES[want.python], user=want.jupyter_user).out.strip()


def is_conda_lock(lock: str) -> bool:
    """Return whether this is conda's kind of lock file."""
    return "dependencies:" in lock


def pins(lock: str) -> list[str]:
    """Return a lock's packages that come from an index, as name==version, without installers."""
    lines = lock.splitlines()
    if is_conda_lock(lock):
        lines = [re.sub(r"==?", "==", pin) for pin in re.findall(CONDA_PIN, lock)]
    return [
        line for line in lines if re.fullmatch(PIN, line) and normalized_name(line) not in TOOLS
    ]


def without_holes(lock: str) -> str:
    """Return a lock without pins to a JupyterLab with known vulnerabilities, and name them."""
    kept = []
    for line in lock.splitlines(keepends=True):
        found = re.fullmatch(ONE_PIN, line.rstrip())
        if found and any(
            floor.package == normalized_name(found[1]) and not floor.admits(found[2])
            for floor in FLOORS
        ):
            console.warn(
                f"{found[1]} {found[2]} of the backup has known vulnerabilities: "
                "the newer one that is installed stays"
            )
        else:
            kept.append(line)
    return "".join(kept)


def others(lock: str) -> list[str]:
    """Return a lock's lines that name another source: a folder, a repository, an address."""
    if is_conda_lock(lock):
        return []
    lines = [line for line in lock.splitlines() if line and not line.startswith("#")]
    return [line for line in lines if not re.fullmatch(PIN, line)]


def missing(c: Connection, want: Settings, lock: str) -> list[str]:
    """Return the pins that the host lacks or has in another version."""
    if is_venv(want):
        have = {name: f"{name}=={version}" for name, version in facts(c).python.versions.items()}
    else:
        # Much of what conda installs is not a Python package, so only conda can list it.
        have = {normalized_name(pin): normalized(pin) for pin in pins(present(c, want))}
    return [pin for pin in pins(lock) if have.get(normalized_name(pin)) != normalized(pin)]


def normalized(pin: str) -> str:
    """Normalize the name in a pin, so that two pins can be compared."""
    return f"{normalized_name(pin)}=={pin.partition('==')[2]}"


def present(c: Connection, want: Settings) -> str:
    """List the host's packages; in plan mode, none if it has no Python yet."""
    try:
        return listed(c, want)
    except SetupError:
        if not Host.of(c).planning:
            raise
        return ""


def install(c: Connection, want: Settings, lock: str) -> None:
    """Install the packages of a lock that the host lacks; its other packages stay."""
    lacking = missing(c, want, lock)
    if lacking:
        what = f"{counted(len(lacking), 'package')} of the backup"
        if is_venv(want):
            python.install_packages(c, want, lacking, what)
        else:
            change(
                c,
                UPDATE,
                lock,
                PREFIXES[want.python],
                user=want.jupyter_user,
                why=f"install {what}",
                long=True,
            )
    for line in others(lock):
        console.warn(f"not from an index, so install it yourself: {line}")
