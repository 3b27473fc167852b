"""View: the hosts of a fleet on one screen; plain lines, or on a terminal a block with one line for each."""

from __future__ import annotations

import shutil
import sys
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, TextIO

from .. import console
from ..console import duration
from ..text import printable

if TYPE_CHECKING:
    from .member import Member

ORDER = (
    "at work",
    "failed",
    "stopped",
    "waiting",
    "done",
)  # where there is no room for all, the first ones are shown
CUT = 40  # letters of a host's name


class View:
    """Lines as they come, each with its host: for pipes and files."""

    def __init__(self, members: list[Member], out: TextIO) -> None:
        self.members, self.out = members, out
        self.heard: dict[str, float] = {}

    def line(self, member: Member, text: str) -> None:
        """Show what a host says of its work."""
        self.heard[member.name] = time.monotonic()
        if text.strip():
            self.put(text if text.startswith("[") else f"[{member.label}] {text}")

    def sign_of_life(self, member: Member) -> None:
        """Show that a host works on, now and then."""
        if time.monotonic() - self.heard.setdefault(member.name, time.monotonic()) >= console.QUIET:
            self.line(member, f"{member.now[:140]} … {duration(member.seconds)}")

    def warn(self, member: Member, text: str) -> None:
        with console.speaking:
            print(
                f"  ! {text if text.startswith('[') else f'[{member.label}] {text}'}",
                file=sys.stderr,
                flush=True,
            )

    def failed(self, member: Member) -> None:
        self.warn(member, f"[{member.name}] {member.problem}")

    def answer(self, member: Member) -> None:
        """Show in one piece what a host was asked for."""
        if any(line.strip() for line in member.said):
            self.put("\n".join([f"[{member.name}]", *member.said, ""]))

    def put(self, text: str) -> None:
        with console.speaking:
            print(printable(text), file=self.out, flush=True)

    def draw(self) -> None:
        """Show how far all are; only a block can."""

    def close(self) -> None:
        """Leave the screen as it is to stay."""


class Block(View):
    """A line for each host that moves in its place. Only the main thread writes, so it can ask in between."""

    def __init__(self, members: list[Member], out: TextIO) -> None:
        super().__init__(members, out)
        self.above: deque[str] = deque()
        self.height = 0
        self.began = time.monotonic()

    def line(self, member: Member, text: str) -> None:
        """It is in the host's own line."""

    def sign_of_life(self, member: Member) -> None:
        """The line moves."""

    def warn(self, member: Member, text: str) -> None:
        self.put(f"  ! {text if text.startswith('[') else f'[{member.label}] {text}'}")

    def failed(self, member: Member) -> None:
        """It is in the host's own line, and at the end in full."""

    def put(self, text: str) -> None:
        self.above.append(text)

    def draw(self) -> None:
        self.write(self.rows() if self.members else [])

    def close(self) -> None:
        self.write([])

    def write(self, rows: list[str]) -> None:
        """Put a new block in the place of the old one, below what is to stay."""
        text = f"\x1b[{self.height}A\r" if self.height else ""
        while self.above:
            text += "".join(f"{line}\x1b[K\n" for line in self.above.popleft().splitlines())
        text += "".join(f"{row}\x1b[K\n" for row in rows) + "\x1b[J"
        self.height = len(rows)
        self.out.write(text)
        self.out.flush()

    def rows(self) -> list[str]:
        """The hosts that there is room for, and how many are how far."""
        columns, lines = shutil.get_terminal_size()
        room = max(lines - 2, 1)
        shown = self.members
        if len(shown) > room:
            shown = sorted(shown, key=lambda member: ORDER.index(member.state))[:room]
        width = min(max(len(member.name) for member in self.members), CUT)
        return [self.row(member, width, columns - 1) for member in shown] + [
            self.count()[: columns - 1]
        ]

    def row(self, member: Member, width: int, columns: int) -> str:
        told = {
            "failed": f"failed: {member.problem}",
            "at work": member.now,
            "waiting": f"waiting  {member.now}",
        }
        text = told.get(member.state, member.result) or "…"
        if member.state == "done" and member.changes:
            text += f", {member.changes} change{'s' * (member.changes > 1)}"
        took = duration(member.seconds) if member.seconds else ""
        room = max(columns - width - 14, 10)
        return f"{printable(member.name)[:width]:<{width}}  {printable(text)[:room]:<{room}}  {took:>10}"[
            :columns
        ]

    def count(self) -> str:
        counted = Counter(member.state for member in self.members)
        states = ", ".join(
            f"{counted[state]} {state}" for state in reversed(ORDER) if counted[state]
        )
        return f"{len(self.members)} hosts: {states}, {duration(time.monotonic() - self.began)}"
