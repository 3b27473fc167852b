"""Console: shows lines to the user and asks questions.

Each change is one line, which on a terminal is redrawn while the work goes on. If several hosts are
at work, each has a console of its own (fleet/member.py) that receives its lines and questions.
"""

from __future__ import annotations

import contextlib
import getpass
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Protocol, TextIO

from .errors import SetupError
from .text import as_typed, one_line, printable

QUIET = 15.0  # seconds between signs of life if no line can be redrawn
CLEAR = "\r\x1b[K"  # clears the line that is redrawn
# Held from a question to its answer, so that there is one at a time.
asking = threading.Lock()
# Keeps the lines of several threads apart.
speaking = threading.Lock()
# Only one host is worked on: otherwise no line may be redrawn.
alone = True
# A line is being redrawn.
moving = False
thread = threading.local()


class HostConsole(Protocol):
    """Replaces the screen and the keyboard for one host of a fleet."""

    def say(self, text: str, aside: bool) -> None: ...

    def warn(self, text: str) -> None: ...

    def doing(self, why: str, line: str) -> None: ...

    def ask(self, question: str, whose: str, secret: bool) -> str: ...


def host_console() -> HostConsole | None:
    """Return the console of the host that this thread works on; None: the terminal."""
    return getattr(thread, "host_console", None)


def several_hosts() -> None:
    """Expect several hosts from now on, so redraw no line."""
    global alone
    alone = False


@contextlib.contextmanager
def speaking_to(host_console: HostConsole | None) -> Iterator[None]:
    """Send the lines and questions of this thread to a host's console."""
    thread.host_console = host_console
    try:
        yield
    finally:
        thread.host_console = None


@contextlib.contextmanager
def speaking_like(host_console: HostConsole | None, out: TextIO) -> Iterator[None]:
    """Let this thread print where another one does. Only the other one may redraw its line."""
    thread.host_console, thread.out, thread.still = host_console, out, True
    yield


def stream() -> TextIO:
    """Return the stream that this thread prints to: stdout, or stderr inside on_stderr()."""
    return getattr(thread, "out", None) or sys.stdout


@contextlib.contextmanager
def on_stderr(wanted: bool = True) -> Iterator[None]:
    """Let this thread print to stderr, because stdout is for a document such as JSON."""
    before = getattr(thread, "out", None)
    thread.out = sys.stderr if wanted else before
    try:
        yield
    finally:
        thread.out = before


def say(text: str = "") -> None:
    """Print one line."""
    text = as_typed(printable(text))
    if there := host_console():
        return there.say(text, stream() is not sys.stdout)
    with speaking:
        print(f"{CLEAR if moving else ''}{text}", file=stream(), flush=True)


def note(text: str) -> None:
    """Print a remark below a line."""
    say(f"  {one_line(text)}")


def warn(text: str) -> None:
    """Print a warning on stderr."""
    text = as_typed(one_line(text))
    if there := host_console():
        return there.warn(text)
    print(f"  ! {text}", file=sys.stderr, flush=True)


def terminal() -> bool:
    """Return whether this thread prints to a terminal."""
    return host_console() is None and stream().isatty()


def live() -> bool:
    """Return whether this thread may redraw the last line of the terminal."""
    return alone and terminal() and not getattr(thread, "still", False)


def hidden(question: str, whose: str = "") -> str:
    """Ask for a secret without showing it. Raises SetupError if the input is closed (Ctrl-D).

    whose: the login that it is for. If several hosts ask the same question, the user sees it once.
    """
    return answer(question, whose, secret=True)


def agreed(question: str) -> bool:
    """Ask a yes-or-no question. Anything but y or yes means no."""
    try:
        return answer(f"{question} [y/N]", "", secret=False).strip().lower() in ("y", "yes")
    except EOFError:
        return False


def answer(question: str, whose: str, secret: bool) -> str:
    """Ask, on the terminal or through the host's console."""
    if there := host_console():
        return there.ask(question, whose, secret)
    return prompt(f"{question} {whose}".rstrip(), secret)


def prompt(text: str, secret: bool) -> str:
    """Ask on the terminal. Raises EOFError if the input is closed; for a secret, SetupError."""
    text = one_line(text)
    with asking:
        if not secret and sys.stdout.isatty():
            return input(f"{text} ")
        # stdout may be for a document.
        if not secret:
            print(f"{text} ", end="", file=sys.stderr, flush=True)
            return input()
        try:
            return getpass.getpass(f"{text}: ")
        except EOFError:
            raise SetupError(f"no answer to '{text}': run the command again") from None


def duration(seconds: float) -> str:
    """Return a duration in words: 8.3 s, 2 min 05 s."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"


def changed(where: str, why: str, seconds: float) -> None:
    """Print a change that was made."""
    took = f"  {duration(seconds)}" if seconds >= 1 else ""
    say(one_line(f"[{where}] {why}") + took)


def planned(where: str, why: str, text: str = "") -> None:
    """Print a change that plan mode shows instead of making it."""
    say(one_line(f"[{where}] would {why}"))
    for line in text.splitlines():
        say(f"    {line}")


@contextlib.contextmanager
def working(where: str, why: str) -> Iterator[Callable[[str], None]]:
    """Show that work is in progress.

    Yields a function to call with the newest line of output, or with "" about once a second. On a
    terminal one line is redrawn, and removed at the end. Elsewhere a line appears every 15 seconds.
    """
    began = last = time.monotonic()
    newest = ""

    def tell(line: str) -> None:
        nonlocal last, newest
        newest = line or newest
        now = time.monotonic()
        if there := host_console():
            there.doing(why, line)
        elif live():
            move(f"[{where}] {why} … {duration(now - began)}", newest)
        elif now - last >= QUIET:
            last = now
            said = f"[{where}] {why} … {duration(now - began)}  {newest[:100]}"
            say(one_line(said).rstrip())

    try:
        if there := host_console():
            there.doing(why, "")
        elif live():
            move(f"[{where}] {why} …", "")
        yield tell
    finally:
        if live():
            move("", "")


def move(head: str, tail: str) -> None:
    """Redraw the last line of the terminal."""
    global moving
    moving = bool(head)
    room = shutil.get_terminal_size().columns - 1
    text = one_line(f"{head}  {tail}").rstrip()[:room]
    out = stream()
    out.write(f"{CLEAR}{text}")
    out.flush()
