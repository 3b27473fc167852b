"""Shell: one long-lived root shell on the host, fed with framed scripts.

Constraints:
- A command of its own channel costs two round trips and more, a frame in an open shell costs one
  (docs/architecture.md), so everything short and long goes through here.
- Scripts travel on the channel's input, never in an argument list, so `ps` on the host shows no secret.
- `( eval … )` keeps a syntax error, an `exit` or a `cd` of one script from reaching the next one.
- sudo reads its password byte by byte from the same input, so nothing that follows it is swallowed.
"""

from __future__ import annotations

import re
import secrets
import select
import shlex
import time
from collections.abc import Callable
from typing import NamedTuple

import paramiko

from ..errors import SetupError
from ..on_host import loader
from . import round_trips

PROMPT = "labfab-wants-a-password:"
ROOT = "labfab-is-root"
READY = rf"{ROOT} (\S*)\n".encode()
SEND_AWAY = r'lease login as the user "?([\w.-]+)'
# On macOS sudo has no PATH of its own: what the login puts first would be run as root.
PATHS = """\
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
[ "$(/usr/bin/uname -s)" != Darwin ] || PATH=/usr/bin:/bin:/usr/sbin:/sbin
export PATH
"""
# Ends with the same `sh` reading its script from standard input, whoever we logged in as.
START = f"""\
{PATHS}root='echo {ROOT} $(uname -s); cd /; umask 022; exec sh'
if [ "$(id -u)" = 0 ]; then eval "$root"
elif ! command -v sudo >/dev/null; then echo labfab-no-sudo
elif sudo -n true 2>/dev/null; then exec sudo -n sh -c "$root"
else exec sudo -S -p {PROMPT} sh -c "$root"
fi
"""
# What paramiko raises when the line is gone: which one depends on who notices first, its thread or the one that sends.
GONE = (paramiko.SSHException, OSError, EOFError)
START_PLAIN = f"{PATHS}echo {ROOT} $(uname -s); cd /; umask 022; exec sh\n"


class ConnectionLost(SetupError):
    """The connection broke; what was begun may or may not have happened."""


class NoSession(SetupError):
    """The login works, and then there is no session."""

    def __init__(self, label: str, reason: str) -> None:
        super().__init__(f"{label}: the login works, but {reason}")
        self.reason = reason


class WrongSudoPassword(Exception):
    """sudo asked a second time."""


class Result(NamedTuple):
    """What a script left: exit code and both outputs."""

    code: int
    out: str
    err: str

    @property
    def ok(self) -> bool:
        return self.code == 0

    @property
    def last_words(self) -> str:
        """The last lines that say something, for an error message."""
        lines = [line.strip() for line in (self.err + "\n" + self.out).splitlines() if line.strip()]
        return " | ".join(lines[-3:]) or f"exit code {self.code}, no output"


class Frame:
    """A script under way; the shell works through its frames in order."""

    def __init__(self, shell: Shell) -> None:
        self.shell = shell
        self.awaited = False  # somebody has waited since it was sent
        self.said: Result | None = None

    def result(self, on_line: Callable[[str], None] | None = None, timeout: float = 120) -> Result:
        """Wait for its end, and of those before it. Raises ConnectionLost."""
        while self.said is None:
            self.shell.frames[0].said = self.shell.take(on_line, timeout)
            del self.shell.frames[0]
        return self.said


