"""Executor: one task on many hosts at once.

`fab` uses this executor when fabric.yaml names it under tasks.executor_class. Tasks of other libraries run in it as
they are; with one host, or without -H, nothing differs from Fabric's own.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import groupby
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import fabric
from fabric.connection import derive_shorthand
from fabric.tasks import ConnectionCall
from invoke import Call, Config, Context, Task

from .. import console, fabric_internals
from ..errors import SetupError
from ..local_state import secrets
from ..run.task import HostTask, LaptopTask
from ..settings import Settings
from . import log, recap
from .member import FAILED, STOPPED, WAITING, WORKING, Member
from .questions import Later, Questions
from .view import Block, View

FILES, SPARE = (
    14,
    100,
)  # open files of one host at most, with what begins ahead, and of the program itself
TICK = 0.1  # seconds between two pictures of the block
PATIENCE = 3  # seconds for hosts to stop
PROOF = 30  # the same where a change is not proven yet: a dial is in the way, and guard.py has something to say


class Executor(fabric.Executor):
    """Fabric's executor, with the hosts of one task side by side."""

    def execute(self, *tasks: Any) -> dict[Task, Any]:
        """Run the tasks one after the other; at the end tell what became of each host."""
        self.fleet = Fleet()
        try:
            results = super().execute(*tasks)
        except KeyboardInterrupt:
            self.fleet.interrupted, results = True, {}
        finally:
            self.fleet.tell()
        recap.end(self.fleet.all, self.fleet.interrupted)
        return results

    def normalize_hosts(self, hosts: list[Any] | None) -> list[dict[str, Any]]:
        """Refuse what is no login before Fabric stumbles over it."""
        return [checked(given) for given in super().normalize_hosts(hosts)]

    def expand_calls(self, calls: list[Call], apply_hosts: bool = True) -> list[Call]:
        """Join the calls of one task that differ in their host only."""
        expanded = super().expand_calls(calls, apply_hosts)
        return [self.joined(group) for group in grouped(expanded)]

    def joined(self, calls: list[Call]) -> Call:
        """One call that stands for all of them."""
        first = calls[0]
        if not isinstance(first, ConnectionCall) or (
            len(calls) == 1 and not self.wants_document(first)
        ):
            return first
        self.fleet.planned += 1

        def everywhere(c: Context) -> None:
            self.fleet.run(calls, c.config)

        everywhere.__doc__ = first.task.__doc__
        return Call(Task(everywhere, name=first.task.name), called_as=first.called_as)

    def wants_document(self, call: Call) -> bool:
        """Whether a program wants to know what became of this one host."""
        return (
            isinstance(call.task, (HostTask, LaptopTask))
            and Settings.of(Context(self.config)).recap == "json"
        )


def checked(given: dict[str, Any]) -> dict[str, Any]:
    """Return what -H named. Raises SetupError for one without a host name or with a port that is none."""
    try:
        parts = derive_shorthand(str(given["host"]))
    except ValueError:
        parts = {"host": None, "port": None}
    if not parts["host"] or not (parts["port"] is None or 1 <= parts["port"] <= 65535):
        raise SetupError(
            f"-H {given['host']!r}: that is no login: type it as root@ADDRESS or root@ADDRESS:PORT, the port from 1 to 65535"
        )
    return given


def grouped(calls: list[Call]) -> Iterator[list[Call]]:
    """Split into runs of the same task and arguments; a host named twice counts once."""
    for _, same in groupby(
        calls, key=lambda call: (call.task, call.called_as, str(call.args), str(call.kwargs))
    ):
        yield list({host_of(call): call for call in same}.values())


def host_of(call: Call) -> str:
    return str(call.init_kwargs["host"]) if isinstance(call, ConnectionCall) else f"#{id(call)}"


