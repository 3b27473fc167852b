"""Probe: looks at a host once for all rows: the login, the ports, the facts."""

from __future__ import annotations

import contextlib
import shlex
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from fabric import Connection

from .. import console
from ..errors import SetupError, Unreachable
from ..facts import facts
from ..facts.reader import PREFIXES, parse, with_prefix
from ..host import connection, dial_limit
from ..host.alias import alias_of
from ..host.remote_file import Values
from ..host.session import Host
from ..local_state import files
from ..local_state.aliases import find_alias
from ..local_state.secrets import Secret
from ..on_host import loader
from ..platforms import platform
from ..platforms.base import Platform
from ..server import forwarded
from ..settings import Settings
from ..text import to_type, to_type_on_host
from .findings import NotChecked

PATIENCE = 2  # seconds for a port, because a firewall that drops packets does not answer
SILENT = 1.5  # seconds without an answer after which a line says so
DOWN = 5  # seconds without an answer after which a host counts as down
AT_ONCE = 64  # ports that are tried in parallel


@contextlib.contextmanager
def said_later(seconds: float, text: str) -> Iterator[None]:
    """Print a line if the block takes longer than this."""
    there, out = console.host_console(), console.stream()

    def tell() -> None:
        with console.speaking_like(there, out):
            console.say(text)

    timer = threading.Timer(seconds, tell)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class Private(NamedTuple):
    """A path that nobody else may access."""

    kind: str
    mode: int
    owner: str
    path: str


