"""Ahead: the slow, independent part of a stage, started early in a second root shell."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from typing import NamedTuple

from fabric import Connection

from ..host.session import Host
from ..host.shell import WrongSudoPassword
from . import background
from .guard import BROKEN

Do = Callable[[Connection], object]


class Ahead(NamedTuple):
    """What a stage can do before its turn."""

    after: Sequence[str]  # starts once these stages are through, if they are in the sequence
    due: Callable[[Connection], bool]  # whether there is much to do and nothing in its way
    do: Do  # the work; the stage itself finds it done and does what is left
    needs: Sequence[str] = ()  # stages whose own early work must have ended


class EarlyWork:
    """The early work of one stage, while it goes on."""

    def __init__(
        self, main: Host, do: Do, stage: str, step: int, needs: Sequence[EarlyWork] = ()
    ) -> None:
        """Start it, once the work that it needs has ended.

        main: the session of the run. stage, step: how the journal files its changes.
        """
        self.main, self.twin, self.needs = main, main.twin(), needs
        self.twin.file_under(stage, step)
        if not needs:  # what the run knows of the host still holds
            self.twin.know(main.facts)
        self.seconds, self.done, self.wanted = 0.0, False, True
        self.future: Future[None] = background.start(self.work, do)

    def work(self, do: Do) -> None:
        """Do the work, unless a second shell is refused or work that it needs was not done."""
        granted = open_shell(self.twin, self.main)
        wait([other.future for other in self.needs])
        began = time.monotonic()
        if not (granted and self.wanted and all(other.done for other in self.needs)):
            return
        try:
            do(self.twin.c)
            self.done = True
        finally:
            self.seconds = time.monotonic() - began

    def cancel(self) -> None:
        """Do not start the work any more; what has started goes on to its end."""
        self.wanted = False

    def finish(self) -> None:
        """Wait for the end and count what was changed. Raises what the work raised."""
        wait([self.future])
        self.main.count_as_own(self.twin)
        self.twin.close_shell()
        self.future.result()


def open_shell(twin: Host, main: Host) -> bool:
    """Start the twin's root shell under the run's lock. Returns False if the host refuses one.

    sshd's MaxSessions may allow a single session.
    """
    try:
        twin.use(twin.with_password(main.sudo_password))
        twin.run_lock.join(twin.open())
    except (*BROKEN, WrongSudoPassword):
        return False
    return True
