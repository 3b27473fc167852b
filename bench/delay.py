"""Delay: carry frames between two interfaces, each as late as over a long way.

Run as `delay.py ONE OTHER SECONDS` in a network namespace that has both; it ends with its standard input.
Frames come and go with virtio-net headers, so that what the kernel left to the network card (checksums, splitting
of large segments) stays right.
"""

from __future__ import annotations

import select
import signal
import socket
import sys
import time
from collections import deque

SOL_PACKET, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = 263, 15, 23
EVERYTHING = 0x0003  # ETH_P_ALL, in the byte order of the network below
LARGEST = 10 + 14 + 4 + 65535  # virtio-net header, Ethernet's own, a VLAN tag, IP


def opened(interface: str) -> socket.socket:
    """A raw socket that sees only what arrives at an interface."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sock.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    sock.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 20)
    sock.bind((interface, EVERYTHING))
    sock.setblocking(False)
    return sock


def carry(one: socket.socket, other: socket.socket, late: float) -> None:
    """Carry frames both ways until standard input ends."""
    across = {one: other, other: one}
    waiting: deque[tuple[float, socket.socket, bytes]] = deque()
    while True:
        patience = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        for source in select.select([one, other, sys.stdin], [], [], patience)[0]:
            if source is sys.stdin:
                return
            take(source, across[source], waiting, late)
        while waiting and waiting[0][0] <= time.monotonic():
            _, sink, frame = waiting.popleft()
            send(sink, frame)


def take(source: socket.socket, sink: socket.socket, waiting: deque, late: float) -> None:
    """Note all frames that have arrived."""
    while True:
        try:
            frame = source.recv(LARGEST)
        except BlockingIOError:
            return
        waiting.append((time.monotonic() + late, sink, frame))


def send(sink: socket.socket, frame: bytes) -> None:
    """Pass a frame on; one for which there is no room is lost, as on any line."""
    try:
        sink.send(frame)
    except OSError as error:
        print(f"delay: a frame of {len(frame)} bytes was lost: {error}", file=sys.stderr)


def main() -> None:
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C is for whoever started it, who then ends its input
    one, other = opened(sys.argv[1]), opened(sys.argv[2])
    print("ready", flush=True)
    carry(one, other, float(sys.argv[3]))


if __name__ == "__main__":
    main()