class Shell:
    """A root shell over one channel of an open transport."""

    def __init__(
        self,
        transport: paramiko.Transport,
        label: str,
        password: str | None = None,
        root: bool = True,
    ) -> None:
        """Start the shell.

        label: how to name the host in errors. password: for sudo, where it asks for one. root: False for a shell
        with the login's own rights.
        Raises WrongSudoPassword when it is refused or missing, NoSession, SetupError when there is no way to root, ConnectionLost.
        """
        self.label = label
        self.token = f"labfab-{secrets.token_hex(8)}"
        self.channel = self.session(transport, START if root else START_PLAIN)
        self.password = password
        self.frames: list[Frame] = []  # under way, oldest first
        self.seen = {"out": b"", "err": b""}  # of what they said
        self.kernel = self.become_root()
        if self.kernel not in loader.SYSTEMS:
            raise SetupError(f"{label} runs {self.kernel}: labfab sets up Debian, Ubuntu and macOS")
        self.words = loader.script("words", self.kernel)

    def session(self, transport: paramiko.Transport, command: str) -> paramiko.Channel:
        """Have the host run a command."""
        try:
            channel = transport.open_session(timeout=30)
            channel.exec_command(command)
        except paramiko.ChannelException:
            raise NoSession(
                self.label, "sshd grants no session: look at MaxSessions in its settings"
            ) from None
        except GONE:
            what = (
                "sshd refuses to run a command"
                if transport.is_active()
                else "the host hangs up then"
            )
            raise NoSession(
                self.label, f"{what}: run the same again, or look at sshd's log there"
            ) from None
        return channel

    def become_root(self) -> str:
        """Wait until root answers, giving sudo the password when it asks; tell the kernel's name."""
        seen = {"out": b"", "err": b""}
        asked = 0
        while not (found := re.search(READY, seen["out"])):
            # A cloud image's root says whom to log in as, then keeps us waiting for ten seconds.
            if not self.receive(seen, timeout=30) or re.search(
                SEND_AWAY, seen["out"].decode(errors="replace")
            ):
                raise SetupError(self.refusal(seen))
            # A second question is the only sign of a wrong password that classic sudo and sudo-rs share.
            if seen["err"].count(PROMPT.encode()) > asked:
                asked += 1
                if asked > 1 or self.password is None:
                    self.close()
                    raise WrongSudoPassword
                self.write(self.password.encode() + b"\n")
                round_trips.waited(self.channel.transport)
        return found[1].decode(errors="replace")

    def refusal(self, seen: dict[str, bytes]) -> str:
        """Say why there is no root shell, from the last words of the host."""
        text = (seen["out"] + b" " + seen["err"]).decode(errors="replace").replace(PROMPT, "")
        words = " ".join(text.split())
        if "labfab-no-sudo" in words:
            return (
                f"{self.label}: this account is not root and sudo is not installed: log in as root"
            )
        name = re.search(SEND_AWAY, text)
        if name:
            return f"{self.label}: this host wants you to log in as {name[1]}: fab -H {name[1]}@…"
        if "password" in words.lower() and (
            "expired" in words.lower() or "change" in words.lower()
        ):
            return f"{self.label}: the password has expired: log in once with ssh, set a new one, run this again"
        if "sudoers" in words or "I'm afraid I can't do that" in words:  # sudo-rs
            return f"{self.label}: this account may not use sudo: log in as root or as an account that may"
        return (
            f"{self.label}: no shell on the host: {words[:300] or 'it closed the session at once'}"
        )

    def run(
        self, script: str, on_line: Callable[[str], None] | None = None, timeout: float = 120
    ) -> Result:
        """Run a script and wait for its end.

        on_line: called with each line as it comes. timeout: seconds of silence that count as a broken connection.
        Raises ConnectionLost.
        """
        return self.send(script).result(on_line, timeout)

    def send(self, script: str) -> Frame:
        """Send a script, whose end is waited for later: what is sent together takes one round trip together."""
        # Descriptor 9 is what holds the host's lock (claim.py): a server that a script starts would hold it for good.
        return self.frame(f"(eval {shlex.quote(script)}) </dev/null 9>&-")

    def frame(self, text: str) -> Frame:
        """Send one line of shell text that the shell itself runs, the first one after the words. Raises ConnectionLost."""
        frame, self.words = self.words, ""
        frame += f"{text}; printf '\\n%s %d\\n' {self.token} $?; "
        frame += f"printf '\\n%s\\n' {self.token} >&2\n"
        self.write(frame.encode())
        self.frames.append(Frame(self))
        return self.frames[-1]

    def write(self, data: bytes) -> None:
        try:
            self.channel.sendall(data)
        except GONE:
            raise ConnectionLost(self.lost()) from None

    def take(self, on_line: Callable[[str], None] | None, timeout: float) -> Result:
        """Wait until both outputs show the end of the oldest frame. Raises ConnectionLost."""
        ends = {
            "out": re.compile(rf"\n{self.token} (\d+)\n".encode()),
            "err": re.compile(rf"\n{self.token}\n".encode()),
        }
        if not self.frames[0].awaited:
            round_trips.waited(self.channel.transport)
        for frame in self.frames:
            frame.awaited = True
        while not all(found := [end.search(self.seen[name]) for name, end in ends.items()]):
            if not self.receive(self.seen, timeout, on_line):
                raise ConnectionLost(self.lost())
        out, err = (
            self.seen[name][: end.start()].decode(errors="replace")
            for name, end in zip(ends, found, strict=True)
        )
        self.seen = {
            name: self.seen[name][end.end() :] for name, end in zip(ends, found, strict=True)
        }
        return Result(int(found[0][1]), out, err)

    def lost(self) -> str:
        return f"{self.label}: the connection broke: run the same command again, it goes on where this stopped"

    def receive(
        self, seen: dict[str, bytes], timeout: float, on_line: Callable[[str], None] | None = None
    ) -> bool:
        """Wait for output and add it; False when the host closed or stayed silent."""
        end = time.monotonic() + timeout
        ready_to_read = (
            select.poll()
        )  # select() knows no more than 1024 open files, which many hosts at once have
        ready_to_read.register(self.channel, select.POLLIN)
        while time.monotonic() < end:
            ready_to_read.poll(1000 * min(1, timeout))
            got = False
            for name, ready, take in (
                ("out", self.channel.recv_ready, self.channel.recv),
                ("err", self.channel.recv_stderr_ready, self.channel.recv_stderr),
            ):
                while ready():
                    data = take(65536)
                    seen[name] += data
                    got = got or bool(data)
                    if on_line:
                        self.tell(data, on_line)
            if got:
                return True
            if on_line:
                on_line("")
            if (
                self.channel.closed
                or self.channel.exit_status_ready()
                or not self.channel.transport.is_active()
            ):
                return False
        return False

    def tell(self, data: bytes, on_line: Callable[[str], None]) -> None:
        for line in data.decode(errors="replace").replace("\r", "\n").splitlines():
            if line.strip() and self.token not in line:
                on_line(line.strip())

    def close(self) -> None:
        self.channel.close()
