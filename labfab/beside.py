"""Beside: work of the laptop that goes on while it waits for a host."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class Beside(threading.Thread):
    """One function in a thread of its own; nobody waits for it at the end of a run."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        """Begin at once."""
        super().__init__(daemon=True)
        self.function, self.args = function, args
        self.value: Any = None
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self.value = self.function(*self.args)
        except Exception as error:
            self.error = error

    def result(self) -> Any:
        """Wait for its end. Raises what it raised."""
        self.join()
        if self.error:
            raise self.error
        return self.value
