"""Log: keeps what was printed about each host of a fleet, on your own machine.

Owns: ~/.local/state/labfab/log, one folder for each of the last runs, with one file for each host.
Undo: delete it
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from pathlib import Path

from ..local_state import files
from ..text import printable

KEPT = 20  # runs
RUN = r"\d{8}-\d{6}-\d+"


def place() -> Path:
    """Return the folder of all logs."""
    base = Path(os.environ.get("XDG_STATE_HOME") or "")
    return (base if base.is_absolute() else Path.home() / ".local" / "state") / "labfab" / "log"


def begin() -> Path:
    """Create the folder of a run, and delete the oldest ones. Raises SetupError."""
    folder = files.make_private(place())
    runs = sorted(path for path in folder.iterdir() if re.fullmatch(RUN, path.name))
    for old in runs[: len(runs) - KEPT + 1]:
        shutil.rmtree(old, ignore_errors=True)
    return files.make_private(folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}")


def name_of(host: str) -> str:
    """Return a safe file name for a host as it was typed."""
    return re.sub(r"[^A-Za-z0-9@.:_-]", "_", host).lstrip(".-")[:100] + ".log"


def write(path: Path | None, text: str) -> None:
    """Add lines with the time of day. A full disk on the laptop does not stop the work."""
    if path is None:
        return
    now = time.strftime("%H:%M:%S")
    data = "".join(f"{now} {line}".rstrip() + "\n" for line in printable(text).splitlines() or [""])
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with open(handle, "a", encoding="utf-8", errors="replace") as file:
            file.write(data)
