"""Usher: shows one file to the browser, and takes it away once it was read.

A program of its own, so that neither a slow browser nor the wait for it holds up the command that began it.
Called with the path of the file, alone in a folder.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path

PATIENCE = 60  # seconds for a browser to start; a file system that notes no reading makes us wait for all of them
GRACE = 3  # seconds from the first reading, should an indexer have been quicker than the browser


def show(page: Path) -> None:
    """Open the page and remove it with its folder."""
    import webbrowser

    before, until = page.stat().st_atime_ns, time.monotonic() + PATIENCE
    if os.fork() == 0:  # a browser of an unknown name is waited for, however long it stays open
        webbrowser.open(page.as_uri())
        os._exit(0)
    try:
        while page.stat().st_atime_ns == before and time.monotonic() < until:
            time.sleep(0.1)
        time.sleep(max(0, min(GRACE, until - time.monotonic())))
    finally:
        remove(page)


def remove(page: Path) -> None:
    with contextlib.suppress(OSError):
        page.unlink()
    with contextlib.suppress(OSError):
        page.parent.rmdir()


if __name__ == "__main__":
    show(Path(sys.argv[1]))
