"""Questions: asks the questions of all hosts of a fleet together, before the work.

A question that comes up while connecting is postponed: QuestionPending ends the attempt, which is
repeated once there is an answer. So no host waits in the middle of a login, where it would hang up
after two minutes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from .. import console
from ..errors import SetupError

TRIES = 3
NAMED = 3  # hosts that a question names; the others are counted


class QuestionPending(Exception):
    """A question that has no answer yet."""

    def __init__(self, host: str, question: str, whose: str, secret: bool) -> None:
        """Postpone a question.

        host: who asks. whose: the login that it is about; empty if it is about the laptop.
        secret: whether the screen must not show the answer.
        """
        super().__init__(question)
        self.host, self.question, self.whose, self.secret = host, question, whose, secret
        self.text = f"{question} {whose}".rstrip()


class Questions:
    """The answers of one command line, kept in memory only."""

    def __init__(self) -> None:
        # Passwords to try on every host of `named`; empty: each host has its own.
        self.shared: dict[str, str] = {}
        # The hosts that a question was asked for. No other host gets the answer.
        self.named: dict[str, set[str]] = {}
        # The next answer to try on one host; None: the input was closed.
        self.own: dict[tuple[str, str], str | None] = {}
        # How many answers were tried on one host.
        self.given: Counter[tuple[str, str]] = Counter()

    def __repr__(self) -> str:
        return f"Questions({', '.join(self.shared)})"

    def answer(self, host: str, question: str, whose: str, secret: bool) -> str:
        """Return the answer that this host has not tried yet.

        Raises QuestionPending if there is none.
        """
        later, key = QuestionPending(host, question, whose, secret), (question, host)
        if self.given[key] >= TRIES:
            raise SetupError(
                f"{later.text}: refused {TRIES} times: "
                "find out which one is right, then run the command again"
            )
        if not self.has_untried_answer(later):
            raise later
        self.given[key] += 1
        found = self.own.pop(key) if key in self.own else self.shared[question]
        if found is None:
            raise SetupError(f"no answer to '{later.text}': run the command again")
        return found

    def has_untried_answer(self, later: QuestionPending) -> bool:
        """Return whether there is an answer that this host has not tried."""
        key = (later.question, later.host)
        if key in self.own:
            return True
        # The answer about the laptop, such as a passphrase, is the same for every host.
        named = not later.whose or later.host in self.named.get(later.question, ())
        untried = self.given[key] == 0 and bool(self.shared.get(later.question))
        return later.secret and named and untried

    def ask(self, put_off: Iterable[QuestionPending]) -> None:
        """Ask the user the questions that were postponed.

        A question that several hosts ask is asked once, then for each host that refused the answer.
        """
        groups: dict[str, list[QuestionPending]] = {}
        for later in put_off:
            if not self.has_untried_answer(later):
                groups.setdefault(later.question, []).append(later)
        for question, asking in groups.items():
            if asking[0].secret and question not in self.shared:
                self.ask_for_all(question, asking)
                if self.shared[question]:
                    continue
            for later in asking:
                self.own[question, later.host] = prompt(later.text, later.secret)

    def ask_for_all(self, question: str, asking: list[QuestionPending]) -> None:
        """Ask once for several hosts."""
        hint = " (the same for all; empty: ask for each)" if len(asking) > 1 else ""
        whose = several(list(dict.fromkeys(later.whose for later in asking)))
        self.shared[question] = prompt(f"{question} {whose}".rstrip() + hint, True) or ""
        self.named[question] = {later.host for later in asking}


def several(names: list[str]) -> str:
    """Name a few hosts and count the others."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def prompt(text: str, secret: bool) -> str | None:
    """Ask the user. Returns None if the input is closed instead."""
    try:
        return console.prompt(text, secret)
    except (EOFError, SetupError):
        return None
