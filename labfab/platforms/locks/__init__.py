"""Locks: exact versions, with SHA-256, of what a venv gets first: uv, JupyterLab, what they need.

Owns: uv.txt and jupyterlab.txt, in pip's format, for every Python and system. `inv lock` writes
them again; lab.update installs what is newer.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent


@cache
def text(name: str) -> str:
    """Return a lock: uv or jupyterlab."""
    return (FOLDER / f"{name}.txt").read_text()


@cache
def version(package: str) -> str:
    """Return the version of a package that is the same on every Python and system."""
    name = "uv" if package == "uv" else "jupyterlab"
    found = re.search(rf"(?m)^{re.escape(package)}==(\S+)", text(name))
    assert found, package
    return found[1]
