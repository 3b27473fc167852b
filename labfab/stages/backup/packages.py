"""Lock: the exact packages of a Python, written down and brought back."""

from __future__ import annotations

import re

from fabric import Connection

from ... import console
from ...errors import SetupError
from ...facts import facts
from ...facts.reader import PREFIXES
from ...host.changes import ask, change
from ...host.session import Host
from ...settings import Settings
from .. import python

NAMES = {"venv": "requirements.txt", "conda": "environment.yml"}
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
TOOLS = ("pip", "setuptools", "uv", "wheel", "python", "conda")  # they install the others


def kind(want: Settings) -> str:
    return "venv" if want.python == "venv" else "conda"


def name(want: Settings) -> str:
    """The file that the packages are written down in."""
    return NAMES[kind(want)]


def taken(c: Connection, want: Settings) -> str:
    """Write down the packages of the host."""
    answer = ask(
        c, FREEZE if kind(want) == "venv" else EXPORT, PREFIXES[want.python], user=want.jupyter_user
    )
    if not answer.ok:
        raise SetupError(f"{Host.of(c).label}: cannot list the packages: {answer.last_words}")
    return answer.out.strip() + "\n"


def version(c: Connection, want: Settings) -> str:
    return ask(c, VERSION, PREFIXES[want.python], user=want.jupyter_user).out.strip()


def pins(text: str) -> list[str]:
    """The packages of a lock that an index has, as name==version."""
    lines = (
        text.splitlines()
        if "dependencies:" not in text
        else [re.sub(r"==?", "==", pin) for pin in re.findall(CONDA_PIN, text)]
    )
    return [line for line in lines if re.fullmatch(PIN, line) and python.plain(line) not in TOOLS]


def others(text: str) -> list[str]:
    """What a lock has from elsewhere: a folder, a repository, an address."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return (
        [] if "dependencies:" in text else [line for line in lines if not re.fullmatch(PIN, line)]
    )


def missing(c: Connection, want: Settings, text: str) -> list[str]:
    """The pins that the host lacks, or has in another version."""
    if kind(want) == "venv":
        have = {name: f"{name}=={version}" for name, version in facts(c).python.versions.items()}
    else:  # much of a conda is no Python package, so only conda knows
        have = {python.plain(pin): spelled(pin) for pin in pins(present(c, want))}
    return [pin for pin in pins(text) if have.get(python.plain(pin)) != spelled(pin)]


def spelled(pin: str) -> str:
    return f"{python.plain(pin)}=={pin.partition('==')[2]}"


def present(c: Connection, want: Settings) -> str:
    """The packages that are there; none in a plan for a host that has no Python yet."""
    try:
        return taken(c, want)
    except SetupError:
        if not Host.of(c).planning:
            raise
        return ""


def install(c: Connection, want: Settings, text: str) -> None:
    """Bring the packages of a lock into the Python of the host; what else is there stays."""
    lacking = missing(c, want, text)
    if lacking:
        what = f"{len(lacking)} package{'s' * (len(lacking) > 1)} of the backup"
        if kind(want) == "venv":
            python.add(c, want, lacking, what)
        else:
            change(
                c,
                UPDATE,
                text,
                PREFIXES[want.python],
                user=want.jupyter_user,
                why=f"install {what}",
                long=True,
            )
    for line in others(text):
        console.warn(f"not from an index, so install it yourself: {line}")
