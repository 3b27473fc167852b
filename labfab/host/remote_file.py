"""Remote file: a file on the host, as it was read."""

from __future__ import annotations

from typing import NamedTuple

Values = dict[str, str]  # what a section of the facts says, key by key


class File(NamedTuple):
    """A file on the host; its text never shows in a repr."""

    mode: str
    owner: str
    content: str

    def __repr__(self) -> str:
        return f"File(mode={self.mode}, owner={self.owner})"
