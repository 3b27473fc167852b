"""Tunnel: one ssh process for each lab, which outlives the command that opened it.

Owns: a control socket and ~/.config/labfab/<alias>/tunnel.json.  Undo: close(alias)

Constraints:
- It is OpenSSH's own client: a tunnel inside a Python process would end with that process.
- 127.0.0.1 on both sides: localhost may be ::1, where somebody else may listen.
"""

from __future__ import annotations

import json
import shlex
import time
from pathlib import Path
from typing import Any, NamedTuple

from .. import decode
from ..errors import SetupError
from ..local_state import files
from ..on_host import loader
from . import openssh, ports, ssh_control
from .api import answers, code
from .openssh import Target
from .ports import holds
from .services import MANAGERS, Manager

__all__ = ["Target", "Tunnel", "answers", "close", "code", "open", "status"]

PROVEN = "it is"
ASK_OWNER = f'uid=$(id -u %s) && port_is_of "$uid" %s && echo "{PROVEN}"'
ASK_SOCKET = f'[ "$(id -un)" = %s ] && socket_is_ours "$HOME"/%s && echo "{PROVEN}"'
TRIES = 5  # how many ports to try, in case another program takes the free one first
State = dict[str, Any]
KEYS: dict[str, type | tuple[type, ...]] = {  # of tunnel.json
    "target": dict,
    "wanted_port": int,
    "remote_port": (int, str),
    "local_port": int,
    "pid": int,
    "control": str,
}
KEEP = ("ServerAliveInterval=15", "ServerAliveCountMax=3")


class Tunnel(NamedTuple):
    """An open tunnel."""

    alias: str
    local_port: int
    remote_port: int | str  # or the path of a Unix socket, relative to the home
    pid: int
    reused: bool = False  # it was open already
    moved: bool = False  # the wanted port was busy
    kept: str = ""  # the service manager that keeps it, if any
    proven: bool = False  # see prove_owner()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.local_port}"


def open(target: Target, local_port: int, remote_port: int | str, timeout: int = 10) -> Tunnel:
    """Open the tunnel of a lab on the wanted local port or the next free one.

    An open tunnel with the same settings is used again; one with other settings is replaced.
    remote_port: may also be the path of a Unix socket, relative to the home. timeout: seconds to
    connect.
    Raises SetupError if it does not open.
    """
    wanted = wanted_state(target, local_port, remote_port)
    with files.locked(files.config_folder(target.alias)):
        state = load(target.alias)
        old = find_open(target, local_port, remote_port)
        if old:
            return old
        if state.get("keeper"):
            return wake(target, state, wanted, timeout)
        end(target.alias, state)
        place = ssh_control.socket_path(target.alias)
        ssh_control.end(place, 0)  # with a stale socket in place, ssh would run without one
        port = start(target, place, local_port, remote_port, timeout)
        pid = ssh_control.pid(place)
        if not pid:
            again = f"ssh ended immediately: try again, or see ssh -v {target.alias}"
            raise SetupError(again, host=target.alias)
        save(target.alias, {**wanted, "local_port": port, "pid": pid, "control": str(place)})
    return Tunnel(
        alias=target.alias,
        local_port=port,
        remote_port=remote_port,
        pid=pid,
        moved=port != local_port,
    )


def find_open(target: Target, local_port: int, remote_port: int | str) -> Tunnel | None:
    """Return the tunnel of a lab if it is open with these settings."""
    wanted = wanted_state(target, local_port, remote_port).items()
    return status(target.alias) if wanted <= load(target.alias).items() else None


def wanted_state(target: Target, local_port: int, remote_port: int | str) -> State:
    """Return the part of tunnel.json that the settings determine."""
    return {"target": target._asdict(), "wanted_port": local_port, "remote_port": remote_port}


def status(alias: str) -> Tunnel | None:
    """Return the tunnel of a lab if it is open."""
    state = load(alias)
    pid = process(alias, state) if state else 0
    if not pid:
        return None
    return Tunnel(
        alias=alias,
        local_port=state["local_port"],
        remote_port=state["remote_port"],
        pid=pid,
        reused=True,
        moved=state["local_port"] != state["wanted_port"],
        kept=state.get("keeper", ""),
        proven=state.get("proven") == ssh_control.process_identity(pid),
    )


def prove_owner(opened: Tunnel) -> None:
    """Note that the host has confirmed whose JupyterLab is behind this tunnel.

    The note holds for this ssh process. After a reboot of the host a kept tunnel is a new process.
    """
    with files.locked(files.config_folder(opened.alias)):
        state = load(opened.alias)
        if state and process(opened.alias, state) == opened.pid:
            save(opened.alias, {**state, "proven": ssh_control.process_identity(opened.pid)})


