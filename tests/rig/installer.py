"""The installer double: what `labfab.platforms.installers` names, built here, with a real Python environment inside."""

import hashlib
import io
import json
import os
import shutil
import tarfile
from pathlib import Path

from labfab.platforms.installers import Installer, installer

from . import wheels
from .downloads import serve
from .places import CACHE, locked, say

__all__ = ["VERSIONS", "build", "double", "serve", "settings"]

HERE = Path(__file__).parent
PYTHONS = ("3.11", "3.13")  # Debian 12 and 13
# Releases that nobody publishes: with lab.python_version set to one and lab.python_mirror to the test server, no pinned checksum
# applies. The server speaks no TLS, so the settings have the checksum.
VERSIONS = {"miniforge": "99.1.0-0", "anaconda": "2099.01-0", "miniconda": "py311_99.1.0-0"}
BASE = {"miniforge": ("pip",), "anaconda": ("pip", *wheels.OLD), "miniconda": ("pip",)}
TERMS = {
    "miniforge": False,
    "anaconda": True,
    "miniconda": True,
}  # whose default channels ask for terms of service
MEGABYTES = 400  # what the base environment, its wheels and JupyterLab take


def double(
    kind: str, mirror: str, machine: str = wheels.MACHINE, system: str = "Linux"
) -> Installer:
    """Return what labfab will ask a mirror for when the double is to be installed."""
    return installer(kind, system, machine, version=VERSIONS[kind], mirror=mirror)


def settings(kind: str, mirror: str, file: Path | None = None) -> dict[str, str]:
    """Return the settings for a double that a test server has. file: another one of that name."""
    return {
        "LABFAB_PYTHON_VERSION": VERSIONS[kind],
        "LABFAB_PYTHON_MIRROR": mirror,
        "LABFAB_PYTHON_CHECKSUM": hashlib.sha256((file or build(kind)).read_bytes()).hexdigest(),
    }


def build(kind: str, pythons: tuple = PYTHONS, **host: str) -> Path:
    """Return the installer of one kind for hosts with one of these Pythons, built on the first call. host: as for double()."""
    folders = [wheels.collect(python) for python in pythons]
    files = {file.name: file for folder in folders for file in sorted(folder.glob("*.whl"))}
    files["conda_double.py"] = HERE / "conda_double.py"
    named = double(kind, "", **host)
    folder = CACHE / "installers" / _key(kind, pythons, files)
    target = folder / named.filename
    with locked("installers"):
        if not target.exists():
            say(f"building {target.name}")
            folder.mkdir(parents=True, exist_ok=True)
            _forget_older(folder, target.name)
            _write(target, named, kind, pythons, files)
    return target


def _key(kind: str, pythons: tuple, files: dict) -> str:
    """Name the folder after everything the file depends on, so that a change is never missed."""
    parts = [kind, *pythons, *sorted(files), VERSIONS[kind], *BASE[kind], str(MEGABYTES)]
    parts += [
        (HERE / name).read_text() for name in ("installer.sh", "conda_double.py", "installer.py")
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _forget_older(folder: Path, name: str) -> None:
    """Drop builds of the same name that went out of date, unless a run may still serve them."""
    for old in folder.parent.glob(f"*/{name}"):
        if folder.stat().st_mtime - old.stat().st_mtime > 24 * 3600:
            shutil.rmtree(old.parent)


def _write(target: Path, named: Installer, kind: str, pythons: tuple, files: dict) -> None:
    """Put header and payload together; the name appears only when the file is whole."""
    payload = target.with_suffix(".tar")
    with tarfile.open(payload, "w") as tar:
        for name, file in sorted(files.items()):
            tar.add(file, f"pkgs/{name}")
        about = json.dumps({"name": target.name, "conda": "26.5.3", "terms": TERMS[kind]}).encode()
        entry = tarfile.TarInfo("conda-meta/double.json")
        entry.size = len(about)
        tar.addfile(entry, io.BytesIO(about))
    fresh = target.with_suffix(".new")
    with fresh.open("wb") as out:
        out.write(_header(named, kind, pythons, payload))
        with payload.open("rb") as data:
            shutil.copyfileobj(data, out, 1 << 20)
    payload.unlink()
    os.replace(fresh, target)


def _header(named: Installer, kind: str, pythons: tuple, payload: Path) -> bytes:
    """Fill in the shell part."""
    text = (HERE / "installer.sh").read_text()
    with payload.open("rb") as data:
        md5 = hashlib.md5(usedforsecurity=False)
        for block in iter(lambda: data.read(1 << 20), b""):
            md5.update(block)
    values = {
        "NAME": named.name,
        "VERSION": named.version,
        "DEFAULT": named.name.lower(),
        "MEGABYTES": str(MEGABYTES),
    }
    values |= {"PYTHONS": " ".join(pythons), "BASE": " ".join(f"'{spec}'" for spec in BASE[kind])}
    values |= {"MD5": md5.hexdigest(), "LINES": str(text.count("\n") + 1)}
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text.encode()
