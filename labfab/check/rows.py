"""Rows: the questions of a check, and their answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from .probe import Probe

AREAS = ("ssh", "secrets", "lab", "https", "ports", "host")
LAPTOP = "secrets"  # the area whose rows look at this laptop too
REACH = "ssh-reach"  # the row without which nothing can be asked
PUBLISHED = ("https", "apache")  # values of the setting publish
ALWAYS = ("tunnel", *PUBLISHED)

Question = Callable[[Probe], str]


class Check(NamedTuple):
    """One question."""

    id: str
    # What is true if the answer is ok.
    title: str
    # The task that fixes it.
    mend: str
    # Ids of the rows that must be right before this one can be asked.
    needs: tuple[str, ...]
    # Returns the detail of an answer that is ok, or raises a Finding.
    ask: Question
    # The values of the setting publish with which the question is asked.
    publish: tuple[str, ...] = ALWAYS

    @property
    def area(self) -> str:
        """Return the area, which the id begins with."""
        return self.id.partition("-")[0]


class Row(NamedTuple):
    """The answer to one question."""

    check: Check
    state: str
    detail: str
    mend: str = ""
    # The row that prevented this one from being asked.
    cause: str = ""


CHECKS: list[Check] = []


def check(
    id: str,
    title: str,
    mend: str = "",
    needs: Iterable[str] = (),
    publish: tuple[str, ...] = ALWAYS,
) -> Callable[[Question], Question]:
    """Register a function as a row. Rows of an area are asked in the order of the source."""

    def keep(ask: Question) -> Question:
        CHECKS.append(
            Check(id=id, title=title, mend=mend, needs=tuple(needs), ask=ask, publish=publish)
        )
        return ask

    return keep
