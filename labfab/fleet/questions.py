"""Questions: what the hosts of a fleet must ask is asked once, one after the other, before the work.

A question that comes up while all are dialled is put off: Later goes up through the dialling, which is tried again once
there is an answer. No host is kept waiting in the middle of a login, where it would hang up after two minutes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from .. import console
from ..errors import SetupError

TRIES = 3
NAMED = 3  # hosts that a question names before it counts the others


class Later(Exception):
    """A question without an answer yet."""

    def __init__(self, host: str, question: str, whose: str, secret: bool) -> None:
        super().__init__(question)
        self.host, self.question, self.secret = host, question, secret
        self.text = f"{question} {whose}".rstrip()
        self.whose = whose


class Questions:
    """The answers of one command line, kept in memory only."""

    def __init__(self) -> None:
        self.shared: dict[
            str, str
        ] = {}  # a password that is tried on every host of `named`; empty: each has its own
        self.named: dict[
            str, set[str]
        ] = {}  # the hosts that a question was asked for: no other one gets its answer
        self.own: dict[
            tuple[str, str], str | None
        ] = {}  # the next try on one host; None: the input was closed
        self.given: Counter[tuple[str, str]] = Counter()  # tries on one host

    def __repr__(self) -> str:
        return f"Questions({', '.join(self.shared)})"

    def answer(self, host: str, question: str, whose: str, secret: bool) -> str:
        """Give the answer that this host has not tried yet. Raises Later where there is none."""
        later, key = Later(host, question, whose, secret), (question, host)
        if self.given[key] >= TRIES:
            raise SetupError(
                f"{later.text}: refused {TRIES} times: see which one it is, then type the command again"
            )
        if not self.knows(later):
            raise later
        self.given[key] += 1
        found = self.own.pop(key) if key in self.own else self.shared[question]
        if found is None:
            raise SetupError(f"no answer to '{later.text}': type the command again")
        return found

    def knows(self, later: Later) -> bool:
        """Whether there is an answer that this host has not tried."""
        key = (later.question, later.host)
        # What belongs to the laptop, such as a passphrase, is the same for whoever asks.
        named = not later.whose or later.host in self.named.get(later.question, ())
        return key in self.own or bool(
            later.secret and named and self.given[key] == 0 and self.shared.get(later.question)
        )

    def ask(self, put_off: Iterable[Later]) -> None:
        """Ask what was put off: the same of several hosts once at first, then of each that refused it."""
        for question, hosts in together(later for later in put_off if not self.knows(later)):
            if hosts[0].secret and question not in self.shared:
                hint = " (the same for all; empty: ask for each)" if len(hosts) > 1 else ""
                whose = several(list(dict.fromkeys(later.whose for later in hosts)))
                self.shared[question] = prompt(f"{question} {whose}".rstrip() + hint, True) or ""
                self.named[question] = {later.host for later in hosts}
                if self.shared[question]:
                    continue
            for later in hosts:
                self.own[question, later.host] = prompt(later.text, later.secret)


def together(put_off: Iterable[Later]) -> Iterator[tuple[str, list[Later]]]:
    """Bring those together that ask the same."""
    found: dict[str, list[Later]] = {}
    for later in put_off:
        found.setdefault(later.question, []).append(later)
    yield from found.items()


def several(names: list[str]) -> str:
    """Name a few hosts and count the others."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def prompt(text: str, secret: bool) -> str | None:
    """Ask; None when the input is closed instead."""
    try:
        return console.prompt(text, secret)
    except (EOFError, SetupError):
        return None
