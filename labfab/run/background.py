"""Beside: work that goes on while the laptop waits for something else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from fabric import Connection

from .. import console
from ..host.session import Host
from ..host.shell import Shell, WrongSudoPassword
from .guard import BROKEN


class Beside(threading.Thread):
    """One function in a thread of its own; nobody waits for it at the end of a run."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        """Begin at once, speaking where this thread speaks."""
        super().__init__(daemon=True)
        self.function, self.args = function, args
        self.desk, self.out = console.desk(), console.stream()
        self.value: Any = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        with console.beside(self.desk, self.out):
            try:
                self.value = self.function(*self.args)
            except BaseException as error:  # a task library may end its run by SystemExit
                self.error = error

    def result(self) -> Any:
        """Wait for its end. Raises what it raised."""
        self.join()
        if self.error:
            raise self.error
        return self.value


class Stage(Beside):
    """Work of a stage ahead of its turn, in a second root shell of the host."""

    def __init__(
        self,
        c: Connection,
        do: Callable[[Connection], object],
        group: str,
        step: int,
        needs: Sequence[Stage] = (),
    ) -> None:
        """Begin once what it needs has ended. group, step: what the journal files it under, and whose turn it is done ahead of."""
        self.main, self.twin, self.needs = Host.of(c), twin(c), needs
        made = Host.of(self.twin)
        made.stage, made.step = group, step
        if not needs:  # what is known of the host holds as it begins
            made.facts = {section: dict(values) for section, values in self.main.facts.items()}
        self.took, self.done, self.wanted = 0.0, False, True
        super().__init__(self.work, do)

    def work(self, do: Callable[[Connection], object]) -> None:
        """Do it; nothing where that for which it waited was not done, or where the host grants no second shell (MaxSessions)."""
        granted = open_shell(self.twin, self.main)
        for other in self.needs:
            other.join()
        began = time.monotonic()
        if not (granted and self.wanted and all(other.done for other in self.needs)):
            return
        try:
            do(self.twin)
            self.done = True
        finally:
            self.took = time.monotonic() - began

    def end(self) -> None:
        """Wait for it, and take over what it did. Raises what it raised."""
        self.join()
        made = Host.of(self.twin)
        if made.changes:
            self.main.changes += made.changes
            self.main.forget()
        if made.shell:
            made.shell.close()
        self.result()


def twin(c: Connection) -> Connection:
    """The same host with facts of its own, over the same connection."""
    host = Host.of(c)
    new = Connection(
        c.host,
        user=c.user,
        port=c.port,
        config=c.config,
        gateway=c.gateway,
        connect_timeout=c.connect_timeout,
    )
    new.original_host, new.client, new.transport = c.original_host, c.client, c.transport
    made = vars(new)["_labfab"] = Host(new)
    made.label, made.depth, made.resumed = host.label, host.depth, True
    made.platform, made.run = host.platform, host.run
    return new


def open_shell(c: Connection, main: Host) -> bool:
    """Start the twin's shell by the claim and the sudo password of the run; False where the host grants none."""
    made = Host.of(c)
    try:
        made.shell = made.remember(
            Shell(c.transport, made.label, main.sudo_password), main.sudo_password
        )
        made.claim.join(made.shell)
    except (*BROKEN, WrongSudoPassword):
        return False
    return True
