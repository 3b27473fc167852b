"""Session: what a run knows about one machine, and its root shell there."""

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
from ..local_state.aliases import find_alias, pinned_as, ssh_config_path, way
from ..settings import KERNEL_LOOKUPS, Settings
from . import connection, dial_limit, login_errors
from .alias import alias_of
from .run_lock import RunLock
from .shell import ConnectionLost, Frame, Result, Shell, WrongSudoPassword

NEW_PORT = 22  # sshd's on a machine that was reinstalled


class WindowMark(NamedTuple):
    """What a guard tells a write that happens in its window.

    id: the window, for the journal. patience: seconds of silence after which the write has failed.
    """

    id: str
    patience: int


class Change(NamedTuple):
    """One write that was made, or would be made in plan mode.

    path, diff: of the file that it writes. The diff is empty if the file is secret.
    caveat: what the plan cannot say about it.
    """

    stage: str
    why: str
    path: str = ""
    diff: str = ""
    caveat: str = ""


class Login(NamedTuple):
    """A login that is known to work.

    identity: None: authenticate as the current connection does.
    """

    user: str
    port: int
    identity: Path | None


class Host:
    """What a run knows about one machine: its root shell, its facts and the changes so far."""

    sessions: dict[tuple[str, str, int, str], Host] = {}
    lock = threading.Lock()

    def __init__(self, c: Connection, label: str = "") -> None:
        self.c = c
        # The kernel's name, known once there has been a shell.
        self.kernel = ""
        # The module in platforms/, once it is known.
        self.platform = ""
        self.shell: Shell | None = None
        self.run_lock = RunLock()
        self.facts: dict[str, dict[str, str]] = {}
        # Stage -> the sections of the facts that it asks for.
        self.sections_used: dict[str, set[str]] = {}
        # Facts that were requested and have not arrived yet.
        self.reading: Frame | None = None
        self.resumed = False
        # What the laptop finds out in the meantime.
        self.background: Future[Any] | None = None
        self.changes: list[Change] = []
        # The journal sorts its entries by these.
        self.run, self.step = token_hex(8), 0
        self.stage = ""
        self.task_depth = 0
        self.proven: Login | None = None
        # What was said about this host already, and what of it will end.
        self.said: set[str] = set()
        self.endings: list[str] = []
        # The account of the notebooks, once its own login was proven.
        self.proven_lab_user = ""
        self.before_write: Callable[[], WindowMark] | None = None
        # The mark of the window that is open.
        self.mark: WindowMark | None = None
        # Account -> the password that sudo takes from it.
        self.sudo_passwords: dict[str, str] = {}
        typed = c.original_host if c.original_host != c.host else login_errors.address(c)
        self.label = label or typed

    # Finding the session of a connection ------------------------------------------------------

    @classmethod
    def of(cls, c: Connection) -> Host:
        """Return the session of this login. All tasks of a command line share it."""
        found = cls.peek(c)
        if found is None:
            with cls.lock:
                key = (c.user, c.host, c.port, way(c))
                found = cls.sessions.setdefault(key, cls(c))
            found.attach(c)
        return found

    @classmethod
    def peek(cls, c: Context) -> Host | None:
        """Return the session of this login; None if there is none yet."""
        found: Host | None = fabric_internals.session_of(c)
        return found

    @classmethod
    def end(cls, host: Host | None) -> None:
        """Remove a session, so that no later task of this command line finds it."""
        with cls.lock:
            for key in [key for key, other in cls.sessions.items() if other is host]:
                del cls.sessions[key]

    def attach(self, c: Connection) -> None:
        """Become the session of this connection, whatever its login is."""
        fabric_internals.keep_session(c, self)

    def second_session(self) -> Host:
        """Return a second session of the host: the same connection, but its own shell and facts."""
        c = copy_of(self.c)
        new = Host(c)
        new.attach(c)
        new.label, new.task_depth, new.resumed = self.label, self.task_depth, True
        new.platform, new.run = self.platform, self.run
        return new

    # Dialing ---------------------------------------------------------------------------------

    @property
    def login(self) -> Login:
        """Return the login that was proven last, else the one that this run began with."""
        return self.proven or Login(self.c.user, self.c.port, None)

    @property
    def planning(self) -> bool:
        """Return whether writes are shown instead of done."""
        return bool(self.c.config.run.dry)

    def apply_alias(self, everyday: bool = False) -> None:
        """Switch to the address and the alias that setup has since given to this login.

        everyday: switch to the account of the notebooks, if there is one, instead of sudo's.
        """
        self.label = connection.apply_alias(self.c, everyday) or self.label

    def open(self) -> Shell:
        """Return the root shell; connect first if necessary."""
        if self.shell is None:
            settings = Settings.of(self.c)
            self.apply_alias()
            if self.c.is_connected and self.account != self.c.user:
                self.c.close()  # the login of the notebooks, which must not see sudo's password
            if not self.c.is_connected:
                self.dial(settings)
            self.use(self.root_shell(settings))
        assert self.shell
        return self.shell

    @property
    def account(self) -> str:
        """Return the account that the open connection is logged in as."""
        return str(self.c.transport.get_username())

    def open_without_root(self) -> Shell:
        """Return a shell with the rights of the login itself. close_shell() ends it."""
        shell = Shell(self.c.transport, self.label, root=False)
        self.use(shell)
        return shell

    def use(self, shell: Shell) -> None:
        """Use this shell from now on."""
        self.shell, self.kernel = shell, shell.kernel

    def dial(self, settings: Settings) -> None:
        """Open the connection.

        A run may have died after it moved sshd and before it changed the alias. So if nothing
        listens on the known port, the port that sshd would have moved to is tried.
        """
        if self.limits_logins:
            dial_limit.expect(self.c.host)
        try:
            connection.dial(self.c, settings)
        except login_errors.NobodyListens as error:
            port = settings.ssh_port
            if self.c.port == port or not known_hosts.pinned(
                connection.known_hosts_path(), *pinned_as(self.c, port)
            ):
                raise SetupError(error.text + self.reinstalled(), host=error.host) from None
            console.say(
                f"[{self.label}] nothing listens on port {self.c.port}, trying ssh_port: {port}"
            )
            self.c.port = port
            self.apply_alias()  # it may be known by this port
            self.c.port = port
            connection.dial(self.c, settings)

    @property
    def limits_logins(self) -> bool:
        """Return whether an earlier run saw that the host limits new connections to sshd."""
        known = find_alias(self.c)
        return known is not None and dial_limit.note(known.name).exists()

    def reinstalled(self) -> str:
        """Return a hint if the port is refused that our alias names, but 22 is SSH's again."""
        if self.c.gateway or self.c.port == NEW_PORT or not find_alias(self.c):
            return ""
        if not connection.speaks_ssh(self.c, NEW_PORT):
            return ""
        return (
            f"; {ssh_config_path(self.c)} leads there, but sshd answers on port {NEW_PORT}: "
            f"if you reinstalled the machine, delete the block of {self.label}"
        )

    def root_shell(self, settings: Settings) -> Shell:
        """Start a root shell. If sudo asks for a password, find one or ask the user.

        What an account's shell asks for, its owner reads: each password goes to its own account.
        """
        account = self.account
        self.refuse_notebooks_account(settings, account)
        given = secrets.take_from_environment("sudo-password")
        stored = self.stored_sudo_password(settings, account)
        candidates = [
            self.sudo_passwords.get(account),
            stored and stored.reveal(),
            self.c.config.sudo.password,
            given and given.reveal(),
            self.c.connect_kwargs.get("password"),
        ]
        known = list(dict.fromkeys(p for p in candidates if p))
        for password in known or [None]:
            with contextlib.suppress(WrongSudoPassword):
                return self.with_password(password)
        for _ in range(3 if sys.stdin.isatty() else 0):
            password = console.hidden("sudo password of", login_errors.address(self.c))
            with contextlib.suppress(WrongSudoPassword):
                return self.with_password(password)
        problem = "wrong sudo password" if known else "sudo asks for a password"
        hint = "set LABFAB_SUDO_PASSWORD or use fab --prompt-for-sudo-password"
        if account != settings.user and find_alias(self.c) is None:
            hint += f"; if {account} only runs JupyterLab there, set lab_user: {account} instead"
        raise SetupError(f"{problem} for {account}: {hint}", host=self.label)

    def refuse_notebooks_account(self, settings: Settings, account: str) -> None:
        """Raise SetupError if this login is JupyterLab's account without sudo."""
        block = find_alias(self.c)
        admin = block.user if block else settings.user
        if account != admin and account in (settings.lab_user, block.lab_user if block else ""):
            raise SetupError(
                f"{account} runs JupyterLab and cannot become root: log in as {admin}",
                host=self.label,
            )

    def stored_sudo_password(self, settings: Settings, account: str) -> secrets.Secret | None:
        """Return the sudo password that is kept for an account; None if it is another's."""
        block = find_alias(self.c)
        owner = secrets.sudo_account(alias_of(self.c, settings))
        if account != (owner or (block.user if block else settings.user)):
            return None
        return self.stored_secret(settings, "sudo-password")

    def stored_secret(self, settings: Settings, name: str) -> secrets.Secret | None:
        """Return the secret that is kept under this host's alias; None if there is none.

        A new host may take the alias of an older one, and must not get its secrets.
        """
        alias = alias_of(self.c, settings)
        belongs = secrets.belongs_to(alias, self.pinned_keys())
        return secrets.load(alias, name) if belongs else None

    def pinned_keys(self) -> set[str]:
        """Return the fingerprints of the keys by which this host is known."""
        return connection.pinned_fingerprints(*pinned_as(self.c))

    def keep_secret(self, alias: str, name: str, value: str | secrets.Secret) -> None:
        """Keep a secret under an alias, for this host alone."""
        keys = self.pinned_keys()
        if keys and not secrets.belongs_to(alias, keys):
            secrets.set_aside(alias)
        secrets.store(alias, name, value, replace=True)
        secrets.bind(alias, keys)

    def with_password(self, password: str | None) -> Shell:
        """Start a root shell with this sudo password, and keep the password.

        Raises WrongSudoPassword.
        """
        shell = Shell(self.c.transport, self.label, password)
        if password:
            self.sudo_passwords[self.account] = password
        return shell

    def close(self) -> None:
        """Close the connection, before a reboot or at the end."""
        self.close_shell()
        self.run_lock = RunLock()
        self.c.close()

    def close_shell(self) -> None:
        """Close the shell, and forget the facts."""
        if self.shell:
            self.shell.close()
        self.shell = None
        self.forget()

    def move_to_port(self, port: int) -> None:
        """Continue on another port, because the present one is about to close."""
        if port == self.c.port:
            return
        self.close()
        self.c.port = port
        shell = self.open()
        if self.run_lock.shell:
            self.run_lock.take(shell)

    def log_in_as(self, user: str, port: int) -> None:
        """Connect again as another account of the host. Raises SetupError."""
        self.close()
        self.c.user, self.c.port = user, port
        settings = Settings.of(self.c)
        connection.dial(self.c, settings)
        self.use(self.root_shell(settings))

    @contextlib.contextmanager
    def answering_within(self, seconds: int) -> Iterator[None]:
        """Limit the time that the host has to answer a connection, inside the block only."""
        outer = self.c.connect_timeout or Settings.of(self.c).connect_timeout
        self.c.connect_timeout = seconds
        try:
            yield
        finally:
            self.c.connect_timeout = outer

    # What is known and what was done ----------------------------------------------------------

    def forget(self, section: str = "") -> None:
        """Forget the facts, because the host was changed. section: forget this one only."""
        if section:
            self.facts.pop(section, None)
            return
        self.facts.clear()
        self.reading = None

    def begin_reading(self, script: str) -> None:
        """Start reading the facts on the host, and do not wait for them."""
        self.reading = self.open().send(script)

    def take_reading(self) -> Frame | None:
        """Return the frame that begin_reading() sent, only once."""
        reading, self.reading = self.reading, None
        return reading

    def adopt_facts(self, facts: Mapping[str, Mapping[str, str]]) -> None:
        """Copy the facts that another session of the host has read."""
        self.facts = {section: dict(values) for section, values in facts.items()}

    def assume_in_plan(self, facts: Mapping[str, str | None]) -> None:
        """Assume it in a plan only: else the facts are read again."""
        if self.planning:
            self.assume(facts)

    def assume(self, facts: Mapping[str, str | None]) -> None:
        """Assume the effect of a planned change.

        facts: section.key -> value, None for a fact that is gone.
        """
        for name, value in facts.items():
            section, _, key = name.partition(".")
            if value is None:
                self.facts[section].pop(key, None)
            else:
                self.facts[section][key] = value

    def record(self, why: str, path: str = "", diff: str = "", caveat: str = "") -> None:
        """Record a change of this stage; the arguments are those of Change."""
        self.changes.append(Change(self.stage, why, path, diff, caveat))

    def merge_changes(self, other: Host) -> None:
        """Add the changes of a second session; if there are any, forget the facts."""
        if other.changes:
            self.changes += other.changes
            self.forget()

    def discard_changes(self, first: int) -> list[Change]:
        """Drop the changes from this index on, because they were reverted, and return them."""
        gone = self.changes[first:]
        del self.changes[first:]
        return gone

    def note_platform(self, name: str) -> None:
        """Remember which module of platforms/ fits the host."""
        self.platform = name

    def first_time(self, text: str) -> bool:
        """Return whether this was not said about the host yet, and remember it."""
        first = text not in self.said
        self.said.add(text)
        return first

    def note_ending(self, text: str) -> None:
        """Remember what will end, for the plan."""
        self.endings.append(text)

    def learn_sudo_password(self, user: str, password: str) -> None:
        """Keep the sudo password of another account for this run."""
        self.sudo_passwords[user] = password

    def proven_as(self, login: Login) -> None:
        """Remember the login that was proven last."""
        self.proven = login

    def proven_for_notebooks(self, user: str) -> None:
        """Remember that the account of the notebooks can log in."""
        self.proven_lab_user = user

    def start_background(self, work: Future[Any]) -> None:
        """Keep the background work that the laptop does for this run."""
        self.background = work

    @contextlib.contextmanager
    def filed_under(self, stage: str) -> Iterator[None]:
        """File changes in the journal under this stage, inside the block."""
        outer, self.stage = self.stage, stage
        self.task_depth += 1
        try:
            yield
        finally:
            self.task_depth -= 1
            self.stage = outer

    def file_under(self, stage: str, step: int) -> None:
        """File all changes in the journal under this stage and step."""
        self.stage, self.step = stage, step

    def at_step(self, step: int) -> None:
        """Set the number of the stage, so that the journal keeps the order of the stages."""
        self.step = step

    @contextlib.contextmanager
    def guarded_by(self, before_write: Callable[[], WindowMark]) -> Iterator[None]:
        """Call a guard before each write. After a call, a broken connection is not resumed."""
        outer = self.before_write, self.mark
        self.before_write, self.mark = before_write, None
        try:
            yield
        finally:
            self.before_write, self.mark = outer

    def mark_write(self) -> WindowMark | None:
        """Tell the guard that a write is about to begin, and return the mark of its window."""
        if self.before_write:
            self.mark = self.before_write()
        return self.mark

    def read(self, script: str) -> Result:
        """Run a script that changes nothing. If the connection breaks, reconnect and repeat."""
        try:
            return self.open().run(script)
        except ConnectionLost as lost:
            return self.resume(lost).run(script)

    def resume(self, lost: ConnectionLost) -> Shell:
        """Reconnect, once in a run.

        Raises *lost* if that fails, or if another run may have worked on the host in between.
        """
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
    """Return the name of the host's kernel; empty if this run has had no shell there."""
    host = Host.peek(c)
    return host.kernel if host else ""


KERNEL_LOOKUPS.append(kernel_of)


def copy_of(c: Connection) -> Connection:
    """Return another Connection over the same open transport."""
    new = Connection(
        c.host,
        user=c.user,
        port=c.port,
        config=c.config,
        gateway=c.gateway or False,
        connect_timeout=c.connect_timeout,
    )
    new.original_host, new.client, new.transport = c.original_host, c.client, c.transport
    new.ssh_config = c.ssh_config  # else what it says of the name that was typed would be lost
    return new
