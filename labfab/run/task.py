"""Task: the two kinds of task, those of a host and those of your laptop."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

from fabric import Connection, Task, task
from invoke import Context

from .. import console
from ..errors import SetupError
from ..facts.reader import begin
from ..host import round_trips
from ..host.session import Host
from ..text import counted
from . import guard, recipe

Begun = Callable[[Connection], None]


def namespace(module: str) -> str:
    """The namespace of the tasks of a module: labfab.stages.lab.kernels belongs to lab, a foreign module to itself."""
    words = module.split(".")
    return words[2] if words[:2] == ["labfab", "stages"] else words[-1]


class HostTask(Task):
    """A task that needs -H, opens the connection before its body runs and tells at the end what it changed."""

    def __init__(
        self,
        *args: Any,
        reads: bool = False,
        dials: bool = False,
        first: Begun | None = None,
        **kwargs: Any,
    ) -> None:
        """Make a task.

        reads: it changes nothing by nature, so it does not tell that nothing was changed. dials: it opens the
        connection by itself. first: what is begun before the host is dialled, and goes on beside it.
        """
        super().__init__(*args, **kwargs)
        self.reads, self.dials, self.first = reads, dials, first

    @property
    def group(self) -> str:
        """The namespace that it is called by and journaled under: the folder or module below stages/ that it stands in."""
        return namespace(self.body.__module__)

    def __call__(self, c: Context, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(c, Connection):
            raise SetupError(
                f"{self.group}.{self.name.replace('_', '-')} needs a host: fab -H root@ADDRESS …"
            )
        host = self.meet(c, kwargs.get("recipe", ""))
        with self.counted(host):
            if self.first and host.depth == 1 and not host.planning:
                self.first(c)
            if not self.dials:
                host.open()
            if not self.reads and not host.planning:
                acquire_run_lock(host)
                if host.depth == 1:
                    guard.settle(c)
            return super().__call__(c, *args, **kwargs)

    def meet(self, c: Connection, name: str) -> Host:
        """Find the settings and the session of a host; nobody is dialled yet."""
        recipe.choose(c, name)
        host = Host.of(c)
        share(host.c, c)
        return host

    @contextlib.contextmanager
    def counted(self, host: Host) -> Iterator[None]:
        """Journal under this task's stage; the outermost task tells how many changes were made."""
        with host.filed_under(self.group):
            try:
                yield
                if host.depth == 1 and not self.reads:
                    console.say(f"[{host.label}] {tally(host)}")
            finally:
                if host.depth == 1 and round_trips.counted() and host.c.is_connected:
                    console.warn(f"[{host.label}] {round_trips.told(host.c.transport)}")


def acquire_run_lock(host: Host) -> None:
    """Have the host to ourselves, and ask it at once what there is: both in one round trip."""
    shell = host.open()
    if host.run_lock.shell is shell:
        return
    asked = host.run_lock.ask(shell)
    begin(host.c)
    if not host.run_lock.take(shell, asked):
        host.forget()


def tally(host: Host) -> str:
    """How much was changed, in words."""
    count = len(host.changes)
    if count == 0:
        return "nothing to change"
    return counted(count, "change") + (" to make" if host.planning else "")


def share(dialled: Connection, c: Connection) -> None:
    """Let a second task of the same command line use the connection of the first."""
    if dialled is not c:
        for name in ("user", "host", "port", "client", "transport"):
            setattr(c, name, getattr(dialled, name))


class LaptopTask(Task):
    """A task of your own machine: it takes -H as a name and never dials it by itself."""

    def __call__(self, c: Context, *args: Any, **kwargs: Any) -> Any:
        recipe.choose(c, "")
        return super().__call__(c, *args, **kwargs)


host_task = functools.partial(task, klass=HostTask)
laptop_task = functools.partial(task, klass=LaptopTask)
