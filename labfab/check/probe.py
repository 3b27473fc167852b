"""Look: one look at a host, from the login to what the host tells of itself."""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from fabric import Connection

from ..errors import SetupError
from ..facts import facts
from ..facts.reader import PREFIXES, below, parse
from ..host import connection
from ..host.alias import alias_of
from ..host.remote_file import Values
from ..host.session import Host
from ..laptop import forward
from ..local_state import files
from ..local_state.aliases import block_of
from ..on_host import loader
from ..platforms import platform
from ..server.process import socket_path
from ..settings import Settings
from .rows import Unseen


class Private(NamedTuple):
    """A path that must be closed to others."""

    kind: str
    mode: int
    owner: str
    path: str


class Look:
    """What is found out once and asked about by many rows."""

    def __init__(self, c: Connection) -> None:
        self.c, self.host, self.want = c, Host.of(c), Settings.of(c)
        self.problem = ""  # why there is no login
        self.powerless = ""  # why there is no root shell
        self.open = contextlib.ExitStack()
        self.pool = self.open.enter_context(ThreadPoolExecutor(64))
        self.knocks: dict[int, Future[bool]] = {}  # port -> whether it answers
        self.host.follow()
        self.alias = alias_of(c, self.want)
        self.laptop = list(
            laptop_files(self.alias, self.identity)
        )  # before anybody repairs a mode by reading
        self.log_in()
        self.want = Settings.of(c)  # a Mac that was met has others

    @property
    def identity(self) -> Path | None:
        """The private key that the alias names."""
        found = block_of(self.c)
        return Path(found.identity).expanduser() if found and found.identity else None

    def log_in(self) -> None:
        """Dial, and open a root shell, or one with the rights that there are."""
        try:
            if not self.c.is_connected:
                connection.dial(self.c, self.want)
        except SetupError as error:
            self.problem = str(error.message)
            return
        try:
            self.host.open()
        except SetupError as error:
            self.powerless = str(error.message)
            self.host.open_without_root()
        self.host.forget()

    def close(self) -> None:
        """Close the forward; leave no shell without rights to the tasks that follow."""
        self.open.close()
        if self.powerless:
            self.host.close_shell()
        self.host.forget()

    @cached_property
    def facts(self) -> Any:
        return facts(self.c)

    @cached_property
    def platform(self) -> ModuleType:
        return platform(self.c)

    @cached_property
    def audit(self) -> Values:
        """What audit.sh tells, with the laptop's time around it."""
        account = self.facts.accounts.get(self.want.jupyter_user)
        home = account.home if account else "/nonexistent"
        root, publish = self.want.notebooks(home), self.want.publish
        prefix = PREFIXES[self.want.python]
        given = {
            "LAB_USER": self.want.jupyter_user,
            "LAB_HOME": home,
            "PREFIX": prefix,
            "ROOT_DIR": root,
            "PUBLISH": publish,
        }
        head = "".join(f"{name}={shlex.quote(value)}\n" for name, value in given.items())
        before = time.time()
        shell = self.host.shell if self.powerless else self.host.open()
        answer = shell.run(f"{head}{loader.script('audit', shell.kernel)}")
        found = parse(answer.out, ("audit",))["audit"]
        return found | {"before": str(before), "after": str(time.time())}

    @cached_property
    def url(self) -> str:
        """Where JupyterLab is reached, through a forward that lives as long as this look."""
        account = facts(self.c).accounts.get(self.want.jupyter_user)
        place = socket_path(self.want, account) or self.want.lab_port
        return self.want.lab_url(self.open.enter_context(forward.opened(self.c.transport, place)))

    @property
    def logins(self) -> list[str]:
        """Every account that has a login shell."""
        return sorted(below(self.audit, "login"))

    def private(self, kind: str) -> Iterator[Private]:
        """The paths of a kind, with mode and owner."""
        for line in below(self.audit, "private").values():
            found, mode, owner, path = line.split(" ", 3)
            if found == kind:
                yield Private(found, int(mode, 8), owner, path)

    @property
    def limits(self) -> str:
        """What to add where a look without root is not the whole of it."""
        return "; only what you may see, not being root" if self.powerless else ""

    def by_hand(self, command: str) -> str:
        """The command line for what no task mends."""
        named = block_of(self.c)
        login = named.name if named else f"-p {self.c.port} {self.c.user}@{self.c.host}"
        return f"ssh -t {login} {shlex.quote(f'sudo {command}')}"

    def needs_root(self) -> None:
        """Stop a row that only root can answer. Raises Unseen."""
        if self.powerless:
            raise Unseen(f"needs root: {self.powerless.removeprefix(f'{self.host.label}: ')}")


def laptop_files(alias: str, identity: Path | None) -> Iterator[Private]:
    """The laptop's own secrets, as they were before this run."""
    folder = files.config_folder(alias)
    found = [
        folder,
        *folder.glob("*-password"),
        *folder.glob("ca-key.pem"),
        Path.home() / ".ssh",
        *([identity] if identity else []),
    ]
    for path in found:
        if path.exists():
            stat = path.stat()
            kind = "folder" if path.is_dir() else "file"
            yield Private(kind, stat.st_mode & 0o7777, str(stat.st_uid), str(path))
