"""Member: one host of a fleet, its present work and its result.

It is the console (HostConsole in console.py) of the thread that works on it. What that thread
prints goes to the host's log and to the view.
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from invoke.config import Config
from invoke.exceptions import Exit

from ..errors import Unreachable
from ..host.session import Host
from ..local_state.aliases import find_alias, way
from ..run.task import HostTask, LaptopTask
from . import log
from .questions import QuestionPending

QUICK = 3  # seconds for a host to answer before the work, which allows it more time
WAITING, WORKING, DONE, FAILED, STOPPED = "waiting", "at work", "done", "failed", "stopped"

Ask = Callable[[str, str, str, bool], str]


class Display(Protocol):
    """Shows the lines of a member. view.py has two implementations."""

    def line(self, member: Member, text: str) -> None: ...

    def sign_of_life(self, member: Member) -> None: ...

    def warn(self, member: Member, text: str) -> None: ...

    def failed(self, member: Member) -> None: ...


class Member:
    """One host, from the first task of a command line to the last."""

    display: Display
    asked: Ask
    # The task is one of labfab's that needs the host.
    needs_host: bool
    # The task is one of labfab's, so it prints and asks through console.py.
    ours: bool
    # The task prints an answer, to be shown in one piece, and not the progress of its work.
    answers: bool

    def __init__(self, name: str, folder: Path | None) -> None:
        """Create a member. name: as it was typed. folder: of the logs; None if there are none."""
        self.name = name
        self.log = folder / log.name_of(name) if folder else None
        self.known_as = self.address = name
        self.state = WAITING
        # What it does now, in a few words.
        self.now = ""
        # The error in one line, with and without the host's name.
        self.error = self.problem = ""
        self.code = 0
        self.took = 0.0
        self.began = 0.0
        self.changes = 0
        # The lines of a task that answers.
        self.said: list[str] = []
        self.later: QuestionPending | None = None
        # A ConnectionCall and its Connection; Fabric is untyped.
        self.call: Any = None
        self.c: Any = None

    # The task at hand --------------------------------------------------------------------------

    def assign(self, call: Any, config: Config, display: Display, ask: Ask) -> None:
        """Take the next task. display: shows its lines. ask: answers its questions."""
        self.call, self.display, self.asked = call, display, ask
        self.c, self.said, self.now = call.make_context(config), [], ""
        self.address = self.c.host
        self.needs_host = isinstance(call.task, HostTask)
        self.ours = self.needs_host or isinstance(call.task, LaptopTask)
        self.answers = getattr(call.task, "reads", self.ours)

    @property
    def host(self) -> Host | None:
        """Return its session; None if there is none."""
        return Host.peek(self.c) if self.c else None

    @property
    def label(self) -> str:
        """Return its name for a line: its alias if it has one."""
        return self.host.label if self.host else self.known_as

    def login(self) -> tuple[str, str, int, str]:
        """Return user, address, port and jump host; for our tasks, those that setup moved it to."""
        block = find_alias(self.c) if self.ours else None
        if block:
            return block.user, block.hostname, block.port, block.way
        return self.c.user, self.c.host, self.c.port, way(self.c)

    def connect(self) -> None:
        """Connect and become root, or find out which question that takes."""
        self.later = None
        host = self.call.task.prepare_session(self.c, self.call.kwargs.get("recipe", ""))
        try:
            with host.answering_within(QUICK):
                host.open()
        except QuestionPending as question:
            self.later = question
        except Unreachable:
            # The work tries again with more time, and no other host waits for that.
            pass
        except Exit:
            # A task that opens the connection itself reports the problem itself.
            if not self.call.task.connects_itself:
                raise

    def queue(self) -> None:
        """Wait for its turn."""
        self.state = WAITING

    def idle(self) -> None:
        """Wait for the others, unless it failed."""
        if self.state == WORKING:
            self.state = WAITING

    def work(self) -> None:
        """Run the task."""
        self.call.task(self.c, *self.call.args, **self.call.kwargs)

    def attempt(self, step: Callable[[], None]) -> None:
        """Run a step, and record what went wrong."""
        self.state, self.began = WORKING, time.monotonic()
        try:
            step()
        except Exit as error:
            self.fail(error.message or "", error.code or 0)
        except KeyboardInterrupt:
            self.state = STOPPED
            raise
        # From a task library. Interpret the code as Python does.
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
            self.fail(f"the task ended the program with {end.code}" if code else "", code)
        # From any task library. Catch it here, because nobody else would name its host.
        except Exception as error:
            log.write(self.log, traceback.format_exc())
            self.fail(str(error) or type(error).__name__, 1)
        finally:
            self.took += time.monotonic() - self.began
            self.count()

    def fail(self, error: str, code: int) -> None:
        """Record how it ended. An exit code without a message is a result, not a failure."""
        self.state, self.code = DONE, max(self.code, code)
        if error and code:
            self.state, self.error = FAILED, " ".join(error.split())
            named = (f"{name}: " for name in (self.name, self.label, self.address))
            self.problem = self.error.removeprefix(next(filter(self.error.startswith, named), ""))
            log.write(self.log, f"failed: {error}")
            self.display.failed(self)
        elif error:
            self.say(error, aside=False)

    def end(self) -> None:
        """Record that everything went well, unless it did not."""
        if self.state == WORKING:
            self.state = DONE

    def stop(self) -> None:
        """Record that it was stopped during its work."""
        if self.state == WORKING:
            self.state = STOPPED

    @property
    def unproven(self) -> bool:
        """Return whether it is between a change to its access and the proof."""
        return self.state == WORKING and bool(self.host and self.host.before_write)

    def count(self) -> None:
        """Copy from the session what the recap needs, because the session may be gone by then."""
        if self.host:
            self.changes, self.known_as = len(self.host.changes), self.host.label

    def hang_up(self) -> None:
        """Close the connection, to make room for other hosts."""
        if self.host:
            self.host.close()

    def release(self) -> None:
        """Drop everything except what the recap needs."""
        self.hang_up()
        self.count()
        Host.end(self.host)
        self.c = self.call = None

    # Its console --------------------------------------------------------------------------------

    def say(self, text: str, aside: bool) -> None:
        """Log a line and show it, or keep it if it is part of an answer."""
        # The answer of a laptop task may be a secret, such as the token in lab.url.
        if self.needs_host or aside:
            log.write(self.log, text)
        if self.answers and not aside:
            self.said.append(text)
        else:
            self.now = text.removeprefix(f"[{self.label}]").strip() or self.now
            self.display.line(self, text)

    def warn(self, text: str) -> None:
        """Log and show a warning."""
        log.write(self.log, f"! {text}")
        self.display.warn(self, text)

    def doing(self, why: str, line: str) -> None:
        """Show what is being done. line: the newest line of a command's output."""
        if line:
            log.write(self.log, f"  {line}")
        if line or not self.now.startswith(why):
            self.now = f"{why}  {line}".rstrip()
        self.display.sign_of_life(self)

    def ask(self, question: str, whose: str, secret: bool) -> str:
        """Ask the user a question."""
        return self.asked(self.name, question, whose, secret)

    # Its result -------------------------------------------------------------------------------

    @property
    def result(self) -> str:
        """Return how it ended, in a few words."""
        return f"ended with {self.code}" if self.code and not self.error else self.state

    @property
    def seconds(self) -> float:
        """Return how long it has been at work."""
        return self.took + (time.monotonic() - self.began if self.state == WORKING else 0)

    def entry(self) -> dict[str, Any]:
        """Return the host as JSON, as docs/fleet.md describes it."""
        return {
            "host": self.name,
            "result": self.state,
            "code": self.code,
            "error": self.error,
            "changes": self.changes,
            "seconds": round(self.took, 2),
            "log": str(self.log or ""),
            "answer": self.answer(),
        }

    def answer(self) -> Any:
        """Return the last task's answer: its document if it is JSON, else its lines.

        None for a task without an answer.
        """
        try:
            return json.loads("\n".join(self.said)) if self.said else None
        except ValueError:
            return [line for line in self.said if line.strip()]
