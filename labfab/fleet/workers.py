"""Workers: the threads that work on the hosts, while the main thread draws and asks."""

from __future__ import annotations

import contextlib
import ctypes
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from queue import Empty, SimpleQueue

from .. import console
from .member import Member
from .questions import QuestionPending, Questions
from .view import View

# Open files that one host needs at most, early work included, and that the program itself needs.
FILES, SPARE = 14, 100
TICK = 0.1  # seconds between two redraws of the block
PATIENCE = 3  # seconds for hosts to stop
# Seconds if a change is not proven yet: a connection must time out, and guard.py must report.
PROOF = 30

Step = Callable[[Member], None]


class AskedQuestion:
    """A question that came up during the work."""

    def __init__(self, later: QuestionPending) -> None:
        self.later, self.answered = later, threading.Event()


class Workers:
    """The threads of one task."""

    def __init__(self, size: int, view: View, questions: Questions) -> None:
        """Create the threads' shared state. size: how many hosts are worked on in parallel."""
        self.size, self.view, self.questions = size, view, questions
        # Messages to the main thread: a question, or None when a thread has ended.
        self.inbox: SimpleQueue[AskedQuestion | None] = SimpleQueue()

    def each(self, members: list[Member], step: Step) -> None:
        """Run a step on every host. Raises KeyboardInterrupt once all have stopped."""
        todo: SimpleQueue[Member] = SimpleQueue()
        for member in members:
            todo.put(member)
        threads = [
            threading.Thread(target=self.worker, args=(todo, step), name=f"hosts-{n}", daemon=True)
            for n in range(min(self.size, len(members)))
        ]
        try:
            for thread in threads:
                thread.start()
            self.watch(len(threads))
        except KeyboardInterrupt:
            # Empty the queue, so that no other host begins.
            while next_member(todo):
                pass
            self.stop(threads, members)
            raise

    def worker(self, todo: SimpleQueue[Member], step: Step) -> None:
        """Run the step on one host after another until none is left. Each thread runs this."""
        with contextlib.suppress(KeyboardInterrupt):
            try:
                while (member := next_member(todo)) is not None:
                    with console.speaking_to(member if member.ours else None):
                        member.attempt(partial(step, member))
            finally:
                self.inbox.put(None)

    def watch(self, threads: int) -> None:
        """Draw, and ask the hosts' questions, until this many threads have ended."""
        while threads:
            self.view.draw()
            with contextlib.suppress(Empty):
                asked = self.inbox.get(timeout=TICK)
                if asked is None:
                    threads -= 1
                else:
                    self.put_to_user([asked.later])
                    asked.answered.set()

    def put_to_user(self, questions: Iterable[QuestionPending]) -> None:
        """Remove the block and ask the user."""
        self.view.close()
        self.questions.ask(questions)

    def wait_for_answer(self, later: QuestionPending) -> None:
        """Pass a question to the main thread and wait for the answer. Workers call this."""
        asked = AskedQuestion(later)
        self.inbox.put(asked)
        # With a timeout, so that Ctrl-C reaches this thread.
        while not asked.answered.wait(0.5):
            pass

    def stop(self, threads: list[threading.Thread], members: list[Member]) -> None:
        """Interrupt each thread, as Ctrl-C interrupts the work on a single host."""
        for thread in filter(threading.Thread.is_alive, threads):
            interrupt(thread)
        self.view.put("stopping …")
        began = time.monotonic()
        while any(thread.is_alive() for thread in threads):
            unproven = any(member.unproven for member in members)
            if time.monotonic() - began >= (PROOF if unproven else PATIENCE):
                break
            self.view.draw()
            time.sleep(TICK)
        for member in members:
            member.stop()


def next_member(todo: SimpleQueue[Member]) -> Member | None:
    """Return the next host, or None if there is none."""
    try:
        return todo.get_nowait()
    except Empty:
        return None


def interrupt(thread: threading.Thread) -> None:
    """Raise KeyboardInterrupt in a thread at its next bytecode, as Ctrl-C does in the main one.

    Only Python's C API offers this.
    """
    raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
    raise_in(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(KeyboardInterrupt))


def connection_limit(hosts: int) -> int:
    """Return how many of these hosts can be open in parallel.

    macOS allows a program 256 open files unless it asks for more, so ask for more.
    """
    import resource

    wanted, (soft, hard) = SPARE + FILES * hosts, resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return hosts
    with contextlib.suppress(ValueError, OSError):
        more = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (more, hard))
        soft = more
    return min(hosts, max(1, (soft - SPARE) // FILES))
