"""Executor: one task on many hosts in parallel.

`fab` uses this executor if fabric.yaml names it under tasks.executor_class. Tasks of other
libraries run in it unchanged. With one host, or without -H, it works like Fabric's own.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import fabric
from fabric.tasks import ConnectionCall
from invoke.config import Config
from invoke.context import Context
from invoke.tasks import Call, Task

from .. import console, fabric_internals
from ..errors import SetupError
from ..local_state import secrets
from ..run.task import HostTask, LaptopTask
from ..settings import Settings
from . import log, recap
from .member import FAILED, Member
from .questions import QuestionPending, Questions
from .view import Block, View
from .workers import Workers, connection_limit

# Read these before the work: if one thread removed a variable, the others would miss it.
SECRETS = ("login-password", "sudo-password", "jupyter-password", "ca-passphrase")


class Executor(fabric.Executor):
    """Fabric's executor, but with the hosts of a task in parallel."""

    def execute(self, *tasks: Any) -> dict[Task[Any], Any]:
        """Run the tasks one after the other, then report what became of each host."""
        self.fleet = Fleet()
        results: dict[Task[Any], Any] = {}
        try:
            results = super().execute(*tasks)
        except KeyboardInterrupt:
            self.fleet.interrupt()
        finally:
            self.fleet.report()
        recap.end(self.fleet.all, self.fleet.interrupted)
        return results

    def normalize_hosts(self, hosts: list[Any] | None) -> list[dict[str, Any]]:
        """Raise SetupError for what is not a login, before Fabric fails on it."""
        return [checked(given) for given in super().normalize_hosts(hosts)]

    def expand_calls(self, calls: list[Call], apply_hosts: bool = True) -> list[Call]:
        """Join the calls of a task that differ only in their host."""
        expanded = super().expand_calls(calls, apply_hosts)
        return [self.joined(group) for group in grouped(expanded)]

    def joined(self, calls: list[Call]) -> Call:
        """Return one call that runs all of them."""
        first = calls[0]
        if not isinstance(first, ConnectionCall):
            return calls[0]
        if len(calls) == 1 and not self.wants_document(first):
            return calls[0]
        self.fleet.count_task()

        def everywhere(c: Context) -> None:
            self.fleet.run(calls, c.config)

        everywhere.__doc__ = first.task.__doc__
        return Call(Task(everywhere, name=first.task.name), called_as=first.called_as)

    def wants_document(self, call: Call) -> bool:
        """Return whether a JSON document is wanted even for this one host."""
        return is_ours(call) and Settings.of(Context(self.config), with_kept=False).recap == "json"


def checked(given: dict[str, Any]) -> dict[str, Any]:
    """Return a login of -H. Raises SetupError for a bad port or if the host name is missing."""
    try:
        parts = fabric.connection.derive_shorthand(str(given["host"]))
    except ValueError:
        parts = {"host": None, "port": None}
    if not parts["host"] or not (parts["port"] is None or 1 <= parts["port"] <= 65535):
        raise SetupError(
            f"-H {given['host']!r}: this is not a login: type it as root@ADDRESS or "
            "root@ADDRESS:PORT, the port from 1 to 65535"
        )
    return given


def grouped(calls: list[Call]) -> Iterator[list[Call]]:
    """Group consecutive calls of the same task and arguments. A host named twice counts once."""
    for _, same in groupby(calls, key=signature):
        yield list({host_of(call): call for call in same}.values())


def signature(call: Call) -> tuple[Any, ...]:
    """Return what two calls have in common if they are one task on two hosts."""
    return call.task, call.called_as, str(call.args), str(call.kwargs)


def host_of(call: Call) -> str:
    """Return the host as it was typed; for a call without one, a unique name."""
    return str(call.init_kwargs["host"]) if isinstance(call, ConnectionCall) else f"#{id(call)}"


def is_ours(call: Call) -> bool:
    """Return whether the task is one of labfab's kinds."""
    return isinstance(call.task, (HostTask, LaptopTask))