class Fleet:
    """The hosts of one command line, from the first task to the last."""

    def __init__(self) -> None:
        self.members: dict[str, Member] = {}  # by the name that was typed
        self.planned = 0  # tasks that are still to come
        self.twins: set[str] = set()  # names of a host that another name stands for
        self.questions = Questions()
        self.inbox: SimpleQueue[Asked | None] = (
            SimpleQueue()
        )  # what the main thread is told: a question, or that a thread has ended
        self.folder: Path | None = None
        self.looking = self.interrupted = self.document = False

    @property
    def all(self) -> list[Member]:
        return list(self.members.values())

    def run(self, calls: list[ConnectionCall], config: Config) -> None:
        """Run one task on its hosts; what goes wrong on one is noted and told at the end."""
        want = Settings.of(Context(config))
        console.alone = False
        self.planned -= 1
        self.parallel = room(min(want.parallel, len(calls)))
        self.open_log()
        for name in ("login-password", "sudo-password", "jupyter-password", "ca-passphrase"):
            secrets.take_from_environment(
                name
            )  # now, for a variable that one thread takes away another one would miss
        with self.viewed(calls[0], want.recap == "json") as self.view:
            members = self.muster(calls, config)
            self.view.members[:] = members
            if members and members[0].dials and sys.stdin.isatty():
                self.look(members)
            self.each([member for member in members if member.state != FAILED], self.work)

    def open_log(self) -> None:
        """Make the folder of the logs; without one the work goes on."""
        if self.folder is None:
            try:
                self.folder = log.begin()
            except (SetupError, OSError) as error:
                console.warn(f"no logs are kept: {error}")

    @contextlib.contextmanager
    def viewed(self, call: ConnectionCall, document: bool) -> Iterator[View]:
        """Show the hosts at work, on stderr where stdout is for a document."""
        ours = isinstance(call.task, (HostTask, LaptopTask))
        self.document = self.document or document or (ours and bool(call.kwargs.get("json")))
        out = sys.stderr if self.document or call.kwargs.get("json") else sys.stdout
        self.out = out
        view = (Block if ours and out.isatty() else View)([], out)
        try:
            with (
                contextlib.redirect_stdout(sys.stderr)
                if document and not ours
                else contextlib.nullcontext()
            ):
                yield view
        finally:
            view.close()

    def muster(self, calls: list[ConnectionCall], config: Config) -> list[Member]:
        """The hosts of a task, each login once; one that failed before is left out."""
        found: dict[tuple, Member] = {}
        for call in calls:
            name = host_of(call)
            if name in self.twins:  # told already, and its first name may have failed since
                continue
            member = self.members.get(name) or Member(name, self.folder)
            if member.state == FAILED:
                continue
            member.take(call, fabric_internals.copy_for_host(config), self.view, self.ask)
            first = found.setdefault(member.login(), member)
            if first is member:
                self.members[name] = member
                member.state = WAITING
            else:
                self.twins.add(name)
                self.view.put(f"{name} is the same login as {first.name}: it runs once")
        return list(found.values())

    # The work ----------------------------------------------------------------------------------

    def look(self, members: list[Member]) -> None:
        """Dial all, and ask what must be asked for that, before the work begins.

        Those that are first in the row stay connected; no more connections are open than hosts are worked on.
        """
        self.looking = True
        early = set(map(id, members[: self.parallel]))

        def meet(member: Member) -> None:
            member.meet()
            member.rest()
            if id(member) not in early and not member.later:
                member.hang_up()

        asking = members
        while asking:
            self.each(asking, meet)
            asking = [member for member in members if member.later and member.state != FAILED]
            self.put_to_user(member.later for member in asking)
        self.looking = False

    def put_to_user(self, put_off: Iterator[Later]) -> None:
        self.view.close()
        self.questions.ask(put_off)

    def ask(self, host: str, question: str, whose: str, secret: bool) -> str:
        """Answer what a host asks, in the thread that works on it; the main thread asks the user."""
        try:
            return self.questions.answer(host, question, whose, secret)
        except Later as later:
            if self.looking:
                raise
            asked = Asked(later)
        self.inbox.put(asked)
        while not asked.answered.wait(0.5):  # not for good: Ctrl-C must reach this thread
            pass
        return self.questions.answer(host, question, whose, secret)

    def work(self, member: Member) -> None:
        try:
            member.work()
            member.end()
        finally:
            if member.said and not self.document:
                self.view.answer(member)
            if not self.planned:
                member.leave()
            elif self.parallel < len(self.members):
                member.hang_up()

    def each(self, members: list[Member], step: Callable[[Member], None]) -> None:
        """Take a step on every host, some at a time. Raises KeyboardInterrupt when all have stopped."""
        todo: SimpleQueue[Member] = SimpleQueue()
        for member in members:
            todo.put(member)
        threads = [
            threading.Thread(target=self.hand, args=(todo, step), name=f"hosts-{n}", daemon=True)
            for n in range(min(self.parallel, len(members)))
        ]
        try:
            for thread in threads:
                thread.start()
            self.watch(len(threads))
        except KeyboardInterrupt:
            self.stop(threads, todo)
            raise

    def hand(self, todo: SimpleQueue[Member], step: Callable[[Member], None]) -> None:
        """One thread: take a host, take the step, take the next one."""
        with contextlib.suppress(KeyboardInterrupt):
            try:
                with contextlib.suppress(Empty):
                    while True:
                        member = todo.get_nowait()
                        with console.at(member if member.ours else None):
                            member.attempt(partial(step, member))
            finally:
                self.inbox.put(None)

    def watch(self, threads: int) -> None:
        """Draw, and ask what hosts ask, until so many threads have ended."""
        while threads:
            self.view.draw()
            with contextlib.suppress(Empty):
                asked = self.inbox.get(timeout=TICK)
                if asked is None:
                    threads -= 1
                else:
                    self.put_to_user(iter([asked.later]))
                    asked.answered.set()

    def stop(self, threads: list[threading.Thread], todo: SimpleQueue[Member]) -> None:
        """Let no host begin, and have each thread end as Ctrl-C ends the work on a single host."""
        with contextlib.suppress(Empty):
            while True:
                todo.get_nowait()
        for thread in filter(threading.Thread.is_alive, threads):
            interrupt(thread)
        self.view.put("stopping …")
        began = time.monotonic()
        while any(thread.is_alive() for thread in threads) and time.monotonic() - began < (
            PROOF if self.unproven() else PATIENCE
        ):
            self.view.draw()
            time.sleep(TICK)
        for member in self.all:
            member.state = STOPPED if member.state == WORKING else member.state

    def unproven(self) -> bool:
        """Whether a host is between a change to its access and the proof of it."""
        return any(
            member.state == WORKING and member.host and member.host.before_write
            for member in self.all
        )

    # The end -----------------------------------------------------------------------------------

    def tell(self) -> None:
        """Tell what became of each host."""
        if not self.members:
            return
        with console.speaking:
            print(recap.table(self.all, self.folder), file=self.out, flush=True)
            if self.document:
                print(recap.document(self.all), flush=True)


class Asked:
    """A question that came up in the middle of the work."""

    def __init__(self, later: Later) -> None:
        self.later, self.answered = later, threading.Event()


def room(hosts: int) -> int:
    """How many of so many hosts may be open at once. macOS allows a program 256 files, unless it asks for more."""
    import resource

    wanted, (soft, hard) = SPARE + FILES * hosts, resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            more = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (more, hard))
            soft = more
        return min(hosts, max(1, (soft - SPARE) // FILES))
    return hosts


def interrupt(thread: threading.Thread) -> None:
    """Raise KeyboardInterrupt in a thread, as Ctrl-C does in the main one: at its next step in Python."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident), ctypes.py_object(KeyboardInterrupt)
    )
