"""View: shows the hosts of a fleet, as plain lines or as a block that is redrawn."""

from __future__ import annotations

import shutil
import sys
import time
from collections import Counter, deque
from typing import TextIO

from .. import console
from ..console import duration
from ..text import counted, one_line, printable
from .member import DONE, FAILED, STOPPED, WAITING, WORKING, Member

# If there is not enough room for all hosts, the first ones in this order are shown.
ORDER = (WORKING, FAILED, STOPPED, WAITING, DONE)
CUT = 40  # characters of a host's name
SHORT = 140  # characters of a host's present work
AROUND_NAME = 14  # characters of a row for the gaps and the time


class View:
    """Shows lines as they come, each with its host, for pipes and files."""

    def __init__(self, members: list[Member], out: TextIO) -> None:
        self.members, self.out = members, out
        self.heard: dict[str, float] = {}

    def show(self, members: list[Member]) -> None:
        """Show these hosts from now on."""
        self.members = members

    def line(self, member: Member, text: str) -> None:
        """Show a line about the work on a host."""
        self.heard[member.name] = time.monotonic()
        if text.strip():
            self.put(named(member, text))

    def sign_of_life(self, member: Member) -> None:
        """Show from time to time that a host is still at work."""
        now = time.monotonic()
        if now - self.heard.setdefault(member.name, now) >= console.QUIET:
            self.line(member, f"{member.now[:SHORT]} … {duration(member.seconds)}")

    def warn(self, member: Member, text: str) -> None:
        """Show a warning about a host."""
        with console.speaking:
            print(one_line(f"  ! {named(member, text)}"), file=sys.stderr, flush=True)

    def failed(self, member: Member) -> None:
        """Show why a host failed."""
        self.warn(member, f"[{member.name}] {member.problem}")

    def answer(self, member: Member) -> None:
        """Show the answer of a host in one piece."""
        if any(line.strip() for line in member.said):
            self.put("\n".join([f"[{member.name}]", *member.said, ""]))

    def put(self, text: str) -> None:
        """Show a line that stays."""
        with console.speaking:
            print(printable(text), file=self.out, flush=True)

    def draw(self) -> None:
        """Show the progress of all hosts; only a block does that."""

    def close(self) -> None:
        """Leave the screen in its final state."""


class Block(View):
    """Shows one line for each host, redrawn in place.

    Only the main thread writes to the terminal, so it can ask questions in between.
    """

    def __init__(self, members: list[Member], out: TextIO) -> None:
        super().__init__(members, out)
        self.above: deque[str] = deque()
        self.height = 0
        self.began = time.monotonic()

    def line(self, member: Member, text: str) -> None:
        """Do nothing, because the host's row shows it."""

    def sign_of_life(self, member: Member) -> None:
        """Do nothing, because the host's row is redrawn."""

    def warn(self, member: Member, text: str) -> None:
        """Show a warning above the block."""
        self.put(one_line(f"  ! {named(member, text)}"))

    def failed(self, member: Member) -> None:
        """Do nothing, because the host's row shows it, and the recap in full."""

    def put(self, text: str) -> None:
        """Show a line above the block at the next draw()."""
        self.above.append(printable(text))

    def draw(self) -> None:
        """Redraw the block."""
        self.write(self.rows() if self.members else [])

    def close(self) -> None:
        """Remove the block. The lines above it stay."""
        self.write([])

    def write(self, rows: list[str]) -> None:
        """Replace the block, below the lines that stay."""
        text = f"\x1b[{self.height}A\r" if self.height else ""
        while self.above:
            text += "".join(f"{line}\x1b[K\n" for line in self.above.popleft().splitlines())
        text += "".join(f"{row}\x1b[K\n" for row in rows) + "\x1b[J"
        self.height = len(rows)
        self.out.write(text)
        self.out.flush()

    def rows(self) -> list[str]:
        """Return rows for as many hosts as there is room for, and one that counts all of them."""
        columns, lines = shutil.get_terminal_size()
        columns, room = columns - 1, max(lines - 2, 1)
        shown = self.members
        if len(shown) > room:
            shown = sorted(shown, key=lambda member: ORDER.index(member.state))[:room]
        width = min(max(len(member.name) for member in self.members), CUT)
        return [*(row(member, width, columns) for member in shown), self.count()[:columns]]

    def count(self) -> str:
        """Return how many hosts are in which state."""
        states = Counter(member.state for member in self.members)
        parts = [f"{states[state]} {state}" for state in reversed(ORDER) if states[state]]
        took = duration(time.monotonic() - self.began)
        return f"{len(self.members)} hosts: {', '.join(parts)}, {took}"


def row(member: Member, width: int, columns: int) -> str:
    """Return the row of a host. width: of the names. columns: of the whole row."""
    shown = {
        FAILED: f"failed: {member.problem}",
        WORKING: member.now,
        WAITING: f"waiting  {member.now}",
    }
    text = shown.get(member.state, member.result) or "…"
    if member.state == DONE and member.changes:
        text += f", {counted(member.changes, 'change')}"
    took = duration(member.seconds) if member.seconds else ""
    room = max(columns - width - AROUND_NAME, 10)
    name, text = one_line(member.name)[:width], one_line(text)[:room]
    return f"{name:<{width}}  {text:<{room}}  {took:>10}"[:columns]


def named(member: Member, text: str) -> str:
    """Return a line that begins with the host's label."""
    return text if text.startswith("[") else f"[{member.label}] {text}"
