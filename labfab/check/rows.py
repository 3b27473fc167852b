"""Rows: the questions of a check, and the answer to one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from .probe import Probe

AREAS = ("ssh", "secrets", "lab", "https", "ports", "host")
PUBLISHED = ("https", "apache")  # values of the setting publish
ALWAYS = ("tunnel", *PUBLISHED)

Question = Callable[[Probe], str]


class Check(NamedTuple):
    """One question."""

    id: str
    title: str  # what is true if the answer is ok
    mend: str  # the task that mends it
    needs: tuple[str, ...]  # ids of the rows that must be right before this one can be asked
    ask: Question  # returns what was found, or raises a Finding
    publish: tuple[str, ...] = ALWAYS  # asked if the setting has one of these values

    @property
    def area(self) -> str:
        """The area that the id names."""
        return self.id.partition("-")[0]


class Row(NamedTuple):
    """The answer to one question."""

    check: Check
    state: str
    detail: str
    mend: str = ""
    cause: str = ""  # the row that kept this one from being asked


CHECKS: list[Check] = []


def check(
    id: str,
    title: str,
    mend: str = "",
    needs: Iterable[str] = (),
    publish: tuple[str, ...] = ALWAYS,
) -> Callable[[Question], Question]:
    """Make a function a row. Within an area, rows are asked in the order they are written in."""

    def keep(ask: Question) -> Question:
        CHECKS.append(
            Check(id=id, title=title, mend=mend, needs=tuple(needs), ask=ask, publish=publish)
        )
        return ask

    return keep
