"""The wheels the installer double carries: collected once from the package index for each Python a host may have."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from packaging.markers import Marker

from labfab.platforms import locks

from .places import CACHE, REPO, RigError, locked, say

MORE = ("humanize",)  # a small package for the setting lab.packages
OLD = (
    "jupyterlab==4.4.10",
    "jupyter_server==2.17.0",
)  # what Anaconda3 brings: below the floor, so that raising it is tested
RELEASES = {"3.11": "3.11.2", "3.13": "3.13.5"}  # of Debian 12 and 13
MACHINE = os.uname().machine
PLATFORMS = [f"manylinux_2_28_{MACHINE}", f"manylinux_2_17_{MACHINE}", f"manylinux2014_{MACHINE}"]


def collect(python: str) -> Path:
    """Return the folder of wheels for one Python such as 3.11, filled on the first call."""
    folder = CACHE / "wheels" / python
    with locked("wheels"):
        if not folder.exists() or lacking(folder, locked_for(python)):
            say(f"collecting JupyterLab's wheels for Python {python} (80 MB, once)")
            fresh = folder.with_name(f"{python}.new")
            shutil.rmtree(fresh, ignore_errors=True)
            _download(python, [*locked_for(python), *MORE], fresh)
            _download(python, OLD, fresh)
            shutil.rmtree(folder, ignore_errors=True)
            fresh.rename(folder)  # a broken download never counts as collected
    return folder


def locked_for(python: str) -> list[str]:
    """Return what labfab's locks pin for a Python such as 3.11 on Linux."""
    like = {"python_version": python, "python_full_version": RELEASES.get(python, f"{python}.0")}
    like |= {"sys_platform": "linux", "os_name": "posix", "platform_system": "Linux"}
    like |= {"implementation_name": "cpython"}
    found = []
    for line in f"{locks.text('uv')}{locks.text('jupyterlab')}".splitlines():
        pin = re.match(r"([a-z0-9-]+==\S+)(?: ; (.*?))? \\", line)
        if pin and (not pin[2] or Marker(pin[2]).evaluate(like)):
            found.append(pin[1])
    return found


def lacking(folder: Path, pins: list[str]) -> list[str]:
    """Return the pins that no wheel of a folder has."""
    names = [wheel.name.split("-") for wheel in folder.glob("*.whl")]
    have = {f"{re.sub(r'[-_.]+', '-', name).lower()}=={version}" for name, version, *_ in names}
    return [pin for pin in pins if pin not in have]


def _download(python: str, wanted: Sequence[str], folder: Path) -> None:
    """Resolve and fetch one consistent set."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--only-binary",
        ":all:",
    ]
    command += ["--implementation", "cp", "--python-version", python, "--dest", str(folder)]
    command += [word for platform in PLATFORMS for word in ("--platform", platform)]
    done = subprocess.run(
        [*command, *wanted], capture_output=True, text=True, timeout=600, check=False
    )
    if done.returncode:
        lines = (
            [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            or done.stderr.splitlines()
            or ["no word from pip"]
        )
        raise RigError(f"the package index has no wheels for Python {python}: {lines[-1]}")


def build(folder: Path) -> Path:
    """Build the wheel of labfab with what is installed, nothing fetched."""
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(folder),
        str(REPO),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise RigError(f"the wheel cannot be built: {done.stdout}{done.stderr}")
    return next(folder.glob("labfab-*.whl"))
