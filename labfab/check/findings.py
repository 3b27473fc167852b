"""Findings: what can come of a question, other than that all is well."""

from __future__ import annotations

OK, WARN, FAIL, UNCHECKED = "ok", "warn", "fail", "not checked"
STATES = (OK, WARN, FAIL, UNCHECKED)


class Finding(Exception):
    """What is wrong."""

    state = FAIL

    def __init__(self, detail: str, mend: str | None = None) -> None:
        """Say what is wrong.

        detail: one line for people. mend: the task that mends it, if it is not the row's usual
        one; empty if there is none.
        """
        super().__init__(detail)
        self.detail, self.mend = detail, mend


class Wrong(Finding):
    """It is not as it must be."""


class Doubtful(Finding):
    """It works, but somebody should look at it."""

    state = WARN


class Unseen(Finding):
    """It could not be looked at; the detail says why."""

    state = UNCHECKED
