"""Text, errors and decoding: what everything else is built on."""

from typing import NamedTuple

import pytest

from labfab import decode
from labfab.errors import SetupError
from labfab.text import counted, printable


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 changes"), (1, "1 change"), (2, "2 changes"), (11, "11 changes")]
)
def test_counted(number, said):
    """Only 1 is singular."""
    assert counted(number, "change") == said


def test_printable():
    """Control characters become ?, tabs and newlines stay."""
    assert printable("a\x1b[2J\tb\nc\r\x9b\u2028ü") == "a?[2J\tb\nc???ü"


def test_an_error_names_its_host_once():
    """The label is printed in front of the text, which stays available without it."""
    inner = SetupError("the disk\n is \x1b full", host="box")
    assert (str(inner), inner.text, inner.code) == (
        "box: the disk is ? full",
        "the disk is ? full",
        1,
    )
    assert str(SetupError(inner.text, host=inner.host)) == str(inner)
    assert str(SetupError("no host", 2)) == "no host"


class Entry(NamedTuple):
    why: str
    number: int = 0


def test_records_are_decoded():
    """Unknown fields are ignored, missing ones get their default."""
    data = b'[{"why": "a", "number": 2, "new": true}, {"why": "b"}]'
    assert decode.records(data, Entry) == [Entry("a", 2), Entry("b")]
    values = {"why": "c"}
    assert decode.record(Entry, values) == Entry("c") and values == {"why": "c"}


@pytest.mark.parametrize("data", [b"", b"{}", b'[{"number": 1}]', b'[{"why": 1}]', b"[1]"])
def test_malformed_records_are_refused(data):
    """It is not a list or not an object, or a field is missing or has the wrong type."""
    with pytest.raises(ValueError):
        decode.records(data, Entry)
