"""Forward: a local port that leads into an open connection while a program needs it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any, cast

import paramiko
from paramiko.common import cMSG_CHANNEL_OPEN

# What either end raises once the other has gone. paramiko's writes raise EOFError when the
# connection is closed under them; a request for a channel raises whatever ended the connection.
GONE = (paramiko.SSHException, EOFError, OSError)


@contextlib.contextmanager
def opened(transport: paramiko.Transport, place: int | str) -> Iterator[int]:
    """Forward a free local port to the host, and yield its number.

    place: a port of the host's loopback, or the path of a Unix socket there.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, args=(server, transport, place), daemon=True).start()
        try:
            yield server.getsockname()[1]
        finally:
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)  # wakes accept()


def serve(server: socket.socket, transport: paramiko.Transport, place: int | str) -> None:
    """Accept callers until the server is closed."""
    while True:
        try:
            caller, origin = server.accept()
        except OSError:
            return
        threading.Thread(target=join, args=(caller, origin, transport, place), daemon=True).start()


def join(
    caller: socket.socket, origin: tuple[str, int], transport: paramiko.Transport, place: int | str
) -> None:
    """Carry bytes both ways until both sides have ended."""
    with (
        caller,
        contextlib.suppress(*GONE),  # the caller sees its connection closed
        contextlib.closing(open_channel(transport, place, origin)) as channel,
    ):
        back = threading.Thread(target=carry, args=(channel, caller), daemon=True)
        back.start()
        carry(caller, channel)
        back.join()


def open_channel(
    transport: paramiko.Transport, place: int | str, origin: tuple[str, int]
) -> paramiko.Channel:
    """Open a channel to a port or a Unix socket of the host."""
    if isinstance(place, int):
        return transport.open_channel("direct-tcpip", ("127.0.0.1", place), origin, timeout=10)
    to_socket = cast(paramiko.Transport, ToSocket(transport, place))
    kind = "direct-streamlocal@openssh.com"
    return paramiko.Transport.open_channel(to_socket, kind, timeout=10)


class ToSocket:
    """A transport that adds the path of a Unix socket to the request for a channel.

    paramiko cannot do that. The message is defined in section 2.4 of OpenSSH's PROTOCOL.
    """

    def __init__(self, transport: paramiko.Transport, path: str) -> None:
        self.transport: Any = transport
        self.path = path

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)

    def _send_user_message(self, message: paramiko.Message) -> None:
        if message.asbytes()[:1] == cMSG_CHANNEL_OPEN:
            for part in (self.path, ""):
                message.add_string(part)
            message.add_int(0)
        self.transport._send_user_message(message)


def carry(source: socket.socket | paramiko.Channel, sink: socket.socket | paramiko.Channel) -> None:
    """Carry bytes one way, then tell the other side that no more will come."""
    with contextlib.suppress(*GONE):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(*GONE):
        if isinstance(sink, socket.socket):
            sink.shutdown(socket.SHUT_WR)
        else:
            sink.shutdown_write()
