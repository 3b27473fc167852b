"""Restart: wait for a machine that goes down and comes back."""

from __future__ import annotations

import contextlib
import time

import paramiko

from .. import connection, screen
from .. import host as door
from ..errors import SetupError
from ..host import Host, Login

BOOT_ID = "boot"  # a word of the host: what tells one boot from another


def wait_for_boot(host: Host, before: str, patience: float = 600) -> None:
    """Dial until another boot_id than *before* answers. patience: seconds."""
    login = host.login
    host.close()
    end = time.monotonic() + patience
    with screen.working(host.label, "wait for the reboot") as tell:
        while time.monotonic() < end:
            tell("")
            # An sshd that goes down or comes up may hang up at any point, and refuse what it takes otherwise.
            with contextlib.suppress(SetupError, paramiko.SSHException, EOFError, OSError):
                if boot_id(host, login) != before:
                    return
            time.sleep(1)
    raise SetupError(f"{host.label}: did not come back within {patience:.0f} s after the reboot: look at its console")


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
