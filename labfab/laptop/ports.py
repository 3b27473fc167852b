"""Ports: which ports of your own machine are taken, and which are free."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Collection, Iterator
from pathlib import Path

from ..errors import SetupError

reserving = threading.Lock()
reserved: set[int] = set()  # hosts that are set up in parallel each look for a port


def holds(process: int, port: int) -> bool:
    """Return whether this very process listens on a port of 127.0.0.1.

    While an ssh reconnects, somebody else may have taken its port.
    """
    try:
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    except OSError:  # no /proc on macOS
        return lsof(process, port) == str(process)
    here = f"{int.from_bytes(socket.inet_aton('127.0.0.1'), sys.byteorder):08X}:{port:04X}"
    sockets = {f"socket:[{row[9]}]" for row in rows if (row[1], row[3]) == (here, "0A")}
    with contextlib.suppress(OSError):  # it may have ended by now
        return any(os.readlink(one) in sockets for one in Path(f"/proc/{process}/fd").iterdir())
    return False


def lsof(process: int, port: int) -> str:
    """Return the process ID if lsof says that this process listens on this port."""
    where = [f"-iTCP@127.0.0.1:{port}", "-sTCP:LISTEN"]
    argv = ["lsof", "-nP", "-a", "-t", "-p", str(process), *where]
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:
        return ""


@contextlib.contextmanager
def reserved_port(port: int) -> Iterator[int]:
    """Lend the first free port from this one on to one thread, until something listens there."""
    with reserving:
        found = first_free(port, reserved)
        reserved.add(found)
    try:
        yield found
    finally:
        reserved.discard(found)


def first_free(port: int, but: Collection[int] = ()) -> int:
    """Return the first port, from this one on, where nobody listens. but: ports to skip."""
    for candidate in (one for one in range(port, min(port + 1000, 65536)) if one not in but):
        with socket.socket() as caller, socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                # macOS lets us bind where another listens on all addresses, so connect as well.
                if caller.connect_ex(("127.0.0.1", candidate)) != 0:
                    listener.bind(("127.0.0.1", candidate))
                    return candidate
    raise SetupError(f"no free port from {port} on: set another one in the setting local_port")
