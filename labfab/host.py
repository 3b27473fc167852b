"""Host: the only door to a machine.

ask reads, change and put write; each write has a why, is shown, is journaled with its way back, and in plan mode is
shown instead of done. Stages pass shell text as constants with %s: quoting happens here and nowhere else.
"""

from __future__ import annotations

import contextlib
import hashlib
import shlex
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from secrets import token_hex
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from fabric import Connection

from . import connection, console, journal, refusal
from .claim import Claim
from .errors import SetupError
from .local_state import known_hosts, secrets, ssh_config
from .local_state.aliases import block_of, config_path, jump
from .settings import Settings
from .shell import ConnectionLost, Frame, Result, Shell, WrongSudoPassword

if TYPE_CHECKING:
    from .beside import Beside
    from .facts import File
    from .guard import Window

LONG = 1800  # seconds of silence allowed to a download or an unpacking
# The new file takes the name only when it is whole: `>` would follow a link that the account may have put there.
PUT = """\
set -eu; umask 077
path=%s; mode=%s; check=%s; NEW=$path.labfab-new
# Of this folder macOS reads every file.
case $path in */sshd_config.d/*) NEW=${path%%/*/*}/${path##*/}.labfab-new ;; esac
mkdir -p "$(dirname "$path")"; rm -f "$NEW"; trap 'rm -f "$NEW"' EXIT
cat >"$NEW"; chmod "$mode" "$NEW"
eval "$check"
mv -f "$NEW" "$path"
"""
AS_USER = "(HOME=~%s; USER=%s; LOGNAME=%s; export HOME USER LOGNAME; cd ~%s || cd /; become %s %s)"


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
    names: dict[str, tuple[str, int]] = {}  # aliases that hosts of this run are about to take
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
        self.label = c.original_host if c.original_host != c.host else refusal.address(c)

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
        except refusal.NobodyListens as error:
            known = block_of(self.c)
            port = settings.ssh_port
            if self.c.port == port or not known_hosts.pinned(connection.known_hosts_path(), self.c.host, port):
                where = f"; {config_path(self.c)} leads there: if the machine was set up anew, delete the block of {self.label}"
                raise SetupError(f"{error}{where if known else ''}") from None
            console.say(f"[{self.label}] nothing listens on port {self.c.port}, trying ssh_port: {port}")
            self.c.port = port
            connection.dial(self.c, settings)

    def root_shell(self, settings: Settings) -> Shell:
        """Start the shell, finding sudo's password where it asks for one."""
        given = secrets.take_from_environment("sudo-password")
        stored = secrets.load(alias_of(self.c, settings), "sudo-password")
        candidates = [self.sudo_password, self.c.config.sudo.password, given and given.reveal(), stored and stored.reveal()]
        candidates += [self.c.connect_kwargs.get("password")]
        known = list(dict.fromkeys(p for p in candidates if p))
        for password in known or [None]:
            with contextlib.suppress(WrongSudoPassword):
                return self.remember(Shell(self.c.transport, self.label, password), password)
        for _ in range(3 if sys.stdin.isatty() else 0):
            password = console.hidden("sudo password of", refusal.address(self.c))
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


def alias_of(c: Connection, settings: Settings) -> str:
    """The alias of this host: its block's name where it has one, else the setting.

    Raises SetupError when the setting's name stands for another machine already.
    """
    found = block_of(c)
    if found:
        return found.name
    name = settings.alias.replace("{host}", c.host.replace(":", "-"))
    with Host.lock:
        holder = Host.names.setdefault(name, (c.host, c.port))
    others = [(block.hostname, block.port) for block in ssh_config.read(config_path(c)) if block.name == name]
    for other in [holder, *others]:
        if not same_machine(c, *other):
            raise SetupError(
                f"{c.host}: the alias {name} stands for {other[0]}:{other[1]} already: set another, LABFAB_ALIAS=NAME; "
                "for several hosts at once LABFAB_ALIAS='lab-{host}'"
            )
    return name


def same_machine(c: Connection, hostname: str, port: int) -> bool:
    """Whether another address is this machine: by its host key, for one address may lead to several machines."""
    if (hostname, port) == (c.host, c.port):
        return True
    path = connection.known_hosts_path()
    here, there = (known_hosts.pinned(path, *place) for place in ((c.host, c.port), (hostname, port)))
    return hostname == c.host and bool({key.asbytes() for key in here} & {key.asbytes() for key in there})


def fill(command: str, *args: object) -> str:
    """Put quoted values into shell text."""
    return command % tuple(shlex.quote(str(arg)) for arg in args)


def as_user(command: str, user: str | None) -> str:
    """Run shell text as another account, in its home."""
    return fill(AS_USER, user, user, user, user, user, command) if user else command


def ask(c: Connection, command: str, *args: object, user: str | None = None) -> Result:
    """Read something; also in plan mode.

    command: shell text with %s for each value. user: account to read as, else root.
    Exit code 0 means yes and 1 no; anything else is an error and raises SetupError.
    """
    host = Host.of(c)
    result = host.read(as_user(fill(command, *args), user))
    if result.code not in (0, 1):
        raise SetupError(f"{host.label}: cannot find out ({command.split()[0]}): {result.last_words}")
    return result


