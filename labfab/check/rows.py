"""Rows: the questions of a check, and what came of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from ..errors import SetupError
from ..host.shell import GONE, ConnectionLost

if TYPE_CHECKING:
    from .probe import Look

AREAS = ("ssh", "secrets", "lab", "https", "ports", "host")
PUBLISHED = ("https", "apache")  # values of the setting publish
ALWAYS = ("tunnel", *PUBLISHED)
OK, WARN, FAIL, UNCHECKED = "ok", "warn", "fail", "not checked"
STATES = (OK, WARN, FAIL, UNCHECKED)


class Finding(Exception):
    """What is wrong, and the task that mends it where it is not the row's usual one."""

    state = FAIL

    def __init__(self, detail: str, mend: str | None = None) -> None:
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


class Check(NamedTuple):
    """One question: `look` returns what is right, or raises a Finding."""

    id: str
    title: str
    mend: str  # the task that mends it
    needs: tuple[str, ...]  # ids of the rows that must be right before this one can be asked
    look: Callable[[Look], str]
    publish: tuple[str, ...] = ALWAYS  # it is asked where the setting has one of these values

    @property
    def area(self) -> str:
        return self.id.partition("-")[0]


class Row(NamedTuple):
    """The answer to one question; `cause` is the row that kept it from being asked."""

    check: Check
    state: str
    detail: str
    mend: str = ""
    cause: str = ""


CHECKS: list[Check] = []


def check(
    id: str,
    title: str,
    mend: str = "",
    needs: Iterable[str] = (),
    publish: tuple[str, ...] = ALWAYS,
) -> Callable[[Callable[[Look], str]], Callable[[Look], str]]:
    """Make a function a row; within an area they are asked in the order in which they are written."""

    def keep(look: Callable[[Look], str]) -> Callable[[Look], str]:
        CHECKS.append(Check(id, title, mend, tuple(needs), look, publish))
        return look

    return keep


def chosen(area: str, publish: str) -> list[Check]:
    """The rows of an area with those that they need, all without one, as far as they fit the setting publish."""
    known = {check.id: check for check in CHECKS if publish in check.publish}
    wanted: set[str] = set()
    left = [check.id for check in known.values() if area in ("", check.area)]
    while left:
        one = left.pop()
        left += [need for need in known[one].needs if need not in wanted]
        wanted.add(one)
    return sorted(
        (check for check in CHECKS if check.id in wanted), key=lambda check: AREAS.index(check.area)
    )


def answers(look: Look, checks: Iterable[Check]) -> list[Row]:
    """Ask each question whose needs are met."""
    rows: dict[str, Row] = {}
    for check in checks:
        rows[check.id] = answer(look, check, rows)
    return list(rows.values())


def answer(look: Look, check: Check, rows: dict[str, Row]) -> Row:
    """Ask one question."""
    for need in check.needs:
        if rows[need].state in (FAIL, UNCHECKED):
            cause = rows[need].cause or need
            return Row(check, UNCHECKED, f"needs {cause}", cause=cause)
    try:
        return Row(check, OK, check.look(look))
    except Finding as found:
        mend = check.mend if found.mend is None else found.mend
        return Row(check, found.state, found.detail, mend if found.state != UNCHECKED else "")
    except (ConnectionLost, *GONE) as error:
        return Row(
            check, UNCHECKED, f"the line to the host failed: {error or type(error).__name__}"
        )
    except SetupError as error:
        return Row(check, FAIL, str(error.message), check.mend)
