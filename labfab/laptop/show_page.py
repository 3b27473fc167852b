"""Show page: opens one file in the browser, and removes it once it has been read.

A program of its own, so that the command that starts it need not wait for a slow browser.
Called with the path of a file that is alone in its folder.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path

# Seconds for a browser to start. If the file system notes no access times, all of them pass.
PATIENCE = 60
GRACE = 3  # seconds after the first access, in case an indexer was faster than the browser


def show(page: Path) -> None:
    """Open the page, then remove it with its folder."""
    import webbrowser

    before, until = page.stat().st_atime_ns, time.monotonic() + PATIENCE
    # webbrowser waits for a browser that it does not know until that is closed.
    if os.fork() == 0:
        webbrowser.open(page.as_uri())
        os._exit(0)
    try:
        while page.stat().st_atime_ns == before and time.monotonic() < until:
            time.sleep(0.1)
        time.sleep(max(0, min(GRACE, until - time.monotonic())))
    finally:
        remove(page)


def remove(page: Path) -> None:
    """Remove a page and its folder."""
    with contextlib.suppress(OSError):
        page.unlink()
    with contextlib.suppress(OSError):
        page.parent.rmdir()


if __name__ == "__main__":
    show(Path(sys.argv[1]))
