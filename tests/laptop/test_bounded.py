"""A hostile server: answers without an end, bombs, and a byte now and then; on loopback."""

import base64
import contextlib
import gzip
import hashlib
import socket
import threading
import time
import tracemalloc

import httpx
import pytest
import websocket

from labfab.errors import SetupError
from labfab.laptop import api, bounded, kernel

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"
UPGRADE = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"


@contextlib.contextmanager
def server(*pieces: bytes, again: bytes = b"", pause: float = 0.0, accept: bool = False):
    """Answer each call with these pieces, then with one more for ever. Yield the URL."""
    over = threading.Event()

    def answer(line: socket.socket) -> None:
        with line, contextlib.suppress(OSError):
            asked = line.recv(65536)
            for piece in pieces:
                line.sendall(piece)
            if accept:
                line.sendall(accepted(asked))
            while again and not over.wait(pause):
                line.sendall(again)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                line, _ = door.accept()
                threading.Thread(target=answer, args=(line,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as door:
        threading.Thread(target=serve, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{door.getsockname()[1]}"
        finally:
            over.set()
            door.shutdown(socket.SHUT_RDWR)


def accepted(asked: bytes) -> bytes:
    key = next(
        line.split(b": ")[1]
        for line in asked.split(b"\r\n")
        if line.startswith(b"Sec-WebSocket-Key")
    )
    magic = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    said = base64.b64encode(hashlib.sha1(key + magic).digest())
    return UPGRADE + b"Sec-WebSocket-Accept: " + said + b"\r\n\r\n"


@contextlib.contextmanager
def within(seconds: float, memory: int = 60_000_000):
    tracemalloc.start()
    began = time.monotonic()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < memory
    finally:
        tracemalloc.stop()
    assert time.monotonic() - began < seconds


@pytest.fixture
def small(monkeypatch):
    """Limits that are reached soon."""
    monkeypatch.setattr(bounded, "LARGEST", 1_000_000)
    monkeypatch.setattr(bounded, "WHOLE", 1)
    monkeypatch.setattr(bounded, "WHOLE_SOCKET", 1)
    monkeypatch.setattr(api, "WHOLE", 1)


BOMB = gzip.compress(b"0" * 80_000_000)
PACKED = HEAD + b"Content-Encoding: gzip\r\n\r\n"
ENDLESS = {
    "a long page": ((HEAD + b"\r\n",), b"x" * 65536, 0.0),
    "a slow page": ((HEAD + b"\r\n",), b"x", 0.1),
    "slow headers": ((HEAD,), b"X: y\r\n", 0.1),
    "long headers": ((HEAD,), b"X: y\r\n" * 1000, 0.0),
    "a slow status": ((b"HTTP",), b"/", 0.1),
    "a bomb": ((PACKED, BOMB), b"", 0.0),
    "many bombs": ((PACKED,), BOMB, 0.0),
    "other packing": ((HEAD + b"Content-Encoding: zstd\r\n\r\n", b"x" * 1000), b"", 0.0),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_an_answer_of_http_ends(small, kind):
    pieces, again, pause = ENDLESS[kind]
    with server(*pieces, again=again, pause=pause) as url:
        with within(20), kernel.new_client(url) as client, pytest.raises(httpx.HTTPError):
            client.get("api/status")
        with within(20), pytest.raises(SetupError, match="does not answer"):
            kernel.login(url, "a password")
        with within(20):
            code, text = api.ask(url, "api")
            assert code in (0, 200) and len(text) <= api.LONGEST
            assert api.answers(url) is None


def test_one_by_another_name_is_bounded_too(small):
    pieces, again, pause = ENDLESS["a long page"]
    with server(*pieces, again=again, pause=pause) as url, within(20):
        named = url.replace("127.0.0.1", "lab.example.test")
        client = kernel.new_client(named, None, "127.0.0.1")
        with client, pytest.raises(httpx.HTTPError):
            client.get("login")


def test_an_honest_answer_arrives(small):
    body = b"x" * 900_000
    # Without "close", the client may ask again on a connection that is about to end.
    head = HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n"
    with server(head % len(body), body) as url, kernel.new_client(url) as client:
        assert client.get("").content == body
        assert client.get("").request.headers["accept-encoding"] == "identity"
    packed = gzip.compress(b"y" * 1000)
    head = HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    with server(head, packed) as url, kernel.new_client(url) as client:
        assert client.get("").content == b"y" * 1000


FRAME = b"\x81\x7f" + (2**40).to_bytes(8, "big")  # text of a terabyte
NOISE = b'\x81\x7d{"channel": "iopub", "parent_header": {"msg_id": "another"}, "msg_type": "stream", "content": {"text": "xxxxxxxxxxxxxxxxxx"}}'


@pytest.mark.parametrize(
    ("accept", "pieces", "again", "pause"),
    [
        (True, (), FRAME + b"x" * 65536, 0.0),
        (True, (), NOISE[:2] + NOISE[2:].ljust(125), 0.0),
        (True, (), NOISE[:2] + NOISE[2:].ljust(125), 0.1),
        (False, (UPGRADE,), b"X: y\r\n", 0.1),
        (False, (UPGRADE,), b"x", 0.001),
        (True, (), b"", 0.0),
    ],
    ids=["a long frame", "noise", "slow noise", "slow headers", "a long header", "hangs up"],
)
def test_what_a_kernel_says_ends(small, accept, pieces, again, pause):
    with server(*pieces, again=again, pause=pause, accept=accept) as url:
        expected = pytest.raises(SetupError, match="does not answer")
        with within(30), kernel.new_client(url) as client, expected:
            kernel.run_cell(client, "id", "1")


def test_the_private_method_that_is_counted_is_still_there():
    """websocket-client offers no limit of its own."""
    assert "_recv" in vars(websocket.WebSocket)
    assert websocket.WebSocket().frame_buffer.recv.__name__ == "_recv"
