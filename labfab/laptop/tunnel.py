"""The tunnel's ssh process: one for each lab, which outlives the command that opened it.

Owns: a control socket and ~/.config/labfab/<alias>/tunnel.json.  Undo: close(alias)

Constraints:
- It is OpenSSH's own client, since a tunnel inside a Python process ends with it.
- 127.0.0.1 on both sides: localhost may be ::1, where somebody else may listen.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from ..errors import SetupError
from ..local_state import files
from . import control, launchd, openssh, ports, systemd
from .api import answers, code
from .openssh import Target
from .ports import holds

__all__ = ["Target", "Tunnel", "answers", "close", "code", "open", "status"]

TRIES = 5  # ports, should another program take the free one first
KEYS = {
    "target": dict,
    "wanted_port": int,
    "remote_port": (int, str),
    "local_port": int,
    "pid": int,
    "control": str,
}
KEEP = (
    "ControlPersist=no",
    "ExitOnForwardFailure=yes",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=3",
)


class Tunnel(NamedTuple):
    """An open tunnel; `reused` if it was open already, `moved` if the wanted port was busy, `kept` by whom, if it is."""

    alias: str
    local_port: int
    remote_port: int | str  # or the path of a Unix socket, from the home on
    pid: int
    reused: bool = False
    moved: bool = False
    kept: str = ""
    proven: bool = False  # see prove()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.local_port}"


def open(target: Target, local_port: int, remote_port: int | str, timeout: int = 10) -> Tunnel:
    """Open the tunnel of a lab on the wanted local port or the next free one; an open one is used again."""
    wanted = wish(target, local_port, remote_port)
    with files.locked(files.config_folder(target.alias)):
        state = load(target.alias)
        old = found(target, local_port, remote_port)
        if old:
            return old
        if state.get("keeper"):
            return wake(target, state, wanted, timeout)
        end(target.alias, state)
        place = control.place(target.alias)
        control.end(place, 0)  # one left behind elsewhere; ssh would do without a socket then
        port = start(target, place, local_port, remote_port, timeout)
        pid = control.pid(place)
        if not pid:
            raise SetupError(
                f"{target.alias}: ssh ended at once: try again, or see ssh -v {target.alias}"
            )
        save(target.alias, {**wanted, "local_port": port, "pid": pid, "control": str(place)})
    return Tunnel(target.alias, port, remote_port, pid, moved=port != local_port)


def found(target: Target, local_port: int, remote_port: int | str) -> Tunnel | None:
    """Return the tunnel of a lab if it is open, and the wanted one."""
    wanted = wish(target, local_port, remote_port).items()
    return status(target.alias) if wanted <= load(target.alias).items() else None


def wish(target: Target, local_port: int, remote_port: int | str) -> dict[str, Any]:
    return {"target": target._asdict(), "wanted_port": local_port, "remote_port": remote_port}


def status(alias: str) -> Tunnel | None:
    """Return the tunnel of a lab if it is open."""
    state = load(alias)
    pid = process(alias, state) if state else 0
    if not pid:
        return None
    moved = state["local_port"] != state["wanted_port"]
    kept, proven = state.get("keeper", ""), state.get("proven") == control.born(pid)
    return Tunnel(alias, state["local_port"], state["remote_port"], pid, True, moved, kept, proven)


def prove(found: Tunnel) -> None:
    """Note that the host was asked whose the far end is. Another ssh, as after a reboot of the host, has to be proven anew."""
    with files.locked(files.config_folder(found.alias)):
        state = load(found.alias)
        if state and process(found.alias, state) == found.pid:
            save(found.alias, {**state, "proven": control.born(found.pid)})


def process(alias: str, state: dict[str, Any]) -> int:
    """The ssh of an open tunnel, 0 when it is not open."""
    keeper = kept_by(state)
    if keeper:
        pid = keeper.pid(alias)
        return pid if pid and holds(pid, state["local_port"]) else 0
    return control.pid(Path(state["control"]))


def kept_by(state: dict[str, Any]) -> ModuleType | None:
    """What keeps this tunnel alive, if anything does."""
    return {keeper.NAME: keeper for keeper in (systemd, launchd)}.get(str(state.get("keeper", "")))


def close(alias: str) -> bool:
    """Close the tunnel of a lab, also when its host is down; False when none was open."""
    if not files.config_folder(alias).exists():
        return False
    with files.locked(files.config_folder(alias)):
        return end(alias, load(alias))


def wake(target: Target, state: dict[str, Any], wanted: dict[str, Any], timeout: int) -> Tunnel:
    """Start the tunnel that is kept, if it is the wanted one."""
    keeper = kept_by(state)
    if not wanted.items() <= state.items() or keeper is None:
        raise SetupError(
            f"{target.alias}: the tunnel is kept with other settings: tunnel.keep makes it anew, tunnel.forget ends it"
        )
    errors_path(target.alias).unlink(missing_ok=True)
    keeper.start(target.alias)
    return wait(target, timeout)


def wait(target: Target, timeout: int) -> Tunnel:
    """Wait until a tunnel that was just started by its keeper is open. Raises what its ssh says."""
    until = time.monotonic() + timeout + 5
    said = ""
    while time.monotonic() < until:
        found = status(target.alias)
        if found:
            return found._replace(reused=False)
        said = (
            errors_path(target.alias).read_text(errors="replace")
            if errors_path(target.alias).exists()
            else ""
        )
        if said.strip() and not process(target.alias, load(target.alias)):
            break
        time.sleep(0.1)
    raise openssh.explain(target, said or "timed out")


def start(
    target: Target, place: Path, local_port: int, remote_port: int | str, timeout: int
) -> int:
    """Start ssh in the background and return the local port that it took."""
    keep = [part for option in (*KEEP, f"ConnectTimeout={timeout}") for part in ("-o", option)]
    far = far_end(target, remote_port, timeout)
    for _ in range(TRIES):
        with ports.lent(local_port) as local_port:
            argv = openssh.command(
                target,
                "-f",
                "-N",
                "-M",
                *control.option(place),
                *keep,
                "-L",
                f"127.0.0.1:{local_port}:{far}",
            )
            code, errors = openssh.run(argv, 3 * timeout)
        if code == 0:
            return local_port
        if f":{local_port}: Address already in use" not in errors:
            raise openssh.explain(target, errors)
        local_port += 1
    raise SetupError(f"no free port near {local_port}: name another one in the setting local_port")


def far_end(target: Target, remote_port: int | str, timeout: int) -> str:
    """Where the tunnel leads, as ssh wants it; only the host knows where its home is."""
    if isinstance(remote_port, int):
        return f"127.0.0.1:{remote_port}"
    home = openssh.ask(target, "pwd", timeout)
    if not home.startswith("/"):
        raise SetupError(
            f"{target.alias}: the host does not tell where its home is: does a login shell there print more than it should?"
        )
    return openssh.below(home, remote_port)


def end(alias: str, state: dict[str, Any]) -> bool:
    """End the ssh of a lab and forget it; one that is kept is only stopped."""
    keeper = kept_by(state)
    if keeper:
        return keeper.stop(alias)
    place = Path(state["control"]) if state else control.place(alias)
    ended = control.end(place, state["pid"] if state else 0)
    state_path(alias).unlink(missing_ok=True)
    return ended


def state_path(alias: str) -> Path:
    return files.config_folder(alias) / "tunnel.json"


def errors_path(alias: str) -> Path:
    """Where the ssh of a tunnel that is kept writes its errors."""
    return files.config_folder(alias) / "tunnel.log"


def load(alias: str) -> dict[str, Any]:
    """Read what is known of a lab's tunnel; nothing when the file is missing or garbled."""
    try:
        state = json.loads(state_path(alias).read_bytes())
    except (OSError, ValueError):
        return {}
    return (
        state
        if isinstance(state, dict)
        and all(isinstance(state.get(key), kind) for key, kind in KEYS.items())
        else {}
    )


def save(alias: str, state: dict[str, Any]) -> None:
    try:
        files.replace(state_path(alias), json.dumps(state, indent=2).encode() + b"\n", 0o600)
    except OSError as error:
        raise SetupError(f"cannot write {state_path(alias)}: {error.strerror}") from None
