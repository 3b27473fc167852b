"""Finished labs: setup.full runs once for each flavour; tests that need its result boot a copy.

A copy is the host's disk after setup.full (an image) and what the laptop then knew (a folder), with
the new address in place of the old one. The host keys are the same, so the pinned ones fit. Both
are kept for a day under a name made from the code that made them. JupyterLab does not run yet in a
copy, as after a reboot.
"""

import datetime
import re
import shutil
from pathlib import Path

from . import image
from .engine import Engine
from .fab import Fab, fab_with_home
from .host import Host
from .places import CACHE, CLONE, REPO, locked, say

FLAVOURS = ("debian12", "debian13")  # those that tests ask for
SETTINGS = {"LABFAB_PYTHON": "venv"}
PORT = 292  # where sshd listens once setup.full is done
SOURCES = ("labfab", "config", "tests/rig/finished.py", "tests/rig/host.py")
# Nothing runs with a tunnel's socket or a half-written file when the disk is saved.
QUIET = """\
pkill -TERM -u lab -f bin/jupyter-lab
for i in $(seq 100); do pgrep -u lab -f bin/jupyter-lab >/dev/null || exit 0; sleep 0.1; done
exit 1
"""


def boot(engine: Engine, fab: Fab, flavour: str, name: str) -> Host:
    """Boot a host on which setup.full has run, and let the home of `fab` know it as homelab."""
    if not engine.reaches_containers:  # sshd moves to a published port there, each host to its own
        host = Host.boot(flavour, name, key=fab.key, engine=engine)
        set_up(fab, host)
        return host
    saved, kept = ensure(engine, flavour, fab.log)
    host = Host.copy_of(engine, saved, name, PORT)
    move_in(kept, fab.home, host.address)
    return host


def ensure(engine: Engine, flavour: str, log: Path | None = None) -> tuple[str, Path]:
    """Return the image of a finished lab and its home; make them if they are not there."""
    key = image.digest(image.ensure(engine, flavour), sources(), str(datetime.date.today()))
    saved, kept = f"labfab/lab-{flavour}:{key}", CACHE / "labs" / f"{flavour}-{key}"
    with locked(f"lab-{flavour}"):
        if not (kept.exists() and engine.ok("image", "inspect", saved)):
            make(engine, flavour, saved, kept, log)
    return saved, kept


def make(engine: Engine, flavour: str, saved: str, kept: Path, log: Path | None) -> None:
    """Set a host up and keep its disk and the laptop's files."""
    say(f"setting up a {flavour} lab to copy")
    forget_old(engine, flavour)
    with fab_with_home(log) as fab:
        host = Host.boot(flavour, "homelab", key=fab.key, engine=engine)
        try:
            set_up(fab, host)
            fab("-H", "homelab", "tunnel.close").ok()
            host.run(QUIET)
            host.save(saved, label(flavour))
            write_home(fab.home, kept, host.address)
        finally:
            host.stop()


def set_up(fab: Fab, host: Host) -> None:
    fab.on(host, "setup.full", env=SETTINGS).ok()


def label(flavour: str) -> str:
    return f"labfab.lab={CLONE}-{flavour}"


def forget_old(engine: Engine, flavour: str) -> None:
    """Remove the labs of earlier code and earlier days, unless one is in use."""
    for old in engine.run("images", "-q", "--filter", f"label={label(flavour)}").split():
        engine.ok("rmi", "-f", old)
    for folder in (CACHE / "labs").glob(f"{flavour}-*"):
        shutil.rmtree(folder)


def sources() -> str:
    """Digest all that decides what a finished lab looks like."""
    places = [REPO / name for name in SOURCES]
    found = [path for place in places for path in [place, *sorted(place.rglob("*"))]]
    files = [path for path in found if path.is_file() and "__pycache__" not in path.parts]
    return image.digest(*(f"{path} {path.read_bytes().hex()}" for path in files))


def write_home(home: Path, kept: Path, address: str) -> None:
    """Keep a home: its files, where it was, and the address of its host."""
    half = kept.with_name(f"{kept.name}.half")
    shutil.rmtree(half, ignore_errors=True)
    shutil.copytree(home, half / "home", symlinks=True, ignore=odd_ones)
    (half / "was").write_text(f"{home}\n{address}\n")
    half.rename(kept)


def odd_ones(folder: str, names: list[str]) -> list[str]:
    """Name what cannot be copied: sockets and pipes."""
    paths = {name: Path(folder) / name for name in names}
    return [name for name, path in paths.items() if path.is_socket() or path.is_fifo()]


def move_in(kept: Path, home: Path, address: str) -> None:
    """Copy a kept home over another one, with the new paths and the new address of its host."""
    old_home, old_address = (kept / "was").read_text().splitlines()
    shutil.copytree(kept / "home", home, symlinks=True, dirs_exist_ok=True)
    pattern = re.compile(rb"(?<![\d.])%b(?![\d.])" % re.escape(old_address.encode()))
    for copied in (kept / "home").rglob("*"):
        path = home / copied.relative_to(kept / "home")
        if copied.is_symlink() or not copied.is_file():
            continue
        before = path.read_bytes()
        after = pattern.sub(address.encode(), before).replace(old_home.encode(), str(home).encode())
        if after != before:
            path.write_bytes(after)
