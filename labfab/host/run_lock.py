"""Claim: one run at a time on a host, and the same run again after its line broke.

Owns: /var/run/labfab/lock on the host, held by the root shell as long as that lives.
"""

from __future__ import annotations

import secrets
import shlex
import time

from .. import console
from ..errors import SetupError
from .shell import Frame, Shell

# Not in /run/lock, where everybody may write: whoever has the name first could keep us out.
LOCK = "/var/run/labfab/lock"
PATIENCE = 20  # seconds to wait for the end of another run; the session of one that died ends within seconds
# Says who holds it, else who held it last. `command` keeps dash alive where the file cannot be opened.
TAKE = (
    "mkdir -p -m 700 %s && command exec 9>>%s && command exec 7>>%s && "
    "{ if ! hold 9; then echo held $(cat %s); elif ! hold 7; then echo held $(cat %s); "
    "else echo free $(cat %s); echo $$ %s >%s; fi; exec 7>&-; }"
)
# Held together by the shells that work beside that one, and may outlive it.
BESIDE = "%s.beside"
JOIN = f"command exec 9>>{BESIDE} && share 9 && echo $$ >{BESIDE}"


class RunLock:
    """The right of one run to change a host."""

    def __init__(self) -> None:
        self.mark = secrets.token_hex(8)
        self.shell: Shell | None = None  # that has held it last

    def ask(self, shell: Shell) -> Frame:
        """Ask for the lock; what is sent after it is done with the lock, if that is free."""
        lock = shlex.quote(LOCK)
        beside = BESIDE % lock
        return shell.frame(
            TAKE
            % (
                shlex.quote(LOCK.rpartition("/")[0]),
                lock,
                beside,
                lock,
                beside,
                lock,
                self.mark,
                lock,
            )
        )

    def join(self, shell: Shell) -> None:
        """Let a shell work beside the one that has the lock: no other run begins before both have ended. Raises SetupError."""
        lock = shlex.quote(LOCK)
        if not shell.frame(JOIN % (lock, lock)).result().ok:
            raise SetupError(f"{shell.label}: cannot hold {LOCK}.beside on the host")
        self.shell = shell

    def holder(self, shell: Shell, asked: Frame) -> str:
        """Who else has the lock; empty where it is ours.

        Raises SetupError when it cannot be had, or when it was not ours all the time since we had it first.
        """
        answer = asked.result()
        if not answer.ok:
            raise SetupError(f"{shell.label}: cannot hold {LOCK} on the host: {answer.last_words}")
        word, *last = answer.out.split()
        if word != "free":
            return f"pid {last[0]}" if last else "just begun"
        if self.shell and self.mark not in last:
            raise SetupError(
                f"{shell.label}: another run was at work there, or it was booted, since the line broke: look with setup.plan"
            )
        self.shell = shell
        return ""

    def take(self, shell: Shell, asked: Frame | None = None) -> bool:
        """Have the lock; False where that took a wait, so that what was read meanwhile is old. Raises SetupError."""
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
                f"{shell.label}: another run of labfab is at work there ({holder}): wait for its end, "
                "or end that process there if its laptop is gone"
            )
        return False
