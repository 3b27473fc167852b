"""Jupyter's API, asked whether anybody is there."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import urlsplit

from .kernel import trust

EMPTY: Mapping[str, str] = MappingProxyType({})
LONGEST = 65536  # bytes that are read of an answer


def code(url: str, token: str) -> int:
    """Return the HTTP status with which Jupyter greets a token, 0 when nothing answers."""
    return ask(url, "api/status", {"Authorization": f"token {token}"})[0]


def answers(url: str) -> str | None:
    """Return the version of the Jupyter server behind an address, None when none answers."""
    status, text = ask(url, "api")
    try:
        found = json.loads(text) if status == 200 else None
    except ValueError:
        return None
    version = found.get("version") if isinstance(found, dict) else None
    return version if isinstance(version, str) else None


def ask(url: str, path: str, headers: Mapping[str, str] = EMPTY) -> tuple[int, bytes]:
    """Get a page: its status and the beginning of its text, 0 when nothing answers; loads little, for it is on every way."""
    from http.client import HTTPConnection, HTTPException, HTTPSConnection

    at = urlsplit(url)
    secure = {"context": trust(url)} if at.scheme == "https" else {}
    try:
        caller = (HTTPSConnection if secure else HTTPConnection)(
            at.hostname, at.port, timeout=3, **secure
        )
        with contextlib.closing(caller):
            caller.request("GET", f"{at.path.rstrip('/')}/{path}", headers=headers)
            answer = caller.getresponse()
            return answer.status, answer.read(LONGEST)
    except (OSError, HTTPException, ValueError):
        return 0, b""
