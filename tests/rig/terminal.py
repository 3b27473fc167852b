"""The real `fab` on a pseudo-terminal, with somebody who answers its questions."""

import os
import pty
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from .fab import BIN, Fab
from .places import REPO

PATIENCE = 60  # seconds for a question to come


class Terminal:
    """One running command, its screen and its keyboard."""

    def __init__(self, process: subprocess.Popen, keyboard: int) -> None:
        self.process, self.keyboard, self.seen, self.read = process, keyboard, "", 0

    def sees(self, words: str) -> "Terminal":
        """Wait until these words appear after what was seen last."""
        end = time.monotonic() + PATIENCE
        while words not in self.seen[self.read :]:
            assert self.more() and time.monotonic() < end, f"{words!r} is not in:\n{self.seen}"
        self.read = self.seen.index(words, self.read) + len(words)
        return self

    def types(self, line: str) -> "Terminal":
        """Type a line; a little later than the question, as people do, since getpass drops what came before."""
        time.sleep(0.1)
        os.write(self.keyboard, line.encode() + b"\n")
        return self

    def presses(self, key: str) -> "Terminal":
        time.sleep(0.3)
        os.write(self.keyboard, key.encode())
        return self

    def ends(self) -> int:
        """Read on to the end and return the exit code."""
        end = time.monotonic() + PATIENCE
        while self.more():
            assert time.monotonic() < end, f"it does not end:\n{self.seen}"
        return self.process.wait(PATIENCE)

    def more(self) -> bool:
        """Take what is on the screen; False when nothing will come any more."""
        if not select.select([self.keyboard], [], [], 0.2)[0]:
            return self.process.poll() is None
        try:
            data = os.read(self.keyboard, 65536)
        except OSError:  # Linux: the other side is closed
            return False
        self.seen += data.decode(errors="replace")
        return bool(data)


@contextmanager
def terminal(fab: Fab, *words: str, env: dict[str, str] | None = None) -> Iterator[Terminal]:
    """Run fab with a terminal of 200 columns; what is left of it is killed at the end."""
    keyboard, screen = pty.openpty()
    environment = fab.environment({"TERM": "xterm", **(env or {})})
    process = subprocess.Popen(
        [str(BIN / "fab"), *words],
        cwd=REPO,
        env=environment,
        stdin=screen,
        stdout=screen,
        stderr=screen,
        preexec_fn=own_terminal,
    )
    os.close(screen)
    try:
        yield Terminal(process, keyboard)
    finally:
        process.kill()
        process.wait()
        os.close(keyboard)


def own_terminal() -> None:
    """Make the pseudo-terminal the one that Ctrl-C and getpass belong to."""
    import fcntl
    import termios

    heed_ctrl_c()
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def heed_ctrl_c() -> None:
    """Undo what a shell does to a test run in the background: it ignores Ctrl-C, and so would its children."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_DFL)
