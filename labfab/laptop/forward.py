"""Forward: a local port that leads into an open connection, for as long as a program needs it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import paramiko


@contextlib.contextmanager
def opened(transport: paramiko.Transport, port: int) -> Iterator[int]:
    """Lead a free local port to *port* of the host's loopback; yield its number."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, args=(server, transport, port), daemon=True).start()
        try:
            yield server.getsockname()[1]
        finally:
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)  # wakes accept()


def serve(server: socket.socket, transport: paramiko.Transport, port: int) -> None:
    """Take callers until the server is closed."""
    while True:
        try:
            caller, origin = server.accept()
        except OSError:
            return
        threading.Thread(target=join, args=(caller, origin, transport, port), daemon=True).start()


def join(caller: socket.socket, origin: tuple[str, int], transport: paramiko.Transport, port: int) -> None:
    """Carry bytes both ways until both sides have ended."""
    with caller:
        try:
            channel = transport.open_channel("direct-tcpip", ("127.0.0.1", port), origin, timeout=10)
        except (paramiko.SSHException, EOFError):
            return  # the caller sees the line closed
        with contextlib.closing(channel):
            back = threading.Thread(target=carry, args=(channel, caller), daemon=True)
            back.start()
            carry(caller, channel)
            back.join()


def carry(source: socket.socket | paramiko.Channel, sink: socket.socket | paramiko.Channel) -> None:
    """Carry bytes one way, then tell the other side that there are no more."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR) if isinstance(sink, socket.socket) else sink.shutdown_write()
