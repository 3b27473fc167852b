"""The keeper: what starts a tunnel's ssh again after sleep, another network or the host's reboot.

Owns: a unit of systemd's or an agent of launchd's, and ~/.config/labfab/<alias>/tunnel.log.  Undo: forget(alias)
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from types import ModuleType

from ..errors import SetupError
from ..local_state import files
from ..local_state.private_key import is_encrypted
from . import launchd, openssh, ports, systemd, tunnel
from .openssh import Target
from .tunnel import Tunnel

# A dead line is noticed after half a minute. No control socket: one left behind would be in the next ssh's way.
ALIVE = (
    "ControlMaster=no",
    "ControlPath=none",
    "ExitOnForwardFailure=yes",
    "ServerAliveInterval=10",
    "ServerAliveCountMax=2",
)


def here() -> ModuleType:
    """What keeps programs running on this machine."""
    return launchd if sys.platform == "darwin" else systemd


def keep(
    target: Target, local_port: int, remote_port: int | str, timeout: int = 10, identity: str = ""
) -> Tunnel:
    """Hand the tunnel of a lab to the keeper, once it is seen to come up; one that is kept alike stays as it is."""
    here().refuse()
    wanted = {"target": target._asdict(), "wanted_port": local_port, "remote_port": remote_port}
    with files.locked(files.config_folder(target.alias)):
        old, state = tunnel.status(target.alias), tunnel.load(target.alias)
        if old and old.kept and wanted.items() <= state.items():
            return old
        tunnel.end(target.alias, state)
        with ports.lent(local_port) as port:
            tunnel.errors_path(target.alias).unlink(missing_ok=True)
            here().install(
                target.alias,
                argv(target, port, remote_port, timeout),
                tunnel.errors_path(target.alias),
            )
            tunnel.save(
                target.alias,
                {**wanted, "local_port": port, "pid": 0, "control": "", "keeper": here().NAME},
            )
            try:
                return tunnel.wait(target, timeout)
            except SetupError as error:
                forget_it(target.alias)
                raise explain(error, identity) from None


def argv(target: Target, local_port: int, remote_port: int | str, timeout: int) -> list[str]:
    """The command that the keeper runs."""
    options = [part for option in (*ALIVE, f"ConnectTimeout={timeout}") for part in ("-o", option)]
    command = openssh.command(
        target,
        "-N",
        *options,
        "-L",
        f"127.0.0.1:{local_port}:{tunnel.far_end(target, remote_port, timeout)}",
    )
    return [shutil.which(command[0]) or command[0], *command[1:]]


def explain(error: SetupError, identity: str) -> SetupError:
    """Say what a key with a passphrase needs; nobody is there to type it when the keeper calls."""
    if "Permission denied" not in error.message or not identity or not is_encrypted(Path(identity)):
        return error
    return SetupError(
        f"the key {identity} has a passphrase, so a kept tunnel needs an agent that {here().NAME} knows: "
        f"ssh-add '{identity}', {here().AGENT.replace('KEY', identity)}, then tunnel.keep again"
    )


def forget(alias: str) -> bool:
    """End a kept tunnel for good, also when its host is down; False when none was kept."""
    if not files.config_folder(alias).exists():
        return here().remove(alias)
    with files.locked(files.config_folder(alias)):
        return forget_it(alias)


def forget_it(alias: str) -> bool:
    kept = here().remove(alias)
    if tunnel.load(alias).get("keeper"):
        tunnel.state_path(alias).unlink(missing_ok=True)
    tunnel.errors_path(alias).unlink(missing_ok=True)
    return kept
