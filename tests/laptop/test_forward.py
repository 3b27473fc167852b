"""A forward carries bytes both ways for as long as it is open."""

import socket
import threading

import paramiko
import pytest

from labfab.laptop import forward


class Channel:
    """A channel to a server that answers only once it has received everything."""

    def __init__(self) -> None:
        self.near, self.far = socket.socketpair()
        self.recv, self.sendall, self.close = self.near.recv, self.near.sendall, self.near.close
        threading.Thread(target=self.answer, daemon=True).start()

    def answer(self) -> None:
        heard = b""
        while data := self.far.recv(4096):
            heard += data
        self.far.sendall(heard.upper())
        self.far.close()

    def shutdown_write(self) -> None:
        self.near.shutdown(socket.SHUT_WR)


class Transport:
    def __init__(self, refuses: bool = False) -> None:
        self.refuses, self.asked = refuses, []

    def open_channel(self, kind, destination, origin, timeout):
        self.asked.append((kind, destination))
        if self.refuses:
            raise paramiko.ChannelException(2, "Connect failed")
        return Channel()


def said(port: int, text: bytes) -> bytes:
    """Send something, close that direction, and read the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as caller:
        caller.sendall(text)
        caller.shutdown(socket.SHUT_WR)
        heard = b""
        while data := caller.recv(4096):
            heard += data
    return heard


def test_it_carries_both_ways_and_ends_when_both_have_ended():
    transport = Transport()
    with forward.opened(transport, 9999) as port:
        assert said(port, b"hello" * 50000) == b"HELLO" * 50000
        assert said(port, b"again") == b"AGAIN"
    assert transport.asked == [("direct-tcpip", ("127.0.0.1", 9999))] * 2


def test_where_nothing_listens_the_line_is_closed():
    with forward.opened(Transport(refuses=True), 9999) as port:
        assert said(port, b"") == b""


def test_it_is_gone_afterwards():
    with forward.opened(Transport(), 9999) as port:
        pass
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=1)
