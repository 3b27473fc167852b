"""Transport: paramiko's, within limits on what a host sends.

paramiko inflates a compressed packet without any limit: half a megabyte can become a gigabyte.
"""

from __future__ import annotations

import zlib
from typing import Any

import paramiko
from paramiko.compress import ZlibCompressor

LARGEST_PACKET = 1_000_000  # bytes; RFC 4253, 6.1 asks for 32,768, and paramiko offers no more


class Inflater:
    """Inflates packets, none beyond the limit."""

    def __init__(self) -> None:
        self.stream = zlib.decompressobj()

    def __call__(self, data: bytes) -> bytes:
        """Inflate one packet. Raises SSHException, which ends the connection."""
        inflated = self.stream.decompress(data, LARGEST_PACKET)
        if self.stream.unconsumed_tail:
            raise paramiko.SSHException("the host sent a packet that is too long")
        return inflated


class Transport(paramiko.Transport):
    """A transport whose host cannot fill the memory of the laptop."""

    _compression_info: Any = {
        "zlib@openssh.com": (ZlibCompressor, Inflater),
        "zlib": (ZlibCompressor, Inflater),
        "none": (None, None),
    }
