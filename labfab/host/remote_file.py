"""Remote file: a file on the host, as it was read."""

from __future__ import annotations

from typing import NamedTuple

# One section of the facts, as keys and values.
Values = dict[str, str]


class File(NamedTuple):
    """A file on the host. Its content never shows in a repr."""

    mode: str
    owner: str
    content: str
    # It has more than 1 MiB, or could not be read in 10 s: the content is only a part.
    cut: bool = False

    def __repr__(self) -> str:
        return f"File(mode={self.mode}, owner={self.owner})"
