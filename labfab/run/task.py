"""Task: the two kinds of task, for a host and for your laptop."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

from fabric import Connection, Task, task
from invoke import Context

from .. import console
from ..errors import SetupError
from ..facts.reader import start_reading
from ..host import round_trips
from ..host.login_errors import login_in_words
from ..host.session import Host
from ..local_state.aliases import find_alias
from ..text import counted
from . import guard, recipe

First = Callable[[Connection], None]


def namespace(module: str) -> str:
    """Return the namespace of a module's tasks: lab for labfab.stages.lab.browse.

    For a module outside labfab it is the module's own name.
    """
    words = module.split(".")
    return words[2] if words[:2] == ["labfab", "stages"] else words[-1]


class HostTask(Task):
    """A task that needs -H.

    It connects before its body runs, and says at the end how much it changed.
    """

    def __init__(
        self,
        *args: Any,
        reads: bool = False,
        connects_itself: bool = False,
        first: First | None = None,
        **kwargs: Any,
    ) -> None:
        """Create a task.

        reads: it never changes anything, so it does not report the number of changes.
        connects_itself: its body opens the connection, not the task.
        first: called before the host is dialed.
        """
        super().__init__(*args, **kwargs)
        self.reads, self.connects_itself, self.first = reads, connects_itself, first

    @property
    def group(self) -> str:
        """Return the namespace of this task, under which the journal files its changes."""
        return namespace(self.body.__module__)

    def __call__(self, c: Context, *args: Any, **kwargs: Any) -> Any:
        """Run the task. Raises SetupError without a host."""
        if not isinstance(c, Connection):
            raise SetupError(
                f"{self.group}.{self.name.replace('_', '-')} needs a host: fab -H root@ADDRESS …"
            )
        host = self.prepare_session(c, kwargs.get("recipe", ""))
        with self.counted(host):
            if self.first and host.task_depth == 1 and not host.planning:
                self.first(c)
            if not self.connects_itself:
                host.open()
            if not self.reads and not host.planning:
                acquire_run_lock(host)
                if host.task_depth == 1:
                    guard.recover_interrupted(c)
            return super().__call__(c, *args, **kwargs)

    def prepare_session(self, c: Connection, name: str) -> Host:
        """Load the settings of a host and return its session, without dialing it."""
        recipe.choose(c, name)
        host = Host.of(c)
        share(host.c, c)
        return host

    @contextlib.contextmanager
    def counted(self, host: Host) -> Iterator[None]:
        """File changes under this task. The outermost task reports how many there were."""
        with host.filed_under(self.group):
            try:
                yield
                if host.task_depth == 1 and not self.reads:
                    console.say(f"[{host.label}] {tally(host)}")
            finally:
                if host.task_depth == 1 and round_trips.counted() and host.c.is_connected:
                    console.warn(f"[{host.label}] {round_trips.describe(host.c.transport)}")


def acquire_run_lock(host: Host) -> None:
    """Take the run lock and read the facts, both in one round trip. Raises SetupError."""
    shell = host.open()
    if host.run_lock.shell is shell:
        return
    asked = host.run_lock.ask(shell)
    start_reading(host.c)
    if not host.run_lock.take(shell, asked):
        host.forget()
        refuse_moved_login(host)


def refuse_moved_login(host: Host) -> None:
    """Raise SetupError if the run that this one waited for has moved the login."""
    block, c = find_alias(host.c), host.c
    if block and (block.user, block.port) != (c.user, c.port):
        raise SetupError(
            "another run has just changed how to log in there "
            f"(now {login_in_words(block.user, block.hostname, block.port)}): "
            "type the same command again",
            host=host.label,
        )


def tally(host: Host) -> str:
    """Return how much was changed, in words."""
    if not host.changes:
        return "nothing to change"
    return counted(len(host.changes), "change") + (" to make" if host.planning else "")


def share(dialed: Connection, c: Connection) -> None:
    """Make a second task of the same command line use the connection of the first."""
    if dialed is not c:
        for name in ("user", "host", "port", "client", "transport"):
            setattr(c, name, getattr(dialed, name))


class LaptopTask(Task):
    """A task for your own machine. -H only names the host, which is not dialed first."""

    def __call__(self, c: Context, *args: Any, **kwargs: Any) -> Any:
        """Run the task, with the recipe of the host."""
        recipe.choose(c, "")
        return super().__call__(c, *args, **kwargs)


host_task = functools.partial(task, klass=HostTask)
laptop_task = functools.partial(task, klass=LaptopTask)
