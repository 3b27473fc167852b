"""Beside: work that goes on while the laptop waits for something else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import paramiko
from fabric import Connection

from . import screen
from .errors import SetupError
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
    """Work of a stage ahead of its turn, in a second root shell of the host."""

    def __init__(self, c: Connection, do: Callable[[Connection], object], group: str, step: int, needs: Sequence[Stage] = ()) -> None:
        """Begin once what it needs has ended. group, step: what the journal files it under, and whose turn it is done ahead of."""
        self.main, self.group, self.step, self.needs = Host.of(c), group, step, needs
        self.made: Host | None = None  # what the second shell knows and did
        self.took, self.done = 0.0, False
        super().__init__(self.work, c, do)

    def work(self, c: Connection, do: Callable[[Connection], object]) -> None:
        """Do it; nothing where that for which it waited was not done, or where the host grants no second shell (MaxSessions)."""
        for other in self.needs:
            other.join()
        if not all(other.done for other in self.needs):
            return
        began = time.monotonic()
        try:
            beside = twin(c)
        except (SetupError, paramiko.SSHException, EOFError):
            return
        self.made = Host.of(beside)
        self.made.stage, self.made.step = self.group, self.step
        try:
            do(beside)
            self.done = True
        finally:
            self.took = time.monotonic() - began

    def end(self) -> None:
        """Wait for it, and take over what it did. Raises what it raised."""
        self.join()
        if self.made:
            self.main.changes += self.made.changes
            self.main.forget()
            self.made.shell.close()
        self.result()


def twin(c: Connection) -> Connection:
    """The same host with a shell and facts of its own, over the same connection and by the same claim."""
    host = Host.of(c)
    new = Connection(c.host, user=c.user, port=c.port, config=c.config, gateway=c.gateway, connect_timeout=c.connect_timeout)
    new.original_host, new.client, new.transport = c.original_host, c.client, c.transport
    made = vars(new)["_labfab"] = Host(new)
    made.label, made.stage, made.depth, made.resumed = host.label, host.stage, host.depth, True
    made.sudo_password, made.kernel, made.platform, made.run = host.sudo_password, host.kernel, host.platform, host.run
    made.shell = made.root_shell(Settings.of(c))
    made.claim.join(made.shell)
    return new
