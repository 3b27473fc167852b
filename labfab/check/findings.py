"""Findings: answers other than 'ok'."""

from __future__ import annotations

OK, WARN, FAIL, UNCHECKED = "ok", "warn", "fail", "not checked"
STATES = (OK, WARN, FAIL, UNCHECKED)


class Finding(Exception):
    """The answer of a row that is not ok."""

    state = FAIL

    def __init__(self, detail: str, mend: str | None = None) -> None:
        """Create a finding.

        detail: one line for people. mend: the task that fixes it, if it is not the row's usual one;
        empty if there is none.
        """
        super().__init__(detail)
        self.detail, self.mend = detail, mend


class Wrong(Finding):
    """It is not as it must be."""


class Warned(Finding):
    """It works, but somebody should look into it."""

    state = WARN


class NotChecked(Finding):
    """It could not be checked; the detail says why."""

    state = UNCHECKED
