"""Background: work in a thread of its own while the laptop waits for something else."""

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
    """Start a function in a daemon thread that speaks where this thread speaks.

    The end of a run does not wait for it. The future gives its value or raises its error.
    """
    future: Future[Value] = Future()
    desk, out = console.desk(), console.stream()

    def work() -> None:
        with console.beside(desk, out):
            try:
                future.set_result(function(*args, **kwargs))
            except BaseException as error:  # a task library may end its run by SystemExit
                future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return future
