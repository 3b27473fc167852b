"""Bounded: limits on what a web server may send, and on how long it may take.

A time-out of a library counts the silence between two pieces, so a server that sends a byte now and
then could hold a program for ever. Its whole answer has a time here, and a size.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx

LARGEST = 16_000_000  # bytes of an answer, or of all messages of a websocket
# Bytes of a compressed answer, which may be a thousand times as long.
LARGEST_PACKED = 16_000
PLAIN = {"Accept-Encoding": "identity"}  # headers that ask for no compression
UNPACKED = ("gzip", "deflate", "identity")
WHOLE = 120  # seconds for an answer
WHOLE_SOCKET = 300  # seconds for everything that is said over a websocket


class Alarm:
    """Hangs up a connection when its time is over."""

    def __init__(self, seconds: float) -> None:
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.wait, args=(seconds,), daemon=True)
        self.line: Any = None

    def watch(self, line: Any) -> None:
        """Watch this socket from now on."""
        self.line = line

    def wait(self, seconds: float) -> None:
        """Wait in a thread of its own."""
        if not self.over.wait(seconds):
            self.ring()

    def ring(self) -> None:
        """Hang up. Whoever reads from the connection gets an error."""
        with contextlib.suppress(OSError, AttributeError, ValueError):
            self.line.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Alarm:
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.over.set()


@functools.cache
def transport_class() -> type[httpx.HTTPTransport]:
    """Return httpx's transport with limits. httpx is imported when it is needed."""
    import httpx

    class Stream(httpx.SyncByteStream):
        """The body of an answer."""

        def __init__(self, answer: httpx.Response, until: float) -> None:
            packing = answer.headers.get("content-encoding", "identity").strip().lower()
            self.inner, self.until = answer.stream, until
            self.left = LARGEST if packing == "identity" else LARGEST_PACKED
            if packing not in UNPACKED:
                self.left = 0

        def __iter__(self) -> Iterator[bytes]:
            assert isinstance(self.inner, httpx.SyncByteStream)
            for piece in self.inner:
                self.left -= len(piece)
                if self.left < 0:
                    raise httpx.ReadError("its answer is longer than any of JupyterLab's")
                if time.monotonic() > self.until:
                    raise httpx.ReadTimeout("its answer does not end")
                yield piece

        def close(self) -> None:
            assert isinstance(self.inner, httpx.SyncByteStream)
            self.inner.close()

    class Bounded(httpx.HTTPTransport):
        """Connects as httpx does. Accepts so many bytes, in so much time."""

        line: Any = None

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            until = time.monotonic() + WHOLE
            with Alarm(WHOLE) as alarm:
                alarm.watch(self.line)

                def trace(name: str, info: dict[str, Any]) -> None:
                    if name.endswith(("connect_tcp.complete", "start_tls.complete")):
                        self.line = info["return_value"].get_extra_info("socket")
                        alarm.watch(self.line)

                bounded = httpx.Request(
                    request.method,
                    request.url,
                    headers=request.headers,
                    stream=request.stream,
                    extensions={**request.extensions, "trace": trace},
                )
                answer = super().handle_request(bounded)
            return httpx.Response(
                answer.status_code,
                headers=answer.headers,
                stream=Stream(answer, until),
                extensions=answer.extensions,
            )

    return Bounded


@functools.cache
def websocket_class() -> type[Any]:
    """Return websocket-client's class with limits."""
    import websocket

    class Bounded(websocket.WebSocket):
        """A websocket that takes so many bytes, in so much time."""

        def connect(self, url: str, **options: Any) -> None:
            """Connect, and set the alarm."""
            self.left, self.alarm = LARGEST, Alarm(WHOLE_SOCKET)
            self.alarm.watch(self)
            self.alarm.__enter__()
            try:
                super().connect(url, **options)  # type: ignore[no-untyped-call]
            except BaseException:
                self.alarm.__exit__()
                raise

        def _recv(self, size: int) -> bytes:
            data: bytes = super()._recv(size)  # type: ignore[no-untyped-call]
            self.left -= len(data)
            if self.left < 0:
                raise websocket.WebSocketPayloadException("its messages are too long")
            return data

        def shutdown(self, how: int | None = None) -> None:
            """End the connection; called by the alarm with how."""
            if how is None:
                self.alarm.__exit__()
                super().shutdown()  # type: ignore[no-untyped-call]
            elif self.sock:
                self.sock.shutdown(how)

    return Bounded
