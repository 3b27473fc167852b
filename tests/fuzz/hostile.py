"""Hostile text, and how a parser may answer it: with a value, or with one harmless line."""

import base64
import contextlib
import json
import re
import signal
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import strategies as st

from labfab.errors import SetupError
from labfab.text import printable

SECONDS = 3.0  # of the processor's time for one input
# What has a meaning to some parser, or breaks one.
PIECES = (
    *(
        "",
        " ",
        "\t",
        "\n",
        "\r\n",
        "\r",
        "\0",
        "\x0b",
        "\x1c",
        "\x85",
        "\u2028",
        "\u202e",
        "\udc80",
    ),
    *(
        "\x1b]0;x\x07",
        "\x9b2J",
        "=",
        ".",
        ":",
        ",",
        ";",
        "#",
        "@",
        "~",
        "~nobody",
        "%",
        "*",
        "?",
        "!",
        "|1|",
    ),
    *('"', "'", "\\", "`", "$(id)", "${HOME}", "/", "../", "-", "--", "\ufeff", "é", "²", "٣", "𝟙"),
    *(
        "0",
        "1",
        "-1",
        "22",
        "65536",
        "1e999",
        "nan",
        "9" * 5000,
        "true",
        "null",
        "[lab]",
        "[",
        "]",
        "{",
        "}",
    ),
    *(
        "owner=root",
        "uid=0",
        "pid=1",
        "ssh-ed25519",
        "AAAA",
        "labfab",
        "Host ",
        "Match ",
        "-----BEGIN ",
        "[" * 3000,
    ),
    *(
        "# >>> labfab a >>>\n",
        "# <<< labfab a <<<\n",
        '{"number": ',
        '{"undone": ',
        "root@192.0.2.1:22",
    ),
)
TEXT = st.lists(st.sampled_from(PIECES) | st.text(st.characters(), max_size=8), max_size=8).map(
    "".join
)
LINE = TEXT.map(lambda text: text.replace("\n", ""))
DATA = (
    TEXT.map(lambda text: text.encode(errors="surrogateescape" if clean(text) else "ignore"))
    | st.binary()
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | LINE,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(LINE, inner, max_size=4),
    max_leaves=12,
)


def clean(text: str) -> bool:
    """Return whether all its lone surrogates stand for bytes."""
    return not re.search(r"[\ud800-\udc7f\udd00-\udfff]", text)


def documents(*keys: str) -> st.SearchStrategy[Any]:
    """JSON objects with some of these keys, their values wild."""
    return st.dictionaries(st.sampled_from(keys) | LINE, JSON, max_size=len(keys) + 2)


def dumped(values: Any) -> bytes:
    return json.dumps(values).encode()


def blob(values: Any) -> str:
    return base64.b64encode(dumped(values)).decode()


def attempt(call: Callable[..., Any], *args: Any, **more: Any) -> Any:
    """Return what a call returns; None after a SetupError, which must be one harmless line."""
    try:
        with limited():
            return call(*args, **more)
    except SetupError as error:
        line = str(error)
        assert line == printable(line) and "\n" not in line, repr(line)
        return None


@contextlib.contextmanager
def limited(seconds: float = SECONDS) -> Iterator[None]:
    """Fail if the block takes more time of the processor; waiting for it does not count."""

    def over(*_: Any) -> None:
        raise TimeoutError(f"it takes more than {seconds} seconds")

    before = signal.signal(signal.SIGVTALRM, over)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
