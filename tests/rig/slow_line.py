"""A slow line: a port of this machine that leads to a host, each byte as late as over a long way."""

import queue
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def slow_line(address: str, port: int, round_trip: float) -> Iterator[int]:
    """Lend a port that leads to another one, with a delay of half a round trip (seconds) each way."""
    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    caller, _ = server.accept()
                    threads.append(begin(join, caller, (address, port), round_trip / 2))

        threads.append(begin(serve))
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join(5)


def begin(work, *values) -> threading.Thread:
    thread = threading.Thread(target=work, args=values, daemon=True)
    thread.start()
    return thread


def join(caller: socket.socket, place: tuple[str, int], late: float) -> None:
    """Carry bytes both ways until both sides have ended."""
    time.sleep(2 * late)  # the handshake of a real line
    with caller, socket.create_connection(place) as host:
        for end in (caller, host):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        back = begin(carry, host, caller, late)
        carry(caller, host, late)
        back.join()


def carry(source: socket.socket, sink: socket.socket, late: float) -> None:
    """Carry bytes one way, each piece at its time."""
    pieces: queue.Queue[tuple[float, bytes]] = queue.Queue()
    sender = begin(send, pieces, sink)
    data = b"more"
    while data:
        try:
            data = source.recv(65536)
        except OSError:
            data = b""
        pieces.put((time.monotonic() + late, data))
    sender.join()


def send(pieces: "queue.Queue[tuple[float, bytes]]", sink: socket.socket) -> None:
    with suppress(OSError):
        while True:
            due, data = pieces.get()
            time.sleep(max(0, due - time.monotonic()))
            if not data:
                break
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
