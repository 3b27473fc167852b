"""Kept tunnel: restarts a tunnel's ssh after sleep, on a new network, or after the host reboots.

Owns: a unit of systemd or an agent of launchd, and ~/.config/labfab/<alias>/tunnel.log.
Undo: forget(alias)
"""

from __future__ import annotations

import shutil
from pathlib import Path

from ..errors import SetupError
from ..local_state import files
from ..local_state.private_key import is_encrypted
from . import openssh, ports, tunnel
from .openssh import Target
from .services import here
from .tunnel import Tunnel

__all__ = ["argv", "forget", "here", "keep"]

# Notices a dead connection within half a minute. No control socket: one that a crash has left
# behind would block the next ssh.
ALIVE = (
    "ControlMaster=no",
    "ControlPath=none",
    "ExitOnForwardFailure=yes",
    "ServerAliveInterval=10",
    "ServerAliveCountMax=2",
)


def keep(
    target: Target, local_port: int, remote_port: int | str, timeout: int = 10, identity: str = ""
) -> Tunnel:
    """Let the service manager keep a lab's tunnel open, once it is up.

    A tunnel that is kept with the same settings is left as it is. timeout: seconds to connect.
    identity: the private key, for a hint if it has a passphrase. Raises SetupError if the tunnel
    does not come up; nothing is kept then.
    """
    manager = here()
    manager.refuse_without_manager()
    wanted = tunnel.wanted_state(target, local_port, remote_port)
    log = tunnel.errors_path(target.alias)
    with files.locked(files.config_folder(target.alias)):
        old, state = tunnel.status(target.alias), tunnel.load(target.alias)
        if old and old.kept and wanted.items() <= state.items():
            return old
        tunnel.end(target.alias, state)
        with ports.reserved_port(local_port) as port:
            log.unlink(missing_ok=True)
            manager.install(target.alias, argv(target, port, remote_port, timeout), log)
            details = {"local_port": port, "pid": 0, "control": "", "keeper": manager.NAME}
            tunnel.save(target.alias, {**wanted, **details})
            try:
                return tunnel.wait(target, timeout)
            except SetupError as error:
                remove(target.alias)
                raise explain(error, identity) from None


def argv(target: Target, local_port: int, remote_port: int | str, timeout: int) -> list[str]:
    """Return the ssh command that the service runs."""
    options = [part for option in (*ALIVE, f"ConnectTimeout={timeout}") for part in ("-o", option)]
    far = tunnel.far_end(target, remote_port, timeout)
    command = openssh.command(target, "-N", *options, "-L", f"127.0.0.1:{local_port}:{far}")
    return [shutil.which(command[0]) or command[0], *command[1:]]


def explain(error: SetupError, identity: str) -> SetupError:
    """Add advice about a key with a passphrase: nobody can type it when the service starts ssh."""
    if "Permission denied" not in error.text or not identity or not is_encrypted(Path(identity)):
        return error
    manager = here()
    return SetupError(
        f"the key {identity} has a passphrase, so a kept tunnel needs an agent that "
        f"{manager.NAME} knows: ssh-add '{identity}', {manager.AGENT.replace('KEY', identity)}, "
        "then tunnel.keep again"
    )


def forget(alias: str) -> bool:
    """End a kept tunnel for good, even if its host is down. Return False if none was kept."""
    if not files.config_folder(alias).exists():
        return here().remove(alias)
    with files.locked(files.config_folder(alias)):
        return remove(alias)


def remove(alias: str) -> bool:
    """Remove the service and its files; the caller holds the lock."""
    kept = here().remove(alias)
    if tunnel.load(alias).get("keeper"):
        tunnel.state_path(alias).unlink(missing_ok=True)
    tunnel.errors_path(alias).unlink(missing_ok=True)
    return kept
