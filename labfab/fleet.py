"""Fleet: one task on many hosts at once.

`fab` uses this executor when fabric.yaml names it under tasks.executor_class. Tasks of other libraries run in it as
they are; with one host, or without -H, nothing differs from Fabric's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Any

import fabric
from fabric.connection import derive_shorthand
from fabric.tasks import ConnectionCall
from invoke import Call, Context, Exit, Task

from . import screen
from .errors import SetupError
from .settings import Settings


class Executor(fabric.Executor):
    """Fabric's executor, with the hosts of one task side by side."""

    def normalize_hosts(self, hosts: list[Any] | None) -> list[dict[str, Any]]:
        """Refuse what is no login before Fabric stumbles over it."""
        return [checked(given) for given in super().normalize_hosts(hosts)]

    def expand_calls(self, calls: list[Call], apply_hosts: bool = True) -> list[Call]:
        """Join the calls of one task that differ in their host only."""
        expanded = super().expand_calls(calls, apply_hosts)
        return [joined(group) for group in grouped(expanded)]


def checked(given: dict[str, Any]) -> dict[str, Any]:
    """Return what -H named. Raises SetupError for one without a host name or with a port that is none."""
    try:
        parts = derive_shorthand(str(given["host"]))
    except ValueError:
        parts = {"host": None, "port": None}
    if not parts["host"] or parts["port"] not in (None, *range(1, 65536)):
        raise SetupError(f"-H {given['host']!r}: that is no login: type it as root@ADDRESS or root@ADDRESS:PORT, the port from 1 to 65535")
    return given


def grouped(calls: list[Call]) -> Iterator[list[Call]]:
    """Split into runs of the same task and arguments; a host named twice counts once."""
    for _, same in groupby(calls, key=lambda call: (call.task, call.called_as, str(call.args), str(call.kwargs))):
        yield list({host_of(call): call for call in same}.values())


def host_of(call: Call) -> str:
    return str(call.init_kwargs["host"]) if isinstance(call, ConnectionCall) else f"#{id(call)}"


def joined(calls: list[Call]) -> Call:
    """One call that stands for all of them."""
    if len(calls) == 1:
        return calls[0]
    body = everywhere(calls)
    body.__doc__ = calls[0].task.__doc__
    return Call(Task(body, name=calls[0].task.name), called_as=calls[0].called_as)


def everywhere(calls: list[Call]) -> Callable[[Context], None]:
    """A task body that runs each call in a thread and waits for all: one that fails does not stop the others."""

    def run(c: Context) -> None:
        screen.alone = False
        with ThreadPoolExecutor(Settings.of(c).parallel) as pool:
            problems = list(pool.map(lambda call: problem(c, call), calls))
        failed = [host_of(call) for call, problem in zip(calls, problems, strict=True) if problem]
        with screen.aside(bool(calls[0].kwargs.get("json"))):
            screen.say(f"{len(calls) - len(failed)} of {len(calls)} hosts done")
        later = [error for error in problems if isinstance(error, Exit) and not error.message]  # a code that means something
        if later and len(later) == len(failed):
            raise later[0]
        if failed:
            raise SetupError(f"failed on {', '.join(failed)}: see above; type it again for them: fab -H {','.join(failed)} …")

    return run


def problem(c: Context, call: Call) -> Any:
    """Run one call in a configuration of its own; give what went wrong."""
    try:
        call.task(call.make_context(c.config.clone()), *call.args, **call.kwargs)
    except Exit as error:
        if error.message:
            screen.warn(f"[{host_of(call)}] {error.message}")
        return error
    except Exception as error:  # of any task library: named with its host, for nobody else would
        screen.warn(f"[{host_of(call)}] {error or type(error).__name__}")
        return error
    return None
