"""Sshd's lines: which line of its files decides an option (read by on_host/sshd_lines.pl).

sshd takes the first value that it reads, except that a Match block overrides what holds for all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import NamedTuple

# sshd's older names of an option.
SAME = {"challengeresponseauthentication": "kbdinteractiveauthentication"}
OURS = "ours"  # marks the place of labfab's own file


class Line(NamedTuple):
    """One line of sshd's configuration."""

    file: str
    number: int
    # The criteria of the Match block that it stands in; empty: none.
    match: str
    text: str

    @property
    def option(self) -> str:
        """Return the option that it sets, in lower case."""
        name = re.split(r"[\s=]", self.text, maxsplit=1)[0].lower()
        return SAME.get(name, name)

    @property
    def value(self) -> str:
        """Return the value that it sets."""
        said = re.split(r"[\s=]+", self.text, maxsplit=1)[-1]
        return re.sub(r"""((?:"[^"]*"|[^"#])*?)\s#.*""", r"\1", said).strip().strip('"')

    @property
    def place(self) -> str:
        """Return file and line."""
        return f"{self.file}:{self.number}"

    def __str__(self) -> str:
        """Return file, line and text, as messages name it."""
        block = f" in the block `Match {self.match}`" if self.match else ""
        return f"{self.place} says '{self.text}'{block}"


def parse(text: str) -> tuple[Line, ...]:
    """Return the lines, in sshd's order."""
    rows = [row.split("\t", 3) for row in text.split("\n")]
    return tuple(Line(row[0], int(row[1]), row[2], row[3]) for row in rows if len(row) == 4)


def reads_ours(lines: Iterable[Line]) -> bool:
    """Return whether sshd reads labfab's own file, or would if it were there."""
    return any(line.text == OURS for line in lines)


def before_ours(lines: Iterable[Line]) -> Iterator[Line]:
    """Yield the lines that hold for all and that sshd reads before labfab's own file.

    If sshd does not read our file yet, it will be the first.
    """
    lines = list(lines)
    if not reads_ours(lines):
        return
    for line in lines:
        if line.text == OURS:
            return
        if not line.match:
            yield line


def in_blocks(lines: Iterable[Line], user: str, groups: Iterable[str]) -> Iterator[Line]:
    """Yield the lines of Match blocks that may hold for an account."""
    for line in lines:
        if line.match and may_hold(line.match, user, groups):
            yield line


def may_hold(criteria: str, user: str, groups: Iterable[str]) -> bool:
    """Return whether a Match block may hold for an account: its address or port is not known."""
    words = re.split(r"[\s=]+", criteria.replace('"', "").strip())
    for kind, patterns in zip(words[::2], words[1::2], strict=False):
        names = {"user": [user], "group": list(groups)}.get(kind.lower())
        if names is not None and not any(listed(patterns.split(","), name) for name in names):
            return False
    return True


def listed(patterns: Iterable[str], name: str) -> bool:
    """Return whether a list of sshd's patterns has a name; one with `!` that fits excludes it."""
    found = False
    for pattern in patterns:
        bare = pattern.removeprefix("!").partition("@")[0]
        if fnmatchcase(name, bare.replace("[", "[[]")):
            if pattern.startswith("!"):
                return False
            found = True
    return found
