"""Run lock: one run at a time on a host, and the same run again after its connection broke.

Owns: /var/run/labfab/lock on the host, held by the root shell as long as that lives.
"""

from __future__ import annotations

import secrets
import shlex
import time

from .. import console
from ..errors import SetupError
from .shell import Frame, Shell

# Not in /run/lock, where everybody may write: whoever takes the name first could keep us out.
LOCK = "/var/run/labfab/lock"
# Seconds to wait for another run. The session of a run that died ends within seconds.
PATIENCE = 20
# Prints who holds the lock, or who held it last. `command` keeps dash alive if the open fails.
TAKE = (
    "mkdir -p -m 700 %(folder)s && command exec 9>>%(lock)s && command exec 7>>%(shared)s && "
    "{ if ! hold 9; then echo held $(cat %(lock)s); elif ! hold 7; then echo held $(cat %(shared)s); "
    "else echo free $(cat %(lock)s); echo $$ %(mark)s >%(lock)s; fi; exec 7>&-; }"
)
# Held by the shells that do early work, together. They may outlive the one that holds LOCK.
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
        """Ask for the lock. What is sent after it runs under the lock, if the lock is free."""
        return shell.frame(TAKE % self.words)

    def join(self, shell: Shell) -> None:
        """Let a shell work alongside the one that holds the lock.

        No other run begins before both have ended. Raises SetupError.
        """
        if not shell.frame(JOIN % self.words).result().ok:
            raise SetupError(f"cannot hold {SHARED % LOCK} on the host", host=shell.label)
        self.shell = shell

    def holder(self, shell: Shell, asked: Frame) -> str:
        """Say who else holds the lock; empty if it is ours.

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
                "since the connection broke, another run was at work there or it was rebooted: "
                "look with setup.plan",
                host=shell.label,
            )
        self.shell = shell
        return ""

    def take(self, shell: Shell, asked: Frame | None = None) -> bool:
        """Take the lock. Returns False if we had to wait: cached facts are stale.

        asked: the question, if it was sent already. Raises SetupError.
        """
        holder, until = self.holder(shell, asked or self.ask(shell)), time.monotonic() + PATIENCE
        if not holder:
            return True
        with console.working(shell.label, f"wait for another run ({holder})") as tell:
            while holder and time.monotonic() < until:
                tell("")
                time.sleep(0.5)
                holder = self.holder(shell, self.ask(shell))
        if holder:
            raise SetupError(
                f"another run of labfab is at work there ({holder}): wait for its end, "
                "or end that process there if its laptop is gone",
                host=shell.label,
            )
        return False
