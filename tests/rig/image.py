"""The images hosts are booted from: pulled where a registry answers, else made with Debian's own tools.

An image is named after everything that goes into it, so a second run finds it ready.
"""

import hashlib
import os
import shutil
from functools import cache
from pathlib import Path

from . import dockerd, machine
from .engine import Engine
from .places import CACHE, RigError, locked, say

HERE = Path(__file__).parent
PACKAGES = "systemd,systemd-sysv,dbus,openssh-server,sudo,iproute2,ca-certificates,python3,procps,libpam-systemd,adduser"
MACS = ("mac", "mac-intel")
SUITES = {
    "debian12": "bookworm",
    "debian13": "trixie",
    "ubuntu-like": "trixie",
    **dict.fromkeys(MACS, "bookworm"),
}
PULLED = {"ubuntu24.04": "ubuntu:24.04", "bookworm": "debian:12", "trixie": "debian:13"}
PULL_TIMEOUT = 120


def demo_flavour(engine: Engine) -> str:
    """Choose Ubuntu where it can be pulled, else Debian made here."""
    return "ubuntu24.04" if pulled(engine, "ubuntu24.04") else "debian12"


@cache
def ensure(engine: Engine, flavour: str) -> str:
    """Return the name of a flavour's image, made if it is not there."""
    with locked(f"images-{SUITES.get(flavour, flavour)}"):
        base, files = base_of(engine, flavour)
        context = CACHE / "build" / flavour
        key = write_context(context, flavour, files, base)
        name = f"labfab/{flavour}:{key}"
        if not engine.ok("image", "inspect", name):
            say(f"building the image {name}")
            engine.run(
                "build",
                "--network=host",
                "--build-arg",
                f"BASE={base}",
                "--build-arg",
                f"FLAVOUR={flavour}",
                "--build-arg",
                f"PACKAGES={PACKAGES.replace(',', ' ')}",
                "-t",
                name,
                str(context),
                timeout=600,
            )
        return name


def base_of(engine: Engine, flavour: str) -> tuple[str, dict[str, str]]:
    """Return the image a flavour starts from, and the files of this machine it needs."""
    files = machine.files()
    if flavour not in SUITES:
        if flavour not in PULLED or not pulled(engine, flavour):
            raise RigError(f"there is no image for {flavour} here; there are {', '.join(SUITES)}")
        return PULLED[flavour], files
    suite = SUITES[flavour]
    lines = machine.apt_lines(suite)
    name = f"labfab/base-{suite}:{digest(PACKAGES, *lines)}"
    if engine.ok("image", "inspect", name) or made(engine, suite, name, lines):
        if lines:
            files["etc/apt/sources.list"] = "\n".join(lines) + "\n"
        return name, files
    if pulled(engine, suite):
        return PULLED[suite], files
    raise RigError(
        f"no Debian {suite} to boot: no image registry answers, and it takes root on Debian to make one"
    )


def pulled(engine: Engine, key: str) -> bool:
    """Get a published image, if a registry answers."""
    name = PULLED[key]
    if engine.ok("image", "inspect", name):
        return True
    say(f"pulling {name} (or doing without it)")
    return engine.ok("pull", "-q", name, timeout=PULL_TIMEOUT)


def made(engine: Engine, suite: str, name: str, lines: list[str]) -> bool:
    """Make a Debian from its packages, kept as .cache/images/<suite>.tar."""
    tar = CACHE / "images" / f"{suite}.tar"
    if not tar.exists():
        if not dockerd.is_debian() or os.geteuid() != 0:
            return False
        bootstrap(suite, tar, lines)
    engine.run("import", str(tar), name, timeout=300)
    return True


def bootstrap(suite: str, tar: Path, lines: list[str]) -> None:
    """Put a minimal Debian together."""
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    if not shutil.which("mmdebstrap") or not Path(keyring).exists():
        dockerd.install_packages("mmdebstrap", "debian-archive-keyring")
    tar.parent.mkdir(parents=True, exist_ok=True)
    say(f"making a minimal Debian {suite} (half a minute)")
    half = tar.with_suffix(".half.tar")
    command = [
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        f"--include={PACKAGES}",
        f"--keyring={keyring}",
    ]
    quoted = " ".join(f"'{word}'" for word in [*command, suite, str(half), *lines])
    if dockerd.as_root(quoted + " >&2").returncode:
        raise RigError(
            f"mmdebstrap could not make Debian {suite}: is the package mirror reachable?"
        )
    half.rename(tar)


def write_context(context: Path, flavour: str, files: dict[str, str], base: str) -> str:
    """Lay out what the image is built from; return the key that names it."""
    shutil.rmtree(context, ignore_errors=True)
    shutil.copytree(HERE / "trees" / "common", context / "common")
    own = HERE / "mac" if flavour in MACS else HERE / "trees" / flavour
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(own, context / "flavour", ignore=ignored) if own.is_dir() else (
        context / "flavour"
    ).mkdir()
    (context / "machine").mkdir()
    for name, text in files.items():
        path = context / "machine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    shutil.copy((own if flavour in MACS else HERE) / "Dockerfile", context)
    paths = sorted(path for path in context.rglob("*") if path.is_file())
    return digest(base, *(f"{path.relative_to(context)} {path.read_text()}" for path in paths))


def digest(*parts: str) -> str:
    """Shorten texts to a key."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
