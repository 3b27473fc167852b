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
from .guard import RUN_ERRORS

Work = Callable[[Connection], object]


class Ahead(NamedTuple):
    """The part of a stage that can start early."""

    # The stages that must have run before, if they are in the sequence.
    after: Sequence[str]
    # Whether there is enough to do, and nothing that prevents it.
    due: Callable[[Connection], bool]
    # The work. The stage itself finds it done and does the rest.
    do: Work
    # The stages whose early work must have ended before.
    needs: Sequence[str] = ()


class EarlyWork:
    """The early work of one stage, in a thread of its own."""

    def __init__(
        self, main: Host, do: Work, stage: str, step: int, needs: Sequence[EarlyWork] = ()
    ) -> None:
        """Start the thread; it waits for the work that it needs.

        main: the session of the run. stage, step: where the journal files the changes.
        """
        self.main, self.second, self.needs = main, main.second_session(), needs
        self.second.file_under(stage, step)
        # Without other early work, the facts that the run has read are still true.
        if not needs:
            self.second.adopt_facts(main.facts)
        self.seconds, self.done, self.wanted = 0.0, False, True
        self.future: Future[None] = background.start(self.work, do)

    def work(self, do: Work) -> None:
        """Do the work, unless a second shell is refused or work that it needs was not done."""
        granted = open_shell(self.second, self.main)
        wait([other.future for other in self.needs])
        began = time.monotonic()
        if not (granted and self.wanted and all(other.done for other in self.needs)):
            return
        try:
            do(self.second.c)
            self.done = True
        finally:
            self.seconds = time.monotonic() - began

    def cancel(self) -> None:
        """Do not start the work. If it has started, it continues to its end."""
        self.wanted = False

    def finish(self) -> None:
        """Wait for the end, and add the changes to the run's. Raises what the work raised."""
        wait([self.future])
        self.main.merge_changes(self.second)
        self.second.close_shell()
        self.future.result()


def open_shell(second: Host, main: Host) -> bool:
    """Start a second root shell under the run's lock. Returns False if the host refuses one.

    sshd's MaxSessions may allow a single session.
    """
    try:
        second.use(second.with_password(main.sudo_passwords.get(main.account)))
        second.run_lock.join(second.open())
    except (*RUN_ERRORS, WrongSudoPassword):
        return False
    return True
