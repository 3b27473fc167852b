"""A forward carries bytes both ways for as long as it is open."""

import contextlib
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
        with self.far, contextlib.suppress(OSError):
            while data := self.far.recv(4096):
                heard += data
            self.far.sendall(heard.upper())

    def shutdown_write(self) -> None:
        self.near.shutdown(socket.SHUT_WR)


class Lost(Channel):
    """A channel whose connection ends while a caller uses it."""

    def __init__(self) -> None:
        super().__init__()
        self.sendall = self.shutdown_write = self.write
        self.close = self.end

    def write(self, *data: bytes) -> None:
        with contextlib.suppress(OSError):  # the second time
            self.near.shutdown(socket.SHUT_RDWR)
        raise EOFError  # as paramiko's packetizer does once it is closed

    def end(self) -> None:
        self.near.close()
        raise EOFError


class Transport:
    def __init__(self, refusal: Exception | None = None, channel: type[Channel] = Channel) -> None:
        self.refusal, self.channel, self.asked = refusal, channel, []

    def open_channel(self, kind, destination, origin, timeout):
        self.asked.append((kind, destination))
        if self.refusal:
            raise self.refusal
        return self.channel()


def said(port: int, text: bytes) -> bytes:
    """Send something, close that direction, and read the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as caller:
        caller.sendall(text)
        caller.shutdown(socket.SHUT_WR)
        heard = b""
        while data := caller.recv(4096):
            heard += data
    return heard


@pytest.fixture
def ended(monkeypatch):
    """Wait for the threads of a test; none may have printed a traceback."""
    before, raised = set(threading.enumerate()), []
    monkeypatch.setattr(threading, "excepthook", lambda args: raised.append(args.exc_value))

    def wait() -> None:
        for thread in set(threading.enumerate()) - before:
            thread.join(5)
        assert raised == []

    return wait


def test_it_carries_both_ways_and_ends_when_both_have_ended():
    transport = Transport()
    with forward.opened(transport, 9999) as port:
        assert said(port, b"hello" * 50000) == b"HELLO" * 50000
        assert said(port, b"again") == b"AGAIN"
    assert transport.asked == [("direct-tcpip", ("127.0.0.1", 9999))] * 2


@pytest.mark.parametrize(
    "refusal",
    [
        paramiko.ChannelException(2, "Connect failed"),
        paramiko.SSHException("SSH session not active"),
        EOFError(),
        ConnectionResetError(104, "Connection reset by peer"),
    ],
    ids=lambda one: type(one).__name__,
)
def test_where_no_channel_opens_the_line_is_closed(refusal, ended):
    with forward.opened(Transport(refusal), 9999) as port:
        assert said(port, b"") == b""
    ended()


@pytest.mark.parametrize("text", [b"", b"hello"])
def test_where_the_connection_ends_meanwhile_the_line_is_closed(text, ended):
    with forward.opened(Transport(channel=Lost), 9999) as port:
        assert said(port, text) == b""
    ended()


def test_it_is_gone_afterwards():
    with forward.opened(Transport(), 9999) as port:
        pass
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=1)