def change(
    c: Connection,
    command: str,
    *args: object,
    why: str,
    undo: Sequence[str] = (),
    keep: Sequence[str] = (),
    user: str | None = None,
    stdin: str = "",
    long: bool = False,
    then: Mapping[str, str | None] | None = None,
    explain: Callable[[str], str] | None = None,
) -> Result | None:
    """Change something.

    why: what the user sees. undo: command of undo.sh and values that take it back, none: it stays. keep: files and
    folders that this command wants to know as they were. user: account to do it as, else root. stdin: secret input,
    never shown. long: show the output while it runs. then: the facts that it makes true, for the stages that follow in
    plan mode; None for a fact that is gone. explain: says in one line what a failed command said in many.
    Raises SetupError when the command fails. Returns None in plan mode.
    """
    text = as_user(fill(command, *args), user)
    if stdin:
        text = f"printf %s {shlex.quote(stdin)} | {{ {text}\n}}"
    line = journal.entry(Host.of(c).stage, why, filled(undo), keep=keep)
    if Host.of(c).planning:
        return plan(c, why, then)
    return write(c, text, line, why, LONG if long else 120, explain)


def put(
    c: Connection,
    path: str,
    text: str,
    why: str,
    old: File | None,
    mode: str = "644",
    owner: str = "root",
    check: str = "true",
    secret: bool = False,
    undo: Sequence[str] = (),
    then: Mapping[str, str | None] | None = None,
) -> Result | None:
    """Write a file as a whole, where content, mode or owner differ from *old*.

    mode: octal. owner: an account, which writes the file itself unless it is root. check: shell text that must
    succeed before "$NEW" takes the name. secret: show no content in plan mode. undo: what to do instead of bringing the
    file back as it was, where somebody changed it since. then: as for change().
    """
    if old and (old.content, old.mode, old.owner) == (text, mode, owner):
        return None
    if Host.of(c).planning:
        return plan(c, why, then, path, "" if secret else difference(path, old.content if old else "", text))
    account = owner if owner != "root" else None
    script = fill("printf %%s %s | ", text) + as_user(fill("sh -c %s", fill(PUT, path, mode, check)), account)
    sha256 = hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
    return write(c, script, journal.entry(Host.of(c).stage, why, filled(undo), path, sha256=sha256), why)


def filled(undo: Sequence[str]) -> list[str]:
    """The command that takes a change back, as the journal keeps it."""
    return [fill(undo[0], *undo[1:])] if undo else []


def difference(path: str, old: str, new: str) -> str:
    """The unified diff of a file's texts."""
    from difflib import unified_diff

    return "".join(unified_diff(old.splitlines(True), new.splitlines(True), path, path, n=1))


def plan(c: Connection, why: str, then: Mapping[str, str | None] | None, path: str = "", diff: str = "") -> None:
    """Show a change instead of doing it, and take its effect for granted from here on."""
    host = Host.of(c)
    host.changes.append(Change(host.stage, why, path, diff))
    console.planned(host.label, why, diff)
    for name, value in (then or {}).items():
        section, _, key = name.partition(".")
        if value is None:
            host.facts[section].pop(key, None)
        else:
            host.facts[section][key] = value


def write(
    c: Connection, script: str, line: dict[str, object], why: str, timeout: float = 120, explain: Callable[[str], str] | None = None
) -> Result:
    """Note, do and show one change."""
    host = Host.of(c)
    line = line | {"run": host.run, "step": host.step}
    if host.window:
        host.window.arm()
        timeout = min(timeout, host.window.patience)
        line["window"] = host.window.id
    began = time.monotonic()
    with console.working(host.label, why) as tell:
        try:
            result = host.open().run(journal.command(line) + script, tell, timeout)
        except ConnectionLost as lost:
            if not host.claim.shell or host.resume(lost).run(journal.knows(line)).code != journal.UNKNOWN:
                raise  # it may have been done, or in part
            result = host.open().run(journal.command(line) + script, tell, timeout)
    host.forget()
    if not result.ok:
        raise SetupError(failure(host.label, why, result, explain))
    host.changes.append(Change(host.stage, why, str(line.get("path", ""))))
    console.changed(host.label, why, time.monotonic() - began)
    return result


def failure(label: str, why: str, result: Result, explain: Callable[[str], str] | None = None) -> str:
    """One line for a change that failed."""
    words = result.last_words
    if "Read-only file system" in words:
        return f"{label}: a file system of the host is read-only, could not {why}: a damaged disk? Look at dmesg there, mount it anew"
    if result.code == journal.FULL or "No space left" in words or "Disk quota" in words:
        return f"{label}: no space left on the host, could not {why}: free some (df -h shows where) and run this again"
    return f"{label}: could not {why}: {explain(result.out + result.err) if explain else words}"


def remember(c: Connection, settings: Settings) -> None:
    """Write the proven way in to ~/.ssh/config, under the alias."""
    host, path = Host.of(c), config_path(c)
    known = block_of(c)  # a stage alone proves no key of its own
    block = ssh_config.Alias(
        name=alias_of(c, settings),
        hostname=c.host,
        user=host.login.user,
        port=host.login.port,
        identity=str(host.login.identity or (known.identity if known else "")),
        was="" if (host.login.user, host.login.port) == (c.user, c.port) else f"{c.user}@{c.host}:{c.port}",
        proxy_jump=jump(c),
    )
    if not host.planning and ssh_config.write(path, block):
        host.changes.append(Change(host.stage, f"remember the host as {block.name}"))
        console.changed(host.label, f"remember the host as {block.name} in {path}", 0)