class Probe:
    """What is found out once and used by many rows."""

    def __init__(self, c: Connection) -> None:
        self.c, self.host, self.want = c, Host.of(c), Settings.of(c)
        # Why there is no login, or no root shell; empty if there is.
        self.problem = self.powerless = ""
        # Why nothing at all answers there; empty if something does.
        self.down = ""
        self.open = contextlib.ExitStack()
        self.pool = self.open.enter_context(ThreadPoolExecutor(AT_ONCE))
        self.knocks: dict[int, Future[bool]] = {}  # port -> whether it answers
        self.host.apply_alias()
        self.alias = alias_of(c, self.want)
        # Do this first, because reading a stored password corrects its mode.
        self.laptop = list(laptop_files(self.alias, self.identity))
        self.log_in()
        # Now the kernel is known, and the defaults for a Mac differ.
        self.want = Settings.of(c)

    @property
    def identity(self) -> Path | None:
        """Return the private key that the alias names."""
        found = find_alias(self.c)
        return files.expanded(found.identity) if found and found.identity else None

    def log_in(self) -> None:
        """Dial, and open a root shell, or else a shell with the rights of the login."""
        try:
            with dial_limit.expected(self.c.host, self.host.limits_logins):
                if not self.c.is_connected:
                    self.dial()
        except SetupError as error:
            self.problem = str(error)
            if isinstance(error, Unreachable) and not self.answered:
                self.down = error.text
            return
        try:
            self.host.open()
        except SetupError as error:
            self.powerless = error.text
            self.host.open_without_root()
        self.host.forget()

    def dial(self) -> None:
        """Dial, and say so if the host is silent. Raises SetupError, soon if nothing answers."""
        host, limit = self.host, self.c.connect_timeout or self.want.connect_timeout
        place = f"{self.c.host}, port {self.c.port}"
        silent = f"[{host.label}] no answer yet from {place}, still trying"
        quickly = host.answering_within(min(DOWN, limit))
        with console.working(host.label, f"connect to {place}"):
            try:
                with said_later(SILENT, silent), quickly:
                    connection.dial(self.c, self.want)
            except Unreachable:
                # A slow host has answered something, and gets the time of the settings.
                if not self.answered:
                    raise
                connection.dial(self.c, self.want)

    @property
    def answered(self) -> bool:
        """Return whether an SSH server has said its version; behind a gateway, nobody knows."""
        transport = self.c.client.get_transport()
        return bool(self.c.gateway) or bool(transport and transport.remote_version)

    def stored_secret(self, name: str) -> Secret | None:
        """Return a secret that this laptop keeps for this host; None if there is none."""
        return self.host.stored_secret(self.want, name)

    def close(self) -> None:
        """Close the forward, and a shell without root, which later tasks must not get."""
        self.open.close()
        if self.powerless:
            self.host.close_shell()
        self.host.forget()

    def knock(self, ports: Iterable[int]) -> None:
        """Start connecting to ports, once to each. The answers are in `knocks`."""
        for port in ports:
            # The port of the login has already answered.
            if port not in self.knocks and port != self.c.port:
                self.knocks[port] = self.pool.submit(answers, self.c.host, port)

    @cached_property
    def facts(self) -> Any:
        """Return the facts about the host."""
        return facts(self.c)

    @cached_property
    def platform(self) -> Platform:
        """Return the platform of the host."""
        return platform(self.c)

    @cached_property
    def audit(self) -> Values:
        """Return what audit.sh prints, and the laptop's time before and after it."""
        account = self.facts.accounts.get(self.want.jupyter_user)
        home = account.home if account else "/nonexistent"
        given = {
            "LAB_USER": self.want.jupyter_user,
            "LAB_HOME": home,
            "PREFIX": PREFIXES[self.want.python],
            "ROOT_DIR": self.want.notebooks(home),
            "PUBLISH": self.want.publish,
            "LAB_PORT": str(self.want.lab_port),
            "LAB_PID": self.facts.lab.pid,
            "SSH_PORT": str(min(self.facts.ssh.ports, default=22)),
        }
        head = "".join(f"{name}={shlex.quote(value)}\n" for name, value in given.items())
        before = time.time()
        # If there is no root shell, this is the one without root.
        shell = self.host.open()
        answer = shell.run(f"{head}{loader.script('audit', shell.kernel)}")
        found = parse(answer.out, ("audit",))["audit"]
        return found | {"before": str(before), "after": str(time.time())}

    @cached_property
    def url(self) -> str:
        """Return JupyterLab's URL, through a forward that stays open until close()."""
        return self.open.enter_context(forwarded.url(self.c, self.want))

    @property
    def logins(self) -> list[str]:
        """Return every account that has a login shell."""
        return sorted(with_prefix(self.audit, "login"))

    def private(self, kind: str) -> Iterator[Private]:
        """Yield the paths of a kind, with mode and owner."""
        for line in with_prefix(self.audit, "private").values():
            found, mode, owner, path = line.split(" ", 3)
            if found == kind:
                yield Private(kind=found, mode=int(mode, 8), owner=owner, path=path)

    @property
    def limits(self) -> str:
        """Return a note for answers that root's rights would make more complete."""
        return "; limited to what you can see without root" if self.powerless else ""

    def by_hand(self, command: str, *values: str, account: str = "root") -> str:
        """Return the command line that fixes what no task fixes, with the rights of an account.

        command: constant. values: its last words, which may come from the host: both the shell
        there and the one here read them. Empty if they are not safe to type.
        """
        named, login = find_alias(self.c), f"{self.c.user}@{self.c.host}"
        where = named.admin_name if named else f"-p {self.c.port} {shlex.quote(login)}"
        sudo = "sudo" if account == "root" else to_type("sudo -u", account)
        return to_type_on_host(where, sudo and to_type(f"{sudo} {command}", *values))

    def needs_root(self) -> None:
        """Raise NotChecked without root, for a row that only root can answer."""
        if self.powerless:
            raise NotChecked(f"needs root: {self.powerless}")


def answers(host: str, port: int) -> bool:
    """Return whether a TCP port accepts a connection."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=PATIENCE):
        return True
    return False


def laptop_files(alias: str, identity: Path | None) -> Iterator[Private]:
    """Yield the laptop's own secrets, with their modes."""
    folder = files.config_folder(alias)
    found = [folder, *folder.glob("*-password"), *folder.glob("ca-key.pem"), Path.home() / ".ssh"]
    if identity:
        found.append(identity)
    for path in found:
        if path.exists():
            stat = path.stat()
            kind = "folder" if path.is_dir() else "file"
            mode = stat.st_mode & 0o7777
            yield Private(kind=kind, mode=mode, owner=str(stat.st_uid), path=str(path))
