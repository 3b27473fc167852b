"""Road: the stages of a recipe, one after the other; what takes long goes on beside them until one of them needs it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from fabric import Connection

from . import screen
from .beside import Stage
from .host import Host

Do = Callable[[Connection], object]
Beside = Mapping[str, tuple[Do, str]]  # stage -> whether there is much to do, and the stage that has to wait for it


class Took(NamedTuple):
    """How long a stage took, and whether others went on meanwhile."""

    name: str
    seconds: float
    beside: bool = False


def walk(c: Connection, stages: Sequence[tuple[str, Do]], beside: Beside) -> list[Took]:
    """Go through the stages, and tell what each took. Raises the first error, once all that was begun has ended."""
    running: dict[str, Stage] = {}
    took = []
    try:
        for name, stage in stages:
            for other in [one for one in running if name == beside[one][1]]:
                took.append(end(c, other, running.pop(other)))
            if name in beside and not Host.of(c).planning and beside[name][0](c):
                running[name] = Stage(c, stage)
            else:
                took.append(alone(c, name, stage))
    except Exception:
        for name, stage in running.items():
            with telling(Host.of(c).label):
                end(c, name, stage)
        raise
    return took


@contextlib.contextmanager
def telling(label: str) -> Iterator[None]:
    """Tell an error beside the one that ends the run."""
    try:
        yield
    except Exception as error:
        screen.warn(f"[{label}] {str(error).removeprefix(f'{label}: ')}")


def alone(c: Connection, name: str, stage: Do) -> Took:
    """Go through one stage while nothing else waits."""
    host, began = Host.of(c), time.monotonic()
    before = len(host.changes)
    if host.planning:
        screen.say(f"{name}:")
    stage(c)
    if host.planning and len(host.changes) == before and name != "tunnel":
        screen.note("nothing to do")
    return Took(name, time.monotonic() - began)


def end(c: Connection, name: str, stage: Stage) -> Took:
    wait(c, name, stage)
    stage.end()
    return Took(name, stage.took, beside=True)


def wait(c: Connection, name: str, stage: Stage) -> None:
    """Wait, and show for what."""
    with screen.working(Host.of(c).label, f"wait for {name}") as tell:
        while stage.is_alive():
            stage.join(1)
            tell("")


def told(took: Sequence[Took]) -> Iterator[str]:
    """What took longer than a moment, in words."""
    long = [one for one in took if one.seconds >= 0.1]
    yield ", ".join(f"{one.name} {screen.duration(one.seconds)}" for one in long if not one.beside)
    if any(one.beside for one in long):
        yield "beside these: " + ", ".join(f"{one.name} {screen.duration(one.seconds)}" for one in long if one.beside)
