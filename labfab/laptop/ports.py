"""Ports of your own machine: which is taken, which is free."""

from __future__ import annotations

import contextlib
import socket

from ..errors import SetupError


def listens(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


def first_free(port: int) -> int:
    """Return the first port from this one on where nobody listens on this machine."""
    for candidate in range(port, min(port + 1000, 65536)):
        with socket.socket() as caller, socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                # macOS lets us bind where another listens on all addresses, so call there as well.
                if caller.connect_ex(("127.0.0.1", candidate)) != 0:
                    listener.bind(("127.0.0.1", candidate))
                    return candidate
    raise SetupError(f"no free port from {port} on: name another one in the setting local_port")
