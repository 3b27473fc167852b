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
from ..host.shell import GONE

# Detached, so that the answer arrives before the machine goes down.
DETACHED = "nohup sh -c %s >/dev/null 2>&1 &"
# A function of on_host/words.*.sh: prints what tells one boot from another.
BOOT_ID = "boot"


def restart(c: Connection, command: str) -> None:
    """Restart the host and wait until the new boot answers. command: how this system restarts."""
    host, before = Host.of(c), facts(c).system.boot_id
    change(c, DETACHED, f"sleep 1; {command}", why="reboot")
    if not host.planning:
        time.sleep(2)
        wait_for_boot(host, before)


def wait_for_boot(host: Host, before: str, patience: float = 600) -> None:
    """Log in again and again until the boot ID is another than *before*.

    patience: seconds after which it raises SetupError.
    """
    login = host.login
    host.close()
    end = time.monotonic() + patience
    with console.working(host.label, "wait for the reboot") as tell:
        while time.monotonic() < end:
            tell("")
            # An sshd that stops or starts may hang up at any point, or refuse a good key.
            with contextlib.suppress(SetupError, *GONE):
                if boot_id(host, login) != before:
                    return
            time.sleep(1)
    raise SetupError(
        f"did not come back within {patience:.0f} s after the reboot: look at its console",
        host=host.label,
    )


def boot_id(host: Host, login: Login) -> str:
    """Read the boot ID over a login of its own, which never asks for a password."""
    c = connection.fresh(host.c, *login)
    try:
        answer = Host(c, host.label).open_without_root().run(BOOT_ID, timeout=20)
        if not answer.ok:
            raise SetupError(answer.last_words)
        return answer.out.strip()
    finally:
        c.close()
