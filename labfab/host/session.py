"""Session: what a run knows of one machine, and its root shell there."""

from __future__ import annotations

import contextlib
import sys
import threading
from pathlib import Path
from secrets import token_hex
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from fabric import Connection

from .. import console
from ..errors import SetupError
from ..local_state import known_hosts, secrets
from ..local_state.aliases import block_of, config_path, jump
from ..settings import Settings
from . import connection, login_errors
from .alias import alias_of
from .run_lock import Claim
from .shell import ConnectionLost, Frame, Result, Shell, WrongSudoPassword

if TYPE_CHECKING:
    from ..run.background import Beside
    from ..run.guard import Window


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

    def __init__(self, c: Connection) -> None:
        self.c = c
        self.kernel = ""  # its name, known once there was a shell
        self.platform: ModuleType | None = None  # how things are done there
        self.shell: Shell | None = None
        self.claim = Claim()
        self.facts: dict[str, Any] = {}
        self.asked: dict[str, set[str]] = {}  # stage -> the sections of facts that it asks about
        self.reading: Frame | None = None  # facts under way
        self.resumed = False
        self.beside: Beside | None = None
        self.changes: list[Change] = []
        self.run, self.step = token_hex(8), 0  # by which the journal keeps the order of the work
        self.stage = ""
        self.depth = 0
        self.proven: Login | None = None
        self.window: Window | None = None
        self.sudo_password: str | None = None
        self.label = c.original_host if c.original_host != c.host else login_errors.address(c)

    @classmethod
    def of(cls, c: Connection) -> Host:
        """The one session of this login; tasks of the same command line share it."""
        if "_labfab" not in vars(c):
            with cls.lock:
                key = (c.user, c.host, c.port, jump(c))
                vars(c)["_labfab"] = cls.sessions.setdefault(key, cls(c))
        return vars(c)["_labfab"]

    @property
    def shell(self) -> Shell | None:
        """The shell that the run goes through; the host's kernel stays known when it is closed."""
        return self._shell

    @shell.setter
    def shell(self, shell: Shell | None) -> None:
        self._shell = shell
        self.kernel = shell.kernel if shell else self.kernel

    @property
    def login(self) -> Login:
        """The newest way in that was proven, else the one this run came in by."""
        return self.proven or Login(self.c.user, self.c.port, None)

    @property
    def planning(self) -> bool:
        return bool(self.c.config.run.dry)

    def open(self) -> Shell:
        """Dial where that is still to do and give the root shell."""
        if self.shell is None:
            settings = Settings.of(self.c)
            self.label = connection.follow(self.c) or self.label
            if not self.c.is_connected:
                self.dial(settings)
            self.shell = self.root_shell(settings)
        return self.shell

    def dial(self, settings: Settings) -> None:
        """Open the connection; where a run died after sshd had moved and before the alias did, on the port it moved to."""
        try:
            connection.dial(self.c, settings)
        except login_errors.NobodyListens as error:
            known = block_of(self.c)
            port = settings.ssh_port
            if self.c.port == port or not known_hosts.pinned(
                connection.known_hosts_path(), self.c.host, port
            ):
                where = f"; {config_path(self.c)} leads there: if the machine was set up anew, delete the block of {self.label}"
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
                return self.remember(Shell(self.c.transport, self.label, password), password)
        for _ in range(3 if sys.stdin.isatty() else 0):
            password = console.hidden("sudo password of", login_errors.address(self.c))
            with contextlib.suppress(WrongSudoPassword):
                return self.remember(Shell(self.c.transport, self.label, password), password)
        raise SetupError(
            f"{self.label}: {'wrong sudo password' if known else 'sudo asks for a password'} for {self.c.user}: "
            "set LABFAB_SUDO_PASSWORD or use fab --prompt-for-sudo-password"
        )

    def remember(self, shell: Shell, password: str | None) -> Shell:
        self.sudo_password = password
        return shell

    def close(self) -> None:
        """Forget the connection, for a reboot or the end."""
        if self.shell:
            self.shell.close()
        self.shell, self.claim = None, Claim()
        self.forget()
        self.c.close()

    def go_over(self, port: int) -> None:
        """Go on over another port, for the present one is about to close."""
        if port == self.c.port:
            return
        self.close()
        self.c.port = port
        shell = self.open()
        if self.claim.shell:
            self.claim.take(shell)

    def forget(self) -> None:
        """Know nothing of the host any more, for it was changed."""
        self.facts.clear()
        self.reading = None

    def read(self, script: str) -> Result:
        """Run a script that changes nothing; where the line breaks, once more over a new one."""
        try:
            return self.open().run(script)
        except ConnectionLost as lost:
            return self.resume(lost).run(script)

    def resume(self, lost: ConnectionLost) -> Shell:
        """Dial anew, once in a run. Raises *lost* where that fails, or where another run may have come between."""
        if self.resumed or (self.window and self.window.armed_at):
            raise lost
        self.resumed, claim = True, self.claim
        self.close()
        self.claim = claim
        try:
            shell = self.open()
            if self.claim.shell:
                self.claim.take(shell)
        except SetupError:
            raise lost from None
        return shell
