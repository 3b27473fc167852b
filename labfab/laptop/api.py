"""Jupyter's API: whether a server answers, and whether it accepts a token."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import urlsplit

from .. import decode
from ..text import printable
from . import bounded
from .kernel import trust

EMPTY: Mapping[str, str] = MappingProxyType({})
LONGEST = 65536  # bytes to read of an answer
WHOLE = 10  # seconds for an answer


def code(url: str, token: str) -> int:
    """Return the HTTP status with which Jupyter answers a token, 0 if nothing answers."""
    return ask(url, "api/status", {"Authorization": f"token {token}"})[0]


def answers(url: str) -> str | None:
    """Return the version of the Jupyter server at an address, None if none answers."""
    status, text = ask(url, "api")
    try:
        found = decode.parsed(text) if status == 200 else None
    except ValueError:
        return None
    version = found.get("version") if isinstance(found, dict) else None
    return printable(version) if isinstance(version, str) else None


def ask(url: str, path: str, headers: Mapping[str, str] = EMPTY) -> tuple[int, bytes]:
    """Get a page. Return its status (0 if nothing answers) and the start of its text.

    Uses http.client, which loads fast: most commands come through here.
    """
    from http.client import HTTPConnection, HTTPException, HTTPSConnection

    try:
        at = urlsplit(url)
        host, port = at.hostname or "", at.port
        if at.scheme == "https":
            tls = trust(url)
            context = tls if isinstance(tls, ssl.SSLContext) else None
            caller: HTTPConnection = HTTPSConnection(host, port, timeout=3, context=context)
        else:
            caller = HTTPConnection(host, port, timeout=3)
        with contextlib.closing(caller), bounded.Alarm(WHOLE) as alarm:
            caller.connect()
            alarm.watch(caller.sock)
            caller.request("GET", f"{at.path.rstrip('/')}/{path}", headers=dict(headers))
            answer = caller.getresponse()
            return answer.status, answer.read(LONGEST)
    except (OSError, HTTPException, ValueError):
        return 0, b""
