"""Run lock: allows one run at a time on a host; a run keeps it when it reconnects.

Owns: /var/run/labfab/lock on the host, held by the root shell for as long as that shell lives.
"""

from __future__ import annotations

import secrets
import shlex
import time

from .. import console
from ..errors import SetupError
from .shell import ConnectionLost, Frame, Shell

# Not in /run/lock: everybody may write there, so anybody could take the name first and block us.
LOCK = "/var/run/labfab/lock"
# Seconds to wait for another run. The session of a run that died ends within seconds.
PATIENCE = 20
# Prints who holds the lock, or who held it last. `command` keeps dash running if the open fails.
TAKE = (
    "mkdir -p -m 700 %(folder)s && command exec 9>>%(lock)s && command exec 7>>%(shared)s && "
    "{ if ! hold 9; then echo held $(cat %(lock)s); "
    "elif ! hold 7; then echo held $(cat %(shared)s); "
    "else echo free $(cat %(lock)s); echo $$ %(mark)s >%(lock)s; fi; exec 7>&-; }"
)
# The shells that do early work share this lock. They may outlive the shell that holds LOCK.
SHARED = "%s.beside"
JOIN = "command exec 9>>%(shared)s && share 9 && echo $$ >%(shared)s"


class RunLock:
    """The right of one run to change a host."""

    def __init__(self) -> None:
        self.mark = secrets.token_hex(8)
        self.shell: Shell | None = None  # the shell that held it last
        self.words = {
            "folder": shlex.quote(LOCK.rpartition("/")[0]),
            "lock": shlex.quote(LOCK),
            "shared": shlex.quote(SHARED % LOCK),
            "mark": self.mark,
        }

    def ask(self, shell: Shell) -> Frame:
        """Ask for the lock. If it is free, scripts sent afterwards run under it."""
        return shell.frame(TAKE % self.words)

    def join(self, shell: Shell) -> None:
        """Let a shell work alongside the one that holds the lock.

        No other run can begin before both have ended. Raises SetupError.
        """
        if not shell.frame(JOIN % self.words).result().ok:
            raise SetupError(f"cannot hold {SHARED % LOCK} on the host", host=shell.label)
        self.shell = shell

    def holder(self, shell: Shell, asked: Frame) -> str:
        """Return who else holds the lock; empty if it is ours.

        Raises SetupError if the lock cannot be taken, or if another run held it since we did.
        """
        answer = asked.result()
        if not answer.ok:
            raise SetupError(
                f"cannot hold {LOCK} on the host: {answer.last_words}", host=shell.label
            )
        word, *last = answer.out.split()
        if word != "free":
            return f"pid {last[0]}" if last else "just begun"
        if self.shell and self.mark not in last:
            raise SetupError(
                "after the connection broke, another run worked there or the host was rebooted: "
                "check with setup.plan",
                host=shell.label,
            )
        self.shell = shell
        return ""

    def holder_or_moved(self, shell: Shell, holder: str) -> str:
        """Ask again who holds the lock. Raises SetupError if the connection breaks meanwhile.

        The other run may have moved the port or closed the login over which this one waits.
        """
        try:
            return self.holder(shell, self.ask(shell))
        except ConnectionLost:
            raise SetupError(
                f"another run of labfab is at work there ({holder}), and this connection broke "
                "meanwhile: wait until that run ends, then type the same command again",
                host=shell.label,
            ) from None

    def take(self, shell: Shell, asked: Frame | None = None) -> bool:
        """Take the lock. Returns False if we had to wait: cached facts are stale.

        asked: the request, if it was already sent. Raises SetupError.
        """
        holder, until = self.holder(shell, asked or self.ask(shell)), time.monotonic() + PATIENCE
        if not holder:
            return True
        with console.working(shell.label, f"wait for another run ({holder})") as tell:
            while holder and time.monotonic() < until:
                tell("")
                time.sleep(0.5)
                holder = self.holder_or_moved(shell, holder)
        if holder:
            raise SetupError(
                f"another run of labfab is at work there ({holder}): wait until it ends, "
                "or kill that process there if its laptop is gone",
                host=shell.label,
            )
        return False
