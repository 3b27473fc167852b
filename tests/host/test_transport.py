"""What a host sends is bounded: a small packet may not fill the memory of the laptop."""

import zlib

import paramiko
import pytest
from paramiko.transport import Transport as Original

from labfab.host import round_trips
from labfab.host.transport import LARGEST_PACKET, Inflater, Transport


def packed(*packets: bytes) -> list[bytes]:
    stream = zlib.compressobj()
    return [stream.compress(packet) + stream.flush(zlib.Z_FULL_FLUSH) for packet in packets]


def test_packets_are_inflated_as_paramiko_does():
    """One stream goes through all of them."""
    sent = [b"first", b"x" * 35_000, b"", b"last" * 5000]
    ours, theirs = Inflater(), Original._compression_info["zlib"][1]()
    assert [(ours(one), theirs(one)) for one in packed(*sent)] == [(one, one) for one in sent]


def test_a_packet_that_grows_without_end_ends_the_connection():
    (bomb,) = packed(b"\0" * 20_000_000)
    assert len(bomb) < LARGEST_PACKET
    with pytest.raises(paramiko.SSHException, match="too long"):
        Inflater()(bomb)


@pytest.mark.parametrize("kind", [Transport, round_trips.Transport])
def test_paramiko_inflates_with_it(kind):
    """A new paramiko may have other compressions, or keep them elsewhere."""
    assert kind._compression_info.keys() == Original._compression_info.keys()
    assert {pair[1] for pair in kind._compression_info.values()} == {Inflater, None}
