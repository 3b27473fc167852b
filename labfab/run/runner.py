"""Runner: runs stages in order, and starts the slow, independent work of some early."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import wait
from typing import NamedTuple

from fabric import Connection

from .. import console
from ..errors import text_of
from ..host.session import Host
from ..host.shell import ConnectionLost
from .ahead import Ahead, EarlyWork
from .guard import RUN_ERRORS
from .task import HostTask

StagesToRun = Sequence[tuple[str, HostTask]]
MOMENT = 0.1  # seconds; shorter stages are not listed


class Duration(NamedTuple):
    """How long something took, and whether other stages ran meanwhile."""

    name: str
    seconds: float
    parallel: bool = False


class Runner:
    """One pass through a sequence of stages: which are still to come, and which started early."""

    def __init__(self, c: Connection, stages: StagesToRun, ahead: Mapping[str, Ahead]) -> None:
        self.c, self.host, self.tasks = c, Host.of(c), dict(stages)
        self.steps = {name: step for step, name in enumerate(self.tasks, self.host.step + 1)}
        self.to_come = set(self.tasks)
        self.waiting = {} if self.host.planning else {n: ahead[n] for n in self.tasks if n in ahead}
        self.early: dict[str, EarlyWork] = {}
        self.took: list[Duration] = []

    def run(self) -> list[Duration]:
        """Run all stages, and return how long each took.

        Raises the first error, once all early work has ended.
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

    @property
    def completed(self) -> list[str]:
        """Return the stages that ran to their end."""
        return [name for name in self.tasks if name not in self.to_come]

    def start_early(self) -> None:
        """Start all early work that need not wait for other stages."""
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
        """Report why the run stops, and wait for the early work."""
        for work in self.early.values():
            work.cancel()
        if not all(work.future.done() for work in self.early.values()):
            self.warn(f"{text_of(error)}; waiting for work that has already started")
        for name in list(self.early):
            self.finish(name)

    def finish(self, name: str) -> None:
        """Wait for early work. Its error is only a warning: the stage itself tries again."""
        work = self.early.pop(name)
        with console.working(self.host.label, f"wait for {name}") as tell:
            while not wait([work.future], timeout=1).done:
                tell("")
        self.took.append(Duration(name, work.seconds, parallel=True))
        try:
            work.finish()
        except ConnectionLost:
            # The run's own connection is lost too, and reports it.
            pass
        except RUN_ERRORS as error:
            self.warn(f"{name}, started early: {text_of(error)}")

    def warn(self, words: str) -> None:
        """Warn about this host."""
        console.warn(f"[{self.host.label}] {words}")


def run_stage(c: Connection, name: str, stage: HostTask) -> Duration:
    """Run one stage."""
    host, began = Host.of(c), time.monotonic()
    before = len(host.changes)
    if host.planning:
        console.say(f"{name}:")
    stage(c)
    if host.planning and len(host.changes) == before and name != "tunnel":
        console.note("nothing to do")
    return Duration(name, time.monotonic() - began)


def describe(took: Sequence[Duration]) -> Iterator[str]:
    """Describe which stages took longer than a moment, the parallel ones separately."""
    long = [one for one in took if one.seconds >= MOMENT]
    yield ", ".join(spoken(one) for one in long if not one.parallel)
    if any(one.parallel for one in long):
        yield "in parallel: " + ", ".join(spoken(one) for one in long if one.parallel)


def spoken(one: Duration) -> str:
    """Return a stage and its duration, in words."""
    return f"{one.name} {console.duration(one.seconds)}"
