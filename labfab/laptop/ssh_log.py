"""SSH log: what ssh itself says, apart from what the host prints.

ssh passes the host's stderr on to its own, so any account there could write what ssh would: that
the host key has changed, for instance. With -E, ssh writes its own messages to another place. It is
a pipe with a name, in a folder of yours alone: the kernel limits what it holds, and nothing reaches
the disk.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

LONGEST = 65536  # bytes that are read; Linux keeps no more in a pipe
# Messages of ssh that quote the server. Whatever follows may be the server's, which can put line
# breaks into them.
QUOTING = (
    r"(.*\bReceived disconnect from|.*\bDisconnected from|Unable to negotiate with"
    r"|.*: Permission denied \()"
)


class Log:
    """The place where one ssh writes its own messages."""

    def __init__(self, path: Path, reader: int) -> None:
        self.path, self.reader = path, reader

    @property
    def options(self) -> list[str]:
        """Return the options that make ssh write here."""
        return ["-E", str(self.path)]

    def read(self) -> str:
        """Return what ssh has written so far."""
        try:
            return os.read(self.reader, LONGEST).decode(errors="replace").replace("\r", "")
        except BlockingIOError:
            return ""


@contextlib.contextmanager
def opened() -> Iterator[Log]:
    """Yield a log for one ssh. One that stays in the background writes to nobody afterwards."""
    with tempfile.TemporaryDirectory(prefix="labfab-ssh-") as folder:
        path = Path(folder) / "log"
        os.mkfifo(path, 0o600)
        # Whoever opens a pipe for writing waits for a reader.
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            yield Log(path, reader)
        finally:
            os.close(reader)


def believable(said: str) -> list[str]:
    """Return the lines of a log without the words of the server that ssh quotes in them."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    for number, line in enumerate(lines):
        if quoting := re.match(QUOTING, line):
            return [*lines[:number], quoting[0]]
    return lines
