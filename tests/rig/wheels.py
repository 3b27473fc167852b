"""The wheels the installer double carries: collected once from the package index for each Python a host may have."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from .places import CACHE, REPO, RigError, locked, say

NEW = (
    "jupyterlab",
    "jupyter_server>=2.21",
    "pip",
    "uv",
    "humanize",
)  # humanize: a small package for the setting lab.packages
OLD = (
    "jupyterlab==4.4.10",
    "jupyter_server==2.17.0",
)  # what Anaconda3 brings: below the floor, so that raising it is tested
MACHINE = os.uname().machine
PLATFORMS = [f"manylinux_2_28_{MACHINE}", f"manylinux_2_17_{MACHINE}", f"manylinux2014_{MACHINE}"]


def collect(python: str) -> Path:
    """Return the folder of wheels for one Python such as 3.11, filled on the first call."""
    folder = CACHE / "wheels" / python
    with locked("wheels"):
        if not folder.exists():
            say(f"collecting JupyterLab's wheels for Python {python} (80 MB, once)")
            fresh = folder.with_name(f"{python}.new")
            shutil.rmtree(fresh, ignore_errors=True)
            for wanted in (NEW, OLD):
                _download(python, wanted, fresh)
            fresh.rename(folder)  # a broken download never counts as collected
    return folder


def _download(python: str, wanted: tuple, folder: Path) -> None:
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
