"""Screen: what the user sees.

One line a change, live while it lasts on a terminal, plain otherwise. Of hosts at work side by side each has a desk, which
takes what it says and asks; fleet/ makes them.
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
from .text import printable

asking = threading.Lock()  # one question after the other, question and answer together
alone = True  # one host at a time: only then can a line move
QUIET = 15.0  # seconds between signs of life where nothing can move
CLEAR = "\r\x1b[K"  # the line that moves
moving = False
speaking = threading.Lock()  # what is said at once stays in one piece
thread = threading.local()


class Desk(Protocol):
    """What a host of a fleet has in place of a screen and a keyboard of its own."""

    def say(self, text: str, aside: bool) -> None: ...

    def warn(self, text: str) -> None: ...

    def doing(self, why: str, line: str) -> None: ...

    def ask(self, question: str, whose: str, secret: bool) -> str: ...


def desk() -> Desk | None:
    """The desk of the host that this thread works on; None for one that has the terminal."""
    return getattr(thread, "desk", None)


def several_hosts() -> None:
    """Expect several hosts at work from now on: no line moves."""
    global alone
    alone = False


@contextlib.contextmanager
def at(desk: Desk | None) -> Iterator[None]:
    """Let what this thread says and asks go to a desk."""
    thread.desk = desk
    try:
        yield
    finally:
        thread.desk = None


@contextlib.contextmanager
def beside(desk: Desk | None, out: TextIO) -> Iterator[None]:
    """Let this thread speak where another one does, whose line moves and not this one's."""
    thread.desk, thread.out, thread.still = desk, out, True
    yield


def stream() -> TextIO:
    """Where this thread speaks: stdout, unless aside."""
    return getattr(thread, "out", None) or sys.stdout


@contextlib.contextmanager
def aside(wanted: bool = True) -> Iterator[None]:
    """Let this thread, one host's, speak on stderr: stdout is for a document. Others go on as they were."""
    before, thread.out = (
        getattr(thread, "out", None),
        sys.stderr if wanted else getattr(thread, "out", None),
    )
    try:
        yield
    finally:
        thread.out = before


def say(text: str = "") -> None:
    text = printable(text)
    if there := desk():
        return there.say(text, stream() is not sys.stdout)
    with speaking:
        print(f"{CLEAR * moving}{text}", file=stream(), flush=True)


def note(text: str) -> None:
    """Tell something that is no change."""
    say(f"  {text}")


def warn(text: str) -> None:
    text = printable(text)
    if there := desk():
        return there.warn(text)
    print(f"  ! {text}", file=sys.stderr, flush=True)


def terminal() -> bool:
    return desk() is None and stream().isatty()


def live() -> bool:
    return alone and terminal() and not getattr(thread, "still", False)


def hidden(question: str, whose: str = "") -> str:
    """Ask for something that the screen does not show. Raises SetupError when the input is closed instead (Ctrl-D).

    whose: the login that it is for. What hosts side by side ask in the same words, of whomever, they ask once.
    """
    return answer(question, whose, secret=True)


def agreed(question: str, choice: str = "y/N") -> bool:
    """Ask on the terminal for a yes; anything else is a no."""
    try:
        return answer(f"{question} [{choice}]", "", secret=False).strip().lower() in ("y", "yes")
    except EOFError:
        return False


def answer(question: str, whose: str, secret: bool) -> str:
    there = desk()
    return (
        there.ask(question, whose, secret)
        if there
        else prompt(f"{question} {whose}".rstrip(), secret)
    )


def prompt(text: str, secret: bool) -> str:
    """Ask on the terminal. Raises SetupError when no secret comes, and EOFError when nothing else does."""
    text = printable(text)
    with asking:
        if not secret and sys.stdout.isatty():
            return input(f"{text} ")
        if not secret:  # stdout may be for a document
            print(f"{text} ", end="", file=sys.stderr, flush=True)
            return input()
        try:
            return getpass.getpass(f"{text}: ")
        except EOFError:
            raise SetupError(f"no answer to '{text}': type the command again") from None


def duration(seconds: float) -> str:
    return (
        f"{seconds:.1f} s"
        if seconds < 60
        else f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
    )


def changed(where: str, why: str, seconds: float) -> None:
    """Tell one finished change."""
    took = f"  {duration(seconds)}" if seconds >= 1 else ""
    say(f"[{where}] {why}{took}")


def planned(where: str, why: str, text: str = "") -> None:
    """Tell one change that plan mode leaves undone."""
    say(f"[{where}] would {why}")
    for line in text.splitlines():
        say(f"    {line}")


@contextlib.contextmanager
def working(where: str, why: str) -> Iterator[Callable[[str], None]]:
    """Show that work goes on; yields a function to call with the newest line of output, or "" each second.

    On a terminal one line moves and vanishes at the end; elsewhere a line appears every 15 seconds.
    """
    began = last = time.monotonic()
    newest = ""

    def tell(line: str) -> None:
        nonlocal last, newest
        newest = line or newest
        now = time.monotonic()
        if there := desk():
            there.doing(why, line)
        elif live():
            move(f"[{where}] {why} … {duration(now - began)}", newest)
        elif now - last >= QUIET:
            last = now
            say(f"[{where}] {why} … {duration(now - began)}  {newest[:100]}".rstrip())

    try:
        if there := desk():
            there.doing(why, "")
        elif live():
            move(f"[{where}] {why} …", "")
        yield tell
    finally:
        if live():
            move("", "")


def move(head: str, tail: str) -> None:
    """Rewrite the last line of the terminal."""
    global moving
    moving = bool(head)
    room = shutil.get_terminal_size().columns - 1
    text = printable(f"{head}  {tail}").rstrip()[:room]
    out = stream()
    out.write(f"{CLEAR}{text}")
    out.flush()
