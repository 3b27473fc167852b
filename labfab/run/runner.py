"""Runner: runs stages in order; slow independent work of some starts early."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import wait
from typing import NamedTuple

from fabric import Connection

from .. import console
from ..errors import SetupError
from ..host.session import Host
from ..host.shell import ConnectionLost
from .ahead import Ahead, EarlyWork
from .guard import BROKEN
from .task import HostTask

Stages = Sequence[tuple[str, HostTask]]
MOMENT = 0.1  # seconds; what took less is not worth a word


class Took(NamedTuple):
    """How long something took, and whether other stages ran meanwhile."""

    name: str
    seconds: float
    parallel: bool = False


class Runner:
    """One run through a sequence of stages: what is still to come, and what started early."""

    def __init__(self, c: Connection, stages: Stages, ahead: Mapping[str, Ahead]) -> None:
        self.c, self.host, self.tasks = c, Host.of(c), dict(stages)
        self.steps = {name: step for step, name in enumerate(self.tasks, self.host.step + 1)}
        self.to_come = set(self.tasks)
        self.waiting = {} if self.host.planning else {n: ahead[n] for n in self.tasks if n in ahead}
        self.early: dict[str, EarlyWork] = {}
        self.took: list[Took] = []

    def run(self) -> list[Took]:
        """Run all stages and return what each took.

        Raises the first error, once all that started early has ended.
        """
        try:
            for name, task in self.tasks.items():
                self.waiting.pop(name, None)
                self.start_early()
                if name in self.early:
                    self.finish(name)
                self.host.at_step(self.steps[name])
                self.took.append(run_stage(self.c, name, task))
                self.to_come.remove(name)
        except Exception as error:
            self.stop(error)
            raise
        return self.took

    def start_early(self) -> None:
        """Start all early work that need not wait any longer."""
        for name, ahead in list(self.waiting.items()):
            if self.to_come.isdisjoint(ahead.after):
                del self.waiting[name]
                if ahead.due(self.c):
                    self.early[name] = EarlyWork(
                        self.host,
                        ahead.do,
                        self.tasks[name].group,
                        self.steps[name],
                        [self.early[other] for other in ahead.needs if other in self.early],
                    )

    def stop(self, error: Exception) -> None:
        """Say why the run stops, and wait for what started early."""
        for work in self.early.values():
            work.cancel()
        if not all(work.future.done() for work in self.early.values()):
            self.warn(f"{told(error)}; waiting for what has already started")
        for name in list(self.early):
            self.finish(name)

    def finish(self, name: str) -> None:
        """Wait for early work. Its error is a warning only: the stage itself tries again."""
        work = self.early.pop(name)
        with console.working(self.host.label, f"wait for {name}") as tell:
            while not wait([work.future], timeout=1).done:
                tell("")
        self.took.append(Took(name, work.seconds, parallel=True))
        try:
            work.finish()
        except ConnectionLost:
            pass  # the run's own connection is lost too, and says so
        except BROKEN as error:
            self.warn(f"{name}, started early: {told(error)}")

    def warn(self, words: str) -> None:
        """Warn about this host."""
        console.warn(f"[{self.host.label}] {words}")


def run_stage(c: Connection, name: str, stage: HostTask) -> Took:
    """Run one stage."""
    host, began = Host.of(c), time.monotonic()
    before = len(host.changes)
    if host.planning:
        console.say(f"{name}:")
    stage(c)
    if host.planning and len(host.changes) == before and name != "tunnel":
        console.note("nothing to do")
    return Took(name, time.monotonic() - began)


def told(error: Exception) -> str:
    """The words of an error, without the host's label, which stands in front of the line."""
    return error.text if isinstance(error, SetupError) else str(error)


def describe(took: Sequence[Took]) -> Iterator[str]:
    """Say in words what took longer than a moment."""
    long = [one for one in took if one.seconds >= MOMENT]
    yield ", ".join(spoken(one) for one in long if not one.parallel)
    if any(one.parallel for one in long):
        yield "in parallel: " + ", ".join(spoken(one) for one in long if one.parallel)


def spoken(one: Took) -> str:
    """One duration in words."""
    return f"{one.name} {console.duration(one.seconds)}"
