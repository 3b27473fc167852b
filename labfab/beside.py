"""Beside: work that goes on while the laptop waits for something else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from fabric import Connection

from . import screen
from .host import Host
from .settings import Settings


class Beside(threading.Thread):
    """One function in a thread of its own; nobody waits for it at the end of a run."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        """Begin at once, speaking where this thread speaks."""
        super().__init__(daemon=True)
        self.function, self.args = function, args
        self.desk, self.out = screen.desk(), screen.stream()
        self.value: Any = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        with screen.beside(self.desk, self.out):
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
    """A stage at work in a second root shell of the host; what it needs must be there already, and what needs it waits."""

    def __init__(self, c: Connection, stage: Callable[[Connection], None]) -> None:
        """Begin at once."""
        self.main, self.twin, self.took = Host.of(c), twin(c), 0.0
        super().__init__(self.work, stage)

    def work(self, stage: Callable[[Connection], None]) -> None:
        began = time.monotonic()
        try:
            stage(self.twin)
        finally:
            self.took = time.monotonic() - began

    def end(self) -> None:
        """Wait for it, and take over what it did. Raises what it raised."""
        self.join()
        made = Host.of(self.twin)
        self.main.changes += made.changes
        self.main.forget()
        made.shell.close()
        self.result()


def twin(c: Connection) -> Connection:
    """The same host with a shell and facts of its own, over the same connection and by the same claim."""
    host = Host.of(c)
    new = Connection(c.host, user=c.user, port=c.port, config=c.config, gateway=c.gateway, connect_timeout=c.connect_timeout)
    new.original_host, new.client, new.transport = c.original_host, c.client, c.transport
    made = vars(new)["_labfab"] = Host(new)
    made.label, made.stage, made.depth, made.resumed = host.label, host.stage, host.depth, True
    made.sudo_password, made.kernel = host.sudo_password, host.kernel
    made.shell = made.claim.shell = made.root_shell(Settings.of(c))
    return new
