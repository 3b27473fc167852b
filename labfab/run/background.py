"""Background: runs a function in a thread while the laptop waits for something else."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import ParamSpec, TypeVar

from .. import console

Args = ParamSpec("Args")
Value = TypeVar("Value")


def start(
    function: Callable[Args, Value], *args: Args.args, **kwargs: Args.kwargs
) -> Future[Value]:
    """Start a function in a daemon thread that prints where this thread prints.

    The end of a run does not wait for it. The future returns its value or raises its error.
    """
    future: Future[Value] = Future()
    host_console, out = console.host_console(), console.stream()

    def work() -> None:
        with console.speaking_like(host_console, out):
            try:
                future.set_result(function(*args, **kwargs))
            # A task library may end its run with SystemExit.
            except BaseException as error:
                future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return future
