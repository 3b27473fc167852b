"""The oldest Python that is installed, with the lowest versions that pyproject.toml allows."""

import subprocess
import sys
from pathlib import Path

from .places import CACHE, REPO, RigError, say

OLDEST, NEWEST = (3, 10), (3, 14)
WHERE = CACHE / "oldest"
UV = Path(sys.executable).with_name("uv")


def found() -> dict[tuple[int, int], str]:
    """All supported Pythons of this machine: on the PATH, and those of pyenv."""
    names = [f"python3.{minor}" for minor in range(OLDEST[1], NEWEST[1] + 1)]
    pyenv = sorted((Path.home() / ".pyenv/versions").glob("3.*/bin/python"))
    pythons: dict[tuple[int, int], str] = {}
    for name in [*names, *map(str, pyenv)]:
        version = version_of(name)
        if version and OLDEST <= version <= NEWEST:
            pythons.setdefault(version, name)
    return pythons


def version_of(python: str) -> tuple[int, int] | None:
    """The version of a Python; None if it does not run."""
    code = "import sys; print(*sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    major, minor = done.stdout.split()
    return int(major), int(minor)


def prepare() -> Path:
    """Make the environment and return its Python. Raises RigError if something is missing."""
    pythons = found()
    if not pythons:
        raise RigError("no Python from 3.10 on answers")
    version = min(pythons)
    say(f"Python {'.'.join(map(str, version))} with the lowest versions that pyproject.toml allows")
    python, lowest = WHERE / "bin/python", CACHE / "lowest.txt"
    uv("venv", "--clear", str(WHERE), "--python", pythons[version])
    here = ("--python", str(python))
    uv(
        "pip",
        "compile",
        "--resolution",
        "lowest-direct",
        *here,
        "pyproject.toml",
        "-o",
        str(lowest),
    )
    uv("pip", "install", *here, "-r", str(lowest), "pytest", "pytest-xdist", "hypothesis", "six")
    uv("pip", "install", *here, "--no-deps", "patchwork==1.0.1", "-e", ".")
    return python


def uv(*words: str) -> None:
    """Run uv. Raises RigError with its last words."""
    done = subprocess.run([UV, "-q", *words], cwd=REPO, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RigError(f"uv {' '.join(words[:2])}: {done.stderr.strip()[-500:]}")
