"""Restart: restart a machine and wait until it is back."""

from __future__ import annotations

import contextlib
import time

from fabric import Connection

from .. import console
from ..errors import SetupError
from ..facts import facts
from ..host import connection
from ..host.changes import change
from ..host.session import Host, Login
from ..host.shell import CONNECTION_ERRORS

# Detached, so that the answer arrives before the machine goes down.
DETACHED = "nohup sh -c %s >/dev/null 2>&1 &"
# A function of on_host/words.*.sh: prints an ID of the present boot.
BOOT_ID = "boot_id"


def restart(c: Connection, command: str) -> None:
    """Restart the host and wait until the new boot answers. command: how this system restarts."""
    host, before = Host.of(c), facts(c).system.boot_id
    change(c, DETACHED, f"sleep 1; {command}", why="reboot")
    if not host.planning:
        time.sleep(2)
        wait_for_boot(host, before)


def wait_for_boot(host: Host, before: str, patience: float = 600) -> None:
    """Keep logging in until the boot ID differs from *before*.

    patience: seconds after which it raises SetupError.
    """
    login = host.login
    host.close()
    end = time.monotonic() + patience
    with console.working(host.label, "wait for the reboot") as tell:
        while time.monotonic() < end:
            tell("")
            # An sshd that is stopping or starting may hang up at any point, or refuse a good key.
            with contextlib.suppress(SetupError, *CONNECTION_ERRORS):
                if boot_id(host, login) != before:
                    return
            time.sleep(1)
    raise SetupError(
        f"did not come back within {patience:.0f} s after the reboot: look at its console",
        host=host.label,
    )


def boot_id(host: Host, login: Login) -> str:
    """Read the boot ID over a separate login, which never asks for a password."""
    c = connection.log_in_again(host.c, *login)
    try:
        answer = Host(c, host.label).open_without_root().run(BOOT_ID, timeout=20)
        if not answer.ok:
            raise SetupError(answer.last_words)
        return answer.out.strip()
    finally:
        c.close()
