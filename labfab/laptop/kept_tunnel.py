"""Kept tunnel: restarts a tunnel's ssh after sleep, on a new network, or after the host reboots.

Owns: a unit of systemd or an agent of launchd, and ~/.config/labfab/<alias>/tunnel.log.
Undo: forget(alias)
"""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

from ..errors import SetupError
from ..local_state import files
from ..local_state.private_key import is_encrypted
from . import openssh, ports, ssh_control, tunnel
from .openssh import Target
from .services import here
from .tunnel import Tunnel

__all__ = ["argv", "forget", "here", "keep"]

# Notices a dead connection within half a minute.
ALIVE = ("ServerAliveInterval=10", "ServerAliveCountMax=2")
# A control socket that a crash has left behind would block the next ssh. exec: the service is ssh.
START = 'rm -f "$1"; shift; exec "$@"'


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
        # One of an earlier version has no socket, and may carry forwards of the user's.
        if old and old.kept and state["control"] and wanted.items() <= state.items():
            return old
        tunnel.end(target.alias, state)
        with ports.reserved_port(local_port) as port:
            log.unlink(missing_ok=True)
            manager.install(target.alias, argv(target, port, remote_port, timeout), log)
            control = str(socket_path(target.alias))
            details = {"local_port": port, "pid": 0, "control": control, "keeper": manager.NAME}
            tunnel.save(target.alias, {**wanted, **details})
            try:
                return tunnel.wait(target, timeout)
            except SetupError as error:
                remove(target.alias)
                raise explain(error, identity) from None


def argv(target: Target, local_port: int, remote_port: int | str, timeout: int) -> list[str]:
    """Return the command that the service runs: an ssh that forwards the port once it is up.

    ssh runs its LocalCommand once it is logged in, with the user's shell, whichever that is. That
    must not wait: ssh answers on its socket only afterwards. Without its port, ssh ends, and the
    service starts it again.
    """
    control = socket_path(target.alias)
    far = tunnel.far_end(target, remote_port, timeout)
    forward = ssh_control.command(control, "forward", "-L", f"127.0.0.1:{local_port}:{far}")
    options = openssh.as_options(
        *ALIVE,
        f"ConnectTimeout={timeout}",
        "PermitLocalCommand=yes",
        f"LocalCommand={after_login(forward, ssh_control.command(control, 'exit'))}",
    )
    ssh = openssh.command(target, "-N", "-M", *ssh_control.option(control), *options)
    ssh[0] = shutil.which(ssh[0]) or ssh[0]
    return ["/bin/sh", "-c", START, "labfab", str(control), *ssh]


def socket_path(alias: str) -> Path:
    """Return the control socket of a kept tunnel, which is not that of tunnel.open."""
    files.check_alias(alias)
    return ssh_control.socket_path(f"{alias} kept")


def after_login(forward: list[str], end: list[str]) -> str:
    """Return the LocalCommand that runs one command of ssh, and the second one if that fails."""
    program = shutil.which("ssh") or "ssh"
    first, second = (shlex.join([program, "-q", *words[1:]]) for words in (forward, end))
    return f"/bin/sh -c {shlex.quote(f'{{ {first} || {second}; }} >&2 &')}".replace("%", "%%")


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
