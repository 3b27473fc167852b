"""Dial limit: hosts whose firewall takes only a few new connections at a time (`ufw limit`).

ufw's rule refuses the sixth new connection within 30 s from one address, and it counts what it
refuses: who keeps knocking stays outside. So a run waits before the sixth.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .. import console
from ..local_state import files

FREE, WINDOW = 5, 31  # connections; seconds, with one to spare
LOCKS: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
LIMITED: set[str] = set()
DIALED: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=FREE))


def expect(hostname: str) -> None:
    """Wait from now on before too many connections to this host."""
    LIMITED.add(hostname)


@contextmanager
def expected(hostname: str, limited: bool) -> Iterator[None]:
    """Wait only inside the block, for a host that limits connections: what follows says so."""
    if limited:
        expect(hostname)
    try:
        yield
    finally:
        LIMITED.discard(hostname)


def wait_for_turn(hostname: str) -> None:
    """Wait until the host takes one more connection, and count that one."""
    with LOCKS[hostname]:
        past = DIALED[hostname]
        if hostname in LIMITED and len(past) == FREE:
            pause(hostname, past[0] + WINDOW - time.monotonic())
        past.append(time.monotonic())


def wait_out(hostname: str) -> None:
    """Wait until a host that refuses connections takes them again."""
    pause(hostname, WINDOW)
    DIALED.pop(hostname, None)


def pause(hostname: str, seconds: float) -> None:
    """Say that the host takes no more connections for now, and wait."""
    if seconds > 0:
        console.say(
            f"[{hostname}] its firewall takes {FREE} connections in 30 s from one address "
            f"(ufw limit): waiting {seconds:.0f} s"
        )
        time.sleep(seconds)


def note(alias: str) -> Path:
    """Return the file that says that this host limits connections to sshd."""
    return files.config_folder(alias) / "connection-limit"


def remember(alias: str, limited: bool) -> None:
    """Note on the laptop whether this host limits connections to sshd."""
    place = note(alias)
    if limited == place.exists():
        return
    if limited:
        files.make_private(place.parent)
        files.replace(place, b"", 0o600)
    else:
        place.unlink(missing_ok=True)
