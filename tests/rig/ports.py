"""Ports: who answers on one, and which one is free."""

import socket


def banner(where: tuple[str, int]) -> bytes:
    """Read the first bytes a server sends, nothing if there is none."""
    try:
        with socket.create_connection(where, timeout=2) as connection:
            return connection.recv(16)
    except OSError:
        return b""


def free_port() -> int:
    """Find a port of this machine that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
