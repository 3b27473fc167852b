"""Restart: have a machine go down, and wait until it comes back."""

from __future__ import annotations

import contextlib
import time

from fabric import Connection

from .. import console
from ..errors import SetupError
from ..facts import facts
from ..host import connection
from ..host import session as door
from ..host.changes import change
from ..host.session import Host, Login
from ..host.shell import GONE

# Detached, so that the answer arrives before the machine goes down.
DETACHED = "nohup sh -c %s >/dev/null 2>&1 &"
BOOT_ID = "boot"  # a word of the host: what tells one boot from another


def restart(c: Connection, command: str) -> None:
    """Restart the host and wait until a new boot answers. command: what this system calls it."""
    host, before = Host.of(c), facts(c).system.boot_id
    change(c, DETACHED, f"sleep 1; {command}", why="reboot")
    if not host.planning:
        time.sleep(2)
        wait_for_boot(host, before)


def wait_for_boot(host: Host, before: str, patience: float = 600) -> None:
    """Dial until another boot_id than *before* answers. patience: seconds."""
    login = host.login
    host.close()
    end = time.monotonic() + patience
    with console.working(host.label, "wait for the reboot") as tell:
        while time.monotonic() < end:
            tell("")
            # An sshd that goes down or comes up may hang up at any point, and refuse what it takes otherwise.
            with contextlib.suppress(SetupError, *GONE):
                if boot_id(host, login) != before:
                    return
            time.sleep(1)
    raise SetupError(
        f"{host.label}: did not come back within {patience:.0f} s after the reboot: look at its console"
    )


def boot_id(host: Host, login: Login) -> str:
    """Ask for it by a login of its own, which never asks anybody for a password."""
    c = connection.fresh(host.c, *login)
    try:
        answer = door.Shell(c.transport, host.label, root=False).run(BOOT_ID, timeout=20)
        if not answer.ok:
            raise SetupError(answer.last_words)
        return answer.out.strip()
    finally:
        c.close()