def leads_to(opened: Tunnel, target: Target, account: str, timeout: int = 10) -> bool:
    """Ask the host whether an account of it, and nobody else, listens where the tunnel ends.

    Asks through the tunnel's own ssh.
    Returns False if the host does not know: macOS shows a login only its own ports.
    """
    place = load(opened.alias).get("control")
    control_socket = Path(place) if place else None
    ask = ASK_SOCKET if isinstance(opened.remote_port, str) else ASK_OWNER
    question = loader.shared("port_owner") + ask % (account, opened.remote_port)
    words = f"sh -c {shlex.quote(question)}"
    try:
        return openssh.ask(target, words, timeout, control_socket) == PROVEN
    except SetupError:
        return False


def process(alias: str, state: State) -> int:
    """Return the ID of an open tunnel's ssh process, or 0 if it is not open."""
    manager = kept_by(state)
    if manager:
        pid = manager.pid(alias)
        return pid if pid and holds(pid, state["local_port"]) else 0
    return ssh_control.pid(Path(state["control"]))


def kept_by(state: State) -> Manager | None:
    """Return the service manager that keeps this tunnel open, if any."""
    return MANAGERS.get(str(state.get("keeper", "")))


def close(alias: str) -> bool:
    """Close the tunnel of a lab, even if its host is down. Return False if none was open."""
    if not files.config_folder(alias).exists():
        return False
    with files.locked(files.config_folder(alias)):
        return end(alias, load(alias))


def wake(target: Target, state: State, wanted: State, timeout: int) -> Tunnel:
    """Start a kept tunnel. Raises SetupError if it is kept with other settings."""
    manager = kept_by(state)
    if not wanted.items() <= state.items() or manager is None:
        raise SetupError(
            "the tunnel is kept with other settings: "
            "tunnel.keep replaces it, tunnel.forget ends it",
            host=target.alias,
        )
    errors_path(target.alias).unlink(missing_ok=True)
    manager.start(target.alias)
    return wait(target, timeout)


def wait(target: Target, timeout: int) -> Tunnel:
    """Wait for a tunnel that a service manager just started. Raises SetupError with ssh's error."""
    until = time.monotonic() + timeout + 5
    errors = ""
    while time.monotonic() < until:
        opened = status(target.alias)
        if opened:
            return opened._replace(reused=False)
        errors = read_errors(target.alias)
        if errors.strip() and not process(target.alias, load(target.alias)):
            break
        time.sleep(0.1)
    raise openssh.explain(target, errors or "timed out")


def start(
    target: Target, place: Path, local_port: int, remote_port: int | str, timeout: int
) -> int:
    """Start ssh in the background and return the local port that it uses."""
    far = far_end(target, remote_port, timeout)
    keep = openssh.as_options(*KEEP, f"ConnectTimeout={timeout}")
    argv = openssh.command(target, "-f", "-N", "-M", *ssh_control.option(place), *keep)
    code, said, printed = openssh.call(argv, 3 * timeout)
    if code:
        raise openssh.explain(target, said, printed)
    for _ in range(TRIES):
        with ports.reserved_port(local_port) as local_port:
            if ssh_control.forward(place, f"127.0.0.1:{local_port}", far):
                return local_port
        local_port += 1
    ssh_control.end(place, 0)
    raise SetupError(f"no free port near {local_port}: set another one in the setting local_port")


def far_end(target: Target, remote_port: int | str, timeout: int) -> str:
    """Return the far end in the form that ssh's -L takes. Only the host knows where its home is."""
    if isinstance(remote_port, int):
        return f"127.0.0.1:{remote_port}"
    home = openssh.ask(target, "pwd", timeout)
    if not home.startswith("/"):
        raise SetupError(
            "the host does not say where its home is: does a login shell there print more than "
            "it should?",
            host=target.alias,
        )
    return openssh.below(home, remote_port)


def end(alias: str, state: State) -> bool:
    """End a lab's ssh and forget it, or stop it if it is kept. Return False if there was none."""
    manager = kept_by(state)
    if manager:
        return manager.stop(alias)
    place = Path(state["control"]) if state else ssh_control.socket_path(alias)
    ended = ssh_control.end(place, state["pid"] if state else 0)
    state_path(alias).unlink(missing_ok=True)
    return ended


def state_path(alias: str) -> Path:
    """Return the file that describes a lab's tunnel."""
    return files.config_folder(alias) / "tunnel.json"


def errors_path(alias: str) -> Path:
    """Return the file where the ssh of a kept tunnel writes its errors."""
    return files.config_folder(alias) / "tunnel.log"


def read_errors(alias: str) -> str:
    """Return what the ssh of a kept tunnel has written."""
    try:
        return errors_path(alias).read_text(errors="replace")
    except FileNotFoundError:
        return ""


def load(alias: str) -> State:
    """Read what is known about a lab's tunnel; empty if the file is missing or damaged."""
    try:
        state = decode.parsed(state_path(alias).read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(state, dict):
        return {}
    whole = all(isinstance(state.get(key), kind) for key, kind in KEYS.items())
    return state if whole else {}


def save(alias: str, state: State) -> None:
    """Write what is known about a lab's tunnel."""
    try:
        files.replace(state_path(alias), json.dumps(state, indent=2).encode() + b"\n", 0o600)
    except OSError as error:
        raise SetupError(f"cannot write {state_path(alias)}: {error.strerror}") from None
