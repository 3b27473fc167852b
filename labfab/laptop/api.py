"""Jupyter's API, asked whether anybody is there."""

from __future__ import annotations

from urllib.parse import urlsplit

from .kernel import trust


def code(url: str, token: str) -> int:
    """Return the HTTP status with which Jupyter greets a token, 0 when nothing answers; loads little, for it is on every way."""
    from http.client import HTTPConnection, HTTPException, HTTPSConnection

    at = urlsplit(url)
    secure = {"context": trust(url)} if at.scheme == "https" else {}
    caller = (HTTPSConnection if secure else HTTPConnection)(at.hostname, at.port, timeout=3, **secure)
    try:
        caller.request("GET", f"{at.path}api/status", headers={"Authorization": f"token {token}"})
        return caller.getresponse().status
    except (OSError, HTTPException):
        return 0
    finally:
        caller.close()


def answers(url: str) -> str | None:
    """Return the version of the Jupyter server behind an address, None when none answers."""
    import httpx

    try:
        found = httpx.get(f"{url.rstrip('/')}/api", timeout=3, trust_env=False, verify=trust(url)).raise_for_status().json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return None
    version = found.get("version") if isinstance(found, dict) else None
    return version if isinstance(version, str) else None
