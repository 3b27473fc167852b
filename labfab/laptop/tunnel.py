"""The tunnel's ssh process: one for each lab, which outlives the command that opened it.

Owns: a control socket and ~/.config/labfab/<alias>/tunnel.json.  Undo: close(alias)

Constraints:
- It is OpenSSH's own client, since a tunnel inside a Python process ends with it.
- 127.0.0.1 on both sides: localhost may be ::1, where somebody else may listen.
"""

from __future__ import annotations

import contextlib
import json
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..errors import SetupError
from . import control, files, openssh
from .kernel import trust
from .openssh import Target

__all__ = ["Target", "Tunnel", "answers", "close", "code", "open", "status"]

TRIES = 5  # ports, should another program take the free one first
KEYS = {"target": dict, "wanted_port": int, "remote_port": int, "local_port": int, "pid": int, "control": str}
KEEP = ("ControlPersist=no", "ExitOnForwardFailure=yes", "ServerAliveInterval=15", "ServerAliveCountMax=3")


@dataclass(frozen=True)
class Tunnel:
    """An open tunnel; `reused` if it was open already, `moved` if the wanted port was busy."""

    alias: str
    local_port: int
    remote_port: int
    pid: int
    reused: bool = False
    moved: bool = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.local_port}"


def open(target: Target, local_port: int, remote_port: int, timeout: int = 10) -> Tunnel:
    """Open the tunnel of a lab on the wanted local port or the next free one; an open one is used again."""
    wanted = {"target": asdict(target), "wanted_port": local_port, "remote_port": remote_port}
    with files.locked(files.config_folder(target.alias)):
        state = load(target.alias)
        old = status(target.alias)
        if old and wanted.items() <= state.items():
            return old
        end(target.alias, state)
        place = control.place(target.alias)
        control.end(place, 0)  # one left behind elsewhere; ssh would do without a socket then
        port = start(target, place, local_port, remote_port, timeout)
        pid = control.pid(place)
        if not pid:
            raise SetupError(f"{target.alias}: ssh ended at once: try again, or see ssh -v {target.alias}")
        save(target.alias, {**wanted, "local_port": port, "pid": pid, "control": str(place)})
    return Tunnel(target.alias, port, remote_port, pid, moved=port != local_port)


def status(alias: str) -> Tunnel | None:
    """Return the tunnel of a lab if it is open."""
    state = load(alias)
    pid = control.pid(Path(state["control"])) if state else 0
    if not pid:
        return None
    moved = state["local_port"] != state["wanted_port"]
    return Tunnel(alias, state["local_port"], state["remote_port"], pid, reused=True, moved=moved)


def close(alias: str) -> bool:
    """Close the tunnel of a lab, also when its host is down; False when none was open."""
    if not files.config_folder(alias).exists():
        return False
    with files.locked(files.config_folder(alias)):
        return end(alias, load(alias))


def start(target: Target, place: Path, local_port: int, remote_port: int, timeout: int) -> int:
    """Start ssh in the background and return the local port that it took."""
    keep = [part for option in (*KEEP, f"ConnectTimeout={timeout}") for part in ("-o", option)]
    for _ in range(TRIES):
        local_port = first_free(local_port)
        forward = f"127.0.0.1:{local_port}:127.0.0.1:{remote_port}"
        argv = openssh.command(target, "-f", "-N", "-M", *control.option(place), *keep, "-L", forward)
        code, errors = openssh.run(argv, 3 * timeout)
        if code == 0:
            return local_port
        if f":{local_port}: Address already in use" not in errors:
            raise openssh.explain(target, errors)
        local_port += 1
    raise SetupError(f"no free port near {local_port}: name another one in the setting local_port")


def first_free(port: int) -> int:
    """Return the first port from this one on where nobody listens on this machine."""
    for candidate in range(port, min(port + 1000, 65536)):
        with socket.socket() as caller, socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                # macOS lets us bind where another listens on all addresses, so call there as well.
                if caller.connect_ex(("127.0.0.1", candidate)) != 0:
                    listener.bind(("127.0.0.1", candidate))
                    return candidate
    raise SetupError(f"no free port from {port} on: name another one in the setting local_port")


def end(alias: str, state: dict[str, Any]) -> bool:
    """End the ssh of a lab and forget it."""
    place = Path(state["control"]) if state else control.place(alias)
    ended = control.end(place, state["pid"] if state else 0)
    state_path(alias).unlink(missing_ok=True)
    return ended


def state_path(alias: str) -> Path:
    return files.config_folder(alias) / "tunnel.json"


def load(alias: str) -> dict[str, Any]:
    """Read what is known of a lab's tunnel; nothing when the file is missing or garbled."""
    try:
        state = json.loads(state_path(alias).read_bytes())
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) and all(isinstance(state.get(key), kind) for key, kind in KEYS.items()) else {}


def save(alias: str, state: dict[str, Any]) -> None:
    try:
        files.replace(state_path(alias), json.dumps(state, indent=2).encode() + b"\n", 0o600)
    except OSError as error:
        raise SetupError(f"cannot write {state_path(alias)}: {error.strerror}") from None


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
