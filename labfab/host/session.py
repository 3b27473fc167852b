"""Session: what a run knows of one machine, and its root shell there."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from secrets import token_hex
from typing import Any, NamedTuple

from fabric import Connection
from invoke import Context

from .. import console, fabric_internals
from ..errors import SetupError
from ..local_state import known_hosts, secrets
from ..local_state.aliases import find_alias, proxy_jump, ssh_config_path
from ..settings import KERNEL_LOOKUPS, Settings
from . import connection, login_errors
from .alias import alias_of
from .run_lock import RunLock
from .shell import ConnectionLost, Frame, Result, Shell, WrongSudoPassword


class WriteMark(NamedTuple):
    """What a guard says to a write in its window.

    id: under which the journal files it. patience: seconds of silence after which it counts as failed.
    """

    id: str
    patience: int


class Change(NamedTuple):
    """One write that was made, or in plan mode would be; path and diff are those of a file, empty for a secret one."""

    stage: str
    why: str
    path: str = ""
    diff: str = ""


class Login(NamedTuple):
    """A way in that is known to work; without an identity it is the way of the present login."""

    user: str
    port: int
    identity: Path | None


class Host:
    """What a run knows of one machine: its settings, its root shell, its facts, the changes so far."""

    sessions: dict[tuple[str, str, int, str], Host] = {}
    lock = threading.Lock()

    def __init__(self, c: Connection, label: str = "") -> None:
        self.c = c
        self.kernel = ""  # its name, known once there was a shell
        self.platform = ""  # the module in platforms/, once it is known
        self.shell: Shell | None = None
        self.run_lock = RunLock()
        self.facts: dict[str, dict[str, str]] = {}
        self.asked: dict[str, set[str]] = {}  # stage -> the sections of facts that it asks about
        self.reading: Frame | None = None  # facts under way
        self.resumed = False
        self.background: Future[Any] | None = None  # what the laptop finds out meanwhile
        self.changes: list[Change] = []
        self.run, self.step = token_hex(8), 0  # by which the journal keeps the order of the work
        self.stage = ""
        self.depth = 0
        self.proven: Login | None = None
        self.before_write: Callable[[], WriteMark] | None = None
        self.mark: WriteMark | None = None  # of the window that is open
        self.sudo_password: str | None = None
        known_as = c.original_host if c.original_host != c.host else login_errors.address(c)
        self.label = label or known_as

    # Finding the session of a connection ------------------------------------------------------

    @classmethod
    def of(cls, c: Connection) -> Host:
        """Give the session of this login; tasks of the same command line share it."""
        found = cls.peek(c)
        if found is None:
            with cls.lock:
                key = (c.user, c.host, c.port, proxy_jump(c))
                found = cls.sessions.setdefault(key, cls(c))
            found.attach(c)
        return found

    @classmethod
    def peek(cls, c: Context) -> Host | None:
        """Give the session of this login if there is one, without making it."""
        found: Host | None = fabric_internals.session_of(c)
        return found

    @classmethod
    def end(cls, host: Host | None) -> None:
        """Let no later task of this command line find a session again."""
        with cls.lock:
            for key in [key for key, other in cls.sessions.items() if other is host]:
                del cls.sessions[key]

    def attach(self, c: Connection) -> None:
        """Be the session of this connection, whatever its login is called."""
        fabric_internals.keep_session(c, self)

    def twin(self) -> Host:
        """Give a second session of the same host, over the same connection, with facts of its own."""
        c = copy_of(self.c)
        new = Host(c)
        new.attach(c)
        new.label, new.depth, new.resumed = self.label, self.depth, True
        new.platform, new.run = self.platform, self.run
        return new

    # Dialling ---------------------------------------------------------------------------------

    @property
    def login(self) -> Login:
        """The newest way in that was proven, else the one this run came in by."""
        return self.proven or Login(self.c.user, self.c.port, None)

    @property
    def planning(self) -> bool:
        """Whether writes are shown instead of done."""
        return bool(self.c.config.run.dry)

    def follow(self) -> None:
        """Take the address that setup has given to this login since, and its name."""
        self.label = connection.follow(self.c) or self.label

    def open(self) -> Shell:
        """Dial where that is still to do and give the root shell."""
        if self.shell is None:
            settings = Settings.of(self.c)
            self.follow()
            if not self.c.is_connected:
                self.dial(settings)
            self.use(self.root_shell(settings))
        assert self.shell
        return self.shell

    def open_without_root(self) -> Shell:
        """Give a shell with the login's own rights; close_shell() ends it."""
        shell = Shell(self.c.transport, self.label, root=False)
        self.use(shell)
        return shell

    def use(self, shell: Shell) -> None:
        """Go through this shell from now on."""
        self.shell, self.kernel = shell, shell.kernel

    def dial(self, settings: Settings) -> None:
        """Open the connection; where a run died after sshd had moved and before the alias did, on the port it moved to."""
        try:
            connection.dial(self.c, settings)
        except login_errors.NobodyListens as error:
            known = find_alias(self.c)
            port = settings.ssh_port
            if self.c.port == port or not known_hosts.pinned(
                connection.known_hosts_path(), self.c.host, port
            ):
                where = f"; {ssh_config_path(self.c)} leads there: if the machine was set up anew, delete the block of {self.label}"
                raise SetupError(f"{error}{where if known else ''}") from None
            console.say(
                f"[{self.label}] nothing listens on port {self.c.port}, trying ssh_port: {port}"
            )
            self.c.port = port
            connection.dial(self.c, settings)

    def root_shell(self, settings: Settings) -> Shell:
        """Start the shell, finding sudo's password where it asks for one."""
        given = secrets.take_from_environment("sudo-password")
        stored = secrets.load(alias_of(self.c, settings), "sudo-password")
        candidates = [
            self.sudo_password,
            self.c.config.sudo.password,
            given and given.reveal(),
            stored and stored.reveal(),
        ]
        candidates += [self.c.connect_kwargs.get("password")]
        known = list(dict.fromkeys(p for p in candidates if p))
        for password in known or [None]:
            with contextlib.suppress(WrongSudoPassword):
                return self.with_password(password)
        for _ in range(3 if sys.stdin.isatty() else 0):
            password = console.hidden("sudo password of", login_errors.address(self.c))
            with contextlib.suppress(WrongSudoPassword):
                return self.with_password(password)
        raise SetupError(
            f"{self.label}: {'wrong sudo password' if known else 'sudo asks for a password'} for {self.c.user}: "
            "set LABFAB_SUDO_PASSWORD or use fab --prompt-for-sudo-password"
        )

    def with_password(self, password: str | None) -> Shell:
        """Start a root shell by this password of sudo, and keep the password. Raises WrongSudoPassword."""
        shell = Shell(self.c.transport, self.label, password)
        self.sudo_password = password
        return shell

    def close(self) -> None:
        """Forget the connection, for a reboot or the end."""
        self.close_shell()
        self.run_lock = RunLock()
        self.c.close()

    def close_shell(self) -> None:
        """Let go of the shell, and of what it told."""
        if self.shell:
            self.shell.close()
        self.shell = None
        self.forget()

    def move_to_port(self, port: int) -> None:
        """Go on over another port, for the present one is about to close."""
        if port == self.c.port:
            return
        self.close()
        self.c.port = port
        shell = self.open()
        if self.run_lock.shell:
            self.run_lock.take(shell)

    def log_in_as(self, user: str, port: int) -> None:
        """Dial again as another account of the host. Raises SetupError."""
        self.c.user, self.c.port = user, port
        settings = Settings.of(self.c)
        connection.dial(self.c, settings)
        self.use(self.root_shell(settings))

    @contextlib.contextmanager
    def answering_within(self, seconds: int) -> Iterator[None]:
        """Give the host this long to answer a dial; inside only."""
        outer = self.c.connect_timeout or Settings.of(self.c).connect_timeout
        self.c.connect_timeout = seconds
        try:
            yield
        finally:
            self.c.connect_timeout = outer

    # What is known and what was done ----------------------------------------------------------

    def forget(self, section: str = "") -> None:
        """Know nothing of the host any more, for it was changed. section: forget this one alone."""
        if section:
            self.facts.pop(section, None)
            return
        self.facts.clear()
        self.reading = None

    def begin_reading(self, script: str) -> None:
        """Have the host read itself while the laptop does something else."""
        self.reading = self.open().send(script)

    def take_reading(self) -> Frame | None:
        """Give what was sent by begin_reading(), once."""
        reading, self.reading = self.reading, None
        return reading

    def know(self, facts: Mapping[str, Mapping[str, str]]) -> None:
        """Take for granted what another session of the host has read."""
        self.facts = {section: dict(values) for section, values in facts.items()}

    def assume(self, facts: Mapping[str, str | None]) -> None:
        """Take the effect of a planned change for granted: section.key -> value, None for one that is gone."""
        for name, value in facts.items():
            section, _, key = name.partition(".")
            if value is None:
                self.facts[section].pop(key, None)
            else:
                self.facts[section][key] = value

    def record(self, why: str, path: str = "", diff: str = "") -> None:
        """Count a change of this stage. path, diff: of a file."""
        self.changes.append(Change(self.stage, why, path, diff))

    def count_as_own(self, other: Host) -> None:
        """Count what a twin has changed, and know nothing of before."""
        if other.changes:
            self.changes += other.changes
            self.forget()

    def discard_changes(self, first: int) -> list[Change]:
        """Count the changes from this one on as not made, and give them."""
        gone = self.changes[first:]
        del self.changes[first:]
        return gone

    def note_platform(self, name: str) -> None:
        """Remember which module of platforms/ fits the host."""
        self.platform = name

    def proven_as(self, login: Login) -> None:
        """Note a way in that a fresh login has proven."""
        self.proven = login

    def start_background(self, work: Future[Any]) -> None:
        """Keep what the laptop has begun to find out for this run."""
        self.background = work

    def keep_sudo_password(self, password: str | None) -> None:
        """Note the password that sudo took."""
        self.sudo_password = password

    @contextlib.contextmanager
    def filed_under(self, stage: str) -> Iterator[None]:
        """Let the journal file changes under this stage."""
        outer, self.stage = self.stage, stage
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1
            self.stage = outer

    def file_under(self, stage: str, step: int) -> None:
        """Let the journal file all changes under this stage and step."""
        self.stage, self.step = stage, step

    def at_step(self, step: int) -> None:
        """Number what follows, so that the journal keeps the order of the stages."""
        self.step = step

    @contextlib.contextmanager
    def calling(self, before_write: Callable[[], WriteMark]) -> Iterator[None]:
        """Call a guard before each write. Inside, no broken line is resumed once it was called."""
        outer = self.before_write, self.mark
        self.before_write, self.mark = before_write, None
        try:
            yield
        finally:
            self.before_write, self.mark = outer

    def mark_write(self) -> WriteMark | None:
        """Tell the guard that something is about to be written, and give its mark."""
        if self.before_write:
            self.mark = self.before_write()
        return self.mark

    def read(self, script: str) -> Result:
        """Run a script that changes nothing; where the line breaks, once more over a new one."""
        try:
            return self.open().run(script)
        except ConnectionLost as lost:
            return self.resume(lost).run(script)

    def resume(self, lost: ConnectionLost) -> Shell:
        """Dial anew, once in a run. Raises *lost* where that fails, or where another run may have come between."""
        if self.resumed or self.mark:
            raise lost
        self.resumed, kept = True, self.run_lock
        self.close()
        self.run_lock = kept
        try:
            shell = self.open()
            if self.run_lock.shell:
                self.run_lock.take(shell)
        except SetupError:
            raise lost from None
        return shell


def kernel_of(c: Context) -> str:
    """The name of the host's kernel, if this run has had a shell there."""
    host = Host.peek(c)
    return host.kernel if host else ""


KERNEL_LOOKUPS.append(kernel_of)


def copy_of(c: Connection) -> Connection:
    """Give another Connection over the same open transport."""
    new = Connection(
        c.host,
        user=c.user,
        port=c.port,
        config=c.config,
        gateway=c.gateway,
        connect_timeout=c.connect_timeout,
    )
    new.original_host, new.client, new.transport = c.original_host, c.client, c.transport
    return new
