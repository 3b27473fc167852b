"""Road: the stages of a recipe, one after the other; what some have to do begins ahead of their turn, beside the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from fabric import Connection

from .. import console
from ..host.session import Host
from ..host.shell import ConnectionLost
from .background import Stage
from .guard import BROKEN
from .task import HostTask

Do = Callable[[Connection], object]
Stages = Sequence[tuple[str, HostTask]]


class Ahead(NamedTuple):
    """What a stage can do before its turn, in a root shell of its own."""

    after: Sequence[str]  # begins once these are through, as far as they are stages of this walk
    due: Do  # whether there is much to do, and nothing in its way
    do: Do  # that work; the stage itself finds it done, and does what is left
    needs: Sequence[str] = ()  # stages whose own work ahead has to have ended


class Took(NamedTuple):
    """How long something took, and whether other stages went on meanwhile."""

    name: str
    seconds: float
    beside: bool = False


class Walk:
    """One way through the stages: what is still to come, and what goes on beside."""

    def __init__(self, c: Connection, stages: Stages, ahead: Mapping[str, Ahead]) -> None:
        self.c, self.tasks = c, dict(stages)
        self.steps = {name: step for step, name in enumerate(self.tasks, Host.of(c).step + 1)}
        self.to_come = set(self.tasks)
        self.waiting = {
            name: ahead[name] for name in self.tasks if name in ahead and not Host.of(c).planning
        }
        self.running: dict[str, Stage] = {}
        self.took: list[Took] = []

    def walk(self) -> list[Took]:
        """Go to the end, and tell what each stage took. Raises the first error, once all that was begun has ended."""
        try:
            for name, task in self.tasks.items():
                self.waiting.pop(name, None)
                self.begin()
                if name in self.running:
                    self.end(name)
                Host.of(self.c).step = self.steps[name]
                self.took.append(alone(self.c, name, task))
                self.to_come.remove(name)
        except Exception as error:
            self.stop(error)
            raise
        return self.took

    def begin(self) -> None:
        """Begin what need not wait any longer."""
        for name, ahead in list(self.waiting.items()):
            if self.to_come.isdisjoint(ahead.after):
                del self.waiting[name]
                if ahead.due(self.c):
                    needs = [self.running[other] for other in ahead.needs if other in self.running]
                    self.running[name] = Stage(
                        self.c, ahead.do, self.tasks[name].group, self.steps[name], needs
                    )

    def stop(self, error: Exception) -> None:
        """Let what was begun ahead come to its end, and tell at once why nothing else will be begun."""
        for stage in self.running.values():
            stage.wanted = False
        if any(stage.is_alive() for stage in self.running.values()):
            self.warn(f"{self.told(error)}; what was begun ahead comes to its end")
        for name in list(self.running):
            self.end(name)

    def warn(self, words: str) -> None:
        console.warn(f"[{Host.of(self.c).label}] {words}")

    def told(self, error: Exception) -> str:
        return str(error).removeprefix(f"{Host.of(self.c).label}: ")

    def end(self, name: str) -> None:
        """Wait for what was begun ahead. What failed there is told; its stage tries it again."""
        stage = self.running.pop(name)
        with console.working(Host.of(self.c).label, f"wait for {name}") as tell:
            while stage.is_alive():
                stage.join(1)
                tell("")
        self.took.append(Took(name, stage.took, beside=True))
        try:
            stage.end()
        except ConnectionLost:
            pass  # so is the one of the run itself, which tells it
        except BROKEN as error:
            self.warn(f"{name}, begun ahead: {self.told(error)}")


def walk(c: Connection, stages: Stages, ahead: Mapping[str, Ahead]) -> list[Took]:
    """Go through the stages, and tell what each took."""
    return Walk(c, stages, ahead).walk()


def alone(c: Connection, name: str, stage: HostTask) -> Took:
    """Go through one stage."""
    host, began = Host.of(c), time.monotonic()
    before = len(host.changes)
    if host.planning:
        console.say(f"{name}:")
    stage(c)
    if host.planning and len(host.changes) == before and name != "tunnel":
        console.note("nothing to do")
    return Took(name, time.monotonic() - began)


def told(took: Sequence[Took]) -> Iterator[str]:
    """What took longer than a moment, in words."""
    long = [one for one in took if one.seconds >= 0.1]
    yield ", ".join(f"{one.name} {console.duration(one.seconds)}" for one in long if not one.beside)
    if any(one.beside for one in long):
        yield "beside these: " + ", ".join(
            f"{one.name} {console.duration(one.seconds)}" for one in long if one.beside
        )
