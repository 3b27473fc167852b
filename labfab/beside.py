"""Beside: work that goes on while the laptop waits for something else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
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

    def __init__(self, c: Connection, stage: Callable[[Connection], object], group: str, step: int, needs: Sequence[Beside] = ()) -> None:
        """Begin once what it needs has ended. group, step: what the journal files it under, and whose turn it is done ahead of."""
        self.main, self.twin, self.needs, self.took = Host.of(c), twin(c), needs, 0.0
        Host.of(self.twin).stage, Host.of(self.twin).step = group, step
        super().__init__(self.work, stage)

    def work(self, stage: Callable[[Connection], object]) -> None:
        for other in self.needs:
            other.join()
        if any(other.error for other in self.needs):
            return
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
    made.sudo_password, made.kernel, made.platform, made.began = host.sudo_password, host.kernel, host.platform, host.began
    made.shell = made.root_shell(Settings.of(c))
    made.claim.join(made.shell)
    return new
