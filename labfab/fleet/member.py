"""Member: one host of a fleet, what it does now and how it ended.

It is the desk (screen.py) of the thread that works on it: what is said there goes to the host's log, and to the view.
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fabric.tasks import ConnectionCall
from invoke import Config, Context, Exit

from ..errors import Unreachable
from ..host.session import Host
from ..local_state.aliases import block_of, jump
from ..run.task import HostTask, LaptopTask
from ..settings import Settings
from . import log
from .questions import Later

if TYPE_CHECKING:
    from .view import View

QUICK = 3  # seconds in which a host answers that is to be asked about before the work
WAITING, WORKING, DONE, FAILED, STOPPED = "waiting", "at work", "done", "failed", "stopped"


class Member:
    """What one host has to show for a command line."""

    def __init__(self, name: str, folder: Path | None) -> None:
        self.name = name
        self.log = folder / log.name_of(name) if folder else None
        self.known_as = self.address = name
        self.state = WAITING
        self.now = ""  # what it does, in a few words
        self.error = ""  # one line
        self.problem = ""  # the same without the name of the host
        self.code = 0
        self.took = 0.0
        self.began = 0.0
        self.changes = 0
        self.said: list[str] = []  # aloud, by a task that answers
        self.later: Later | None = None
        self.c: Context | None = None

    # The task at hand --------------------------------------------------------------------------

    def take(
        self,
        call: ConnectionCall,
        config: Config,
        view: View,
        ask: Callable[[str, str, str, bool], str],
    ) -> None:
        """Take the next task. view: where lines are shown. ask: who answers questions."""
        self.call, self.view, self.asked = call, view, ask
        self.c, self.said, self.now = call.make_context(config), [], ""
        self.address = self.c.host
        self.dials = isinstance(call.task, HostTask)
        self.ours = self.dials or isinstance(
            call.task, LaptopTask
        )  # speaks and asks by screen.py; others print as they like
        # What it says is the answer to a question, wanted in one piece, and no report of work.
        self.answers = getattr(call.task, "reads", self.ours)

    @property
    def host(self) -> Host | None:
        return Host.peek(self.c) if self.c else None

    @property
    def label(self) -> str:
        """How to name it in a line: by its alias, where it has one."""
        return self.host.label if self.host else self.known_as

    def login(self) -> tuple[str, str, int, str]:
        """Who would be called, and which way; of a task of labfab, where setup moved that login."""
        block = block_of(self.c) if self.ours else None
        if block:
            return block.user, block.hostname, block.port, block.proxy_jump
        return self.c.user, self.c.host, self.c.port, jump(self.c)

    def meet(self) -> None:
        """Dial and become root, or find out what must be asked for that."""
        self.later = None
        host = self.call.task.meet(self.c, self.call.kwargs.get("recipe", ""))
        patience, host.c.connect_timeout = (
            host.c.connect_timeout or Settings.of(self.c).connect_timeout,
            QUICK,
        )
        try:
            host.open()
        except Later as question:
            self.later = question
        except Unreachable:
            pass  # the work tries again, as long as it may take, and no other host waits for that
        except Exit:
            if not self.call.task.dials:  # that one tells by itself what there is to tell
                raise
        finally:
            host.c.connect_timeout = patience

    def rest(self) -> None:
        """Wait for the others, unless it failed."""
        if self.state == WORKING:
            self.state = WAITING

    def work(self) -> None:
        self.call.task(self.c, *self.call.args, **self.call.kwargs)

    def attempt(self, step: Callable[[], None]) -> None:
        """Do a step, and note what went wrong."""
        self.state, self.began = WORKING, time.monotonic()
        try:
            step()
        except Exit as error:
            self.fail(error.message or "", error.code or 0)
        except KeyboardInterrupt:
            self.state = STOPPED
            raise
        except SystemExit as end:  # of a task library, as Python itself takes it
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
            self.fail(f"the task ended the program with {end.code}" if code else "", code)
        except (
            Exception
        ) as error:  # of any task library: named with its host, for nobody else would
            log.write(self.log, traceback.format_exc())
            self.fail(str(error) or type(error).__name__, 1)
        finally:
            self.took += time.monotonic() - self.began
            self.count()

    def fail(self, error: str, code: int) -> None:
        """Note how it ended; a code without a word means something, and is no failure."""
        self.state, self.code = DONE, max(self.code, code)
        if error and code:
            self.state, self.error = FAILED, " ".join(error.split())
            named = (f"{name}: " for name in (self.name, self.label, self.address))
            self.problem = self.error.removeprefix(next(filter(self.error.startswith, named), ""))
            log.write(self.log, f"failed: {error}")
            self.view.failed(self)
        elif error:
            self.say(error, aside=False)

    def end(self) -> None:
        """Note that all went well, unless it did not."""
        if self.state == WORKING:
            self.state = DONE

    def count(self) -> None:
        """Note what is to be told of the session, which may be gone by then."""
        if self.host:
            self.changes, self.known_as = len(self.host.changes), self.host.label

    def hang_up(self) -> None:
        """Let go of the connection and of what was read: other hosts need the room."""
        if self.host:
            self.host.close()

    def leave(self) -> None:
        """Let go of all but what is to be told."""
        self.hang_up()
        self.count()
        Host.end(self.host)
        self.c = self.call = None

    # Its desk ----------------------------------------------------------------------------------

    def say(self, text: str, aside: bool) -> None:
        if (
            self.dials or aside
        ):  # a task of the laptop may answer with a secret, as lab.url does with the token
            log.write(self.log, text)
        if self.answers and not aside:
            self.said.append(text)
        else:
            self.now = text.removeprefix(f"[{self.label}]").strip() or self.now
            self.view.line(self, text)

    def warn(self, text: str) -> None:
        log.write(self.log, f"! {text}")
        self.view.warn(self, text)

    def doing(self, why: str, line: str) -> None:
        if line:
            log.write(self.log, f"  {line}")
        self.now = f"{why}  {line}".rstrip() if line or not self.now.startswith(why) else self.now
        self.view.sign_of_life(self)

    def ask(self, question: str, whose: str, secret: bool) -> str:
        return self.asked(self.name, question, whose, secret)

    # What became of it -------------------------------------------------------------------------

    @property
    def result(self) -> str:
        return f"ended with {self.code}" if self.code and not self.error else self.state

    @property
    def seconds(self) -> float:
        return self.took + (time.monotonic() - self.began if self.state == WORKING else 0)

    def entry(self) -> dict[str, Any]:
        """What a program is told."""
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
        """What the last task answered: its document where it made one, else its lines; None where it only works."""
        try:
            return json.loads("\n".join(self.said)) if self.said else None
        except ValueError:
            return [line for line in self.said if line.strip()]