class Fleet:
    """The hosts of one command line, from the first task to the last."""

    def __init__(self) -> None:
        # By the name that was typed.
        self.members: dict[str, Member] = {}
        # How many tasks are still to come.
        self.planned = 0
        # Second names of hosts.
        self.twins: set[str] = set()
        self.questions = Questions()
        self.folder: Path | None = None
        self.looking = self.interrupted = self.document = False

    @property
    def all(self) -> list[Member]:
        """Return every host, in the order in which they were named."""
        return list(self.members.values())

    def count_task(self) -> None:
        """Count a task that is to come."""
        self.planned += 1

    def interrupt(self) -> None:
        """Record that Ctrl-C ended the command line."""
        self.interrupted = True

    def run(self, calls: list[ConnectionCall], config: Config) -> None:
        """Run one task on its hosts. What fails on one is reported at the end."""
        want = Settings.of(Context(config), with_kept=False)
        console.several_hosts()
        self.planned -= 1
        self.open_log()
        for name in SECRETS:
            secrets.take_from_environment(name)
        with self.viewed(calls[0], want.recap == "json") as self.view:
            self.workers = Workers(
                connection_limit(min(want.parallel, len(calls))), self.view, self.questions
            )
            members = self.collect_members(calls, config)
            self.view.show(members)
            if members and members[0].needs_host and sys.stdin.isatty():
                self.preconnect(members)
            self.workers.each(
                [member for member in members if member.state != FAILED], self.run_task
            )

    def open_log(self) -> None:
        """Create the folder of the logs. If that fails, the work continues without logs."""
        if self.folder is None:
            try:
                self.folder = log.begin()
            except (SetupError, OSError) as error:
                console.warn(f"no logs are kept: {error}")

    @contextlib.contextmanager
    def viewed(self, call: ConnectionCall, document: bool) -> Iterator[View]:
        """Show the hosts at work, on stderr if stdout is for a document."""
        ours, as_json = is_ours(call), bool(call.kwargs.get("json"))
        self.document = self.document or document or (ours and as_json)
        self.out = sys.stderr if self.document or as_json else sys.stdout
        view = (Block if ours and self.out.isatty() else View)([], self.out)
        with contextlib.ExitStack() as stack:
            if document and not ours:
                stack.enter_context(contextlib.redirect_stdout(sys.stderr))
            stack.callback(view.close)
            yield view

    def collect_members(self, calls: list[ConnectionCall], config: Config) -> list[Member]:
        """Return the hosts of a task, each login once, except those that failed before."""
        found: dict[tuple[str, str, int, str], Member] = {}
        for call in calls:
            name = host_of(call)
            # This was reported before, and the host may have failed since.
            if name in self.twins:
                continue
            member = self.members.get(name) or Member(name, self.folder)
            if member.state == FAILED:
                continue
            member.assign(call, fabric_internals.copy_for_host(config), self.view, self.ask)
            first = found.setdefault(member.login(), member)
            if first is member:
                self.members[name] = member
                member.queue()
            else:
                self.twins.add(name)
                self.view.put(f"{name} is the same login as {first.name}: it runs only once")
        return list(found.values())

    def preconnect(self, members: list[Member]) -> None:
        """Connect to all hosts and ask their questions before the work begins.

        The first ones stay connected, as many as are worked on in parallel.
        """
        self.looking = True
        early = {member.name for member in members[: self.workers.size]}

        def meet(member: Member) -> None:
            member.connect()
            member.idle()
            if member.name not in early and not member.later:
                member.hang_up()

        asking = members
        while asking:
            self.workers.each(asking, meet)
            asking = [member for member in asking if member.later and member.state != FAILED]
            self.workers.put_to_user([member.later for member in asking if member.later])
        self.looking = False

    def ask(self, host: str, question: str, whose: str, secret: bool) -> str:
        """Return the answer to a host's question, which the main thread asks the user.

        The host's own thread calls this. Raises QuestionPending while preconnect() connects to all
        hosts.
        """
        try:
            return self.questions.answer(host, question, whose, secret)
        except QuestionPending as later:
            if self.looking:
                raise
            unanswered = later
        self.workers.wait_for_answer(unanswered)
        return self.questions.answer(host, question, whose, secret)

    def run_task(self, member: Member) -> None:
        """Run the task on one host."""
        try:
            member.work()
            member.end()
        finally:
            if member.said and not self.document:
                self.view.answer(member)
            if not self.planned:
                member.release()
            elif self.workers.size < len(self.members):
                member.hang_up()

    def report(self) -> None:
        """Print the result of each host."""
        if not self.members:
            return
        with console.speaking:
            print(recap.table(self.all, self.folder), file=self.out, flush=True)
            if self.document:
                print(recap.document(self.all), flush=True)
