"""Shell: one long-lived root shell on the host, fed with framed scripts.

Constraints:
- A command in a channel of its own costs two round trips or more, a frame in an open shell costs one
  (docs/decisions/framed-shell.md), so everything goes through here.
- Scripts travel on the channel's input, never in an argument list: `ps` on the host shows no secret.
- `( eval … )` keeps a syntax error, an `exit` or a `cd` in one script away from the next one.
- sudo reads its password byte by byte from the same input, so it swallows nothing that follows.
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
# On macOS sudo has no PATH of its own: programs that the login puts first would run as root.
PATHS = """\
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
[ "$(/usr/bin/uname -s)" != Darwin ] || PATH=/usr/bin:/bin:/usr/sbin:/sbin
export PATH
"""
# Whoever we logged in as, this ends with root's `sh` reading scripts from standard input.
START = f"""\
{PATHS}root='echo {ROOT} $(uname -s); cd /; umask 022; exec sh'
if [ "$(id -u)" = 0 ]; then eval "$root"
elif ! command -v sudo >/dev/null; then echo labfab-no-sudo
elif sudo -n true 2>/dev/null; then exec sudo -n sh -c "$root"
else exec sudo -S -p {PROMPT} sh -c "$root"
fi
"""
# What paramiko raises when the connection is gone: it depends on which thread notices first.
GONE = (paramiko.SSHException, OSError, EOFError)
START_PLAIN = f"{PATHS}echo {ROOT} $(uname -s); cd /; umask 022; exec sh\n"


class ConnectionLost(SetupError):
    """The connection broke; the change under way may or may not have been made."""


class NoSession(SetupError):
    """The login works, but the host grants no session."""

    def __init__(self, label: str, reason: str) -> None:
        super().__init__(f"the login works, but {reason}", host=label)
        self.reason = reason


class WrongSudoPassword(Exception):
    """sudo asked a second time."""


class Result(NamedTuple):
    """What a script ended with: its exit code and both outputs."""

    code: int
    out: str
    err: str

    @property
    def ok(self) -> bool:
        """Whether the script succeeded."""
        return self.code == 0

    @property
    def last_words(self) -> str:
        """The last lines that are not empty, for an error message."""
        lines = [line.strip() for line in (self.err + "\n" + self.out).splitlines() if line.strip()]
        return " | ".join(lines[-3:]) or f"exit code {self.code}, no output"


class Frame:
    """A script that was sent; the shell runs its frames in order."""

    def __init__(self, shell: Shell) -> None:
        self.shell = shell
        self.awaited = False  # somebody has waited for an answer since it was sent
        self.said: Result | None = None

    def result(self, on_line: Callable[[str], None] | None = None, timeout: float = 120) -> Result:
        """Wait until this script, and those before it, have ended. Raises ConnectionLost."""
        while self.said is None:
            self.shell.finish_oldest(on_line, timeout)
        return self.said

    def end(self, said: Result) -> None:
        """Note what the script ended with."""
        self.said = said

    def count_wait(self) -> bool:
        """Note that somebody waits. Returns whether this is the first wait."""
        first, self.awaited = not self.awaited, True
        return first


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

        label: how to name the host in errors. password: for sudo, if it asks for one.
        root: False for a shell with the login's own rights.
        Raises WrongSudoPassword if the password is refused or missing, NoSession, ConnectionLost, and
        SetupError if this login cannot become root.
        """
        self.label = label
        self.token = f"labfab-{secrets.token_hex(8)}"
        self.channel = self.session(transport, START if root else START_PLAIN)
        self.password = password
        self.frames: list[Frame] = []  # not ended yet, oldest first
        self.seen = {"out": b"", "err": b""}  # their output, as far as it came
        self.kernel = self.become_root()
        if self.kernel not in loader.SYSTEMS:
            raise SetupError(f"{label} runs {self.kernel}: labfab sets up Debian, Ubuntu and macOS")
        self.words = loader.script("words", self.kernel)

    def session(self, transport: paramiko.Transport, command: str) -> paramiko.Channel:
        """Run a command on the host in a channel of its own. Raises NoSession."""
        try:
            channel = transport.open_session(timeout=30)
            channel.exec_command(command)
        except paramiko.ChannelException:
            raise NoSession(
                self.label, "sshd grants no session: look at MaxSessions in its settings"
            ) from None
        except GONE:
            active = transport.is_active()
            what = "sshd refuses to run a command" if active else "the host hangs up then"
            reason = f"{what}: run the same again, or look at sshd's log there"
            raise NoSession(self.label, reason) from None
        return channel

    def become_root(self) -> str:
        """Wait until root answers, and give sudo the password if it asks. Returns the kernel's name."""
        seen = {"out": b"", "err": b""}
        asked = 0
        while not (found := re.search(READY, seen["out"])):
            # The root of a cloud image says whom to log in as, then sleeps for ten seconds.
            if not self.receive(seen, timeout=30) or re.search(
                SEND_AWAY, seen["out"].decode(errors="replace")
            ):
                raise SetupError(self.refusal(seen), host=self.label)
            # A second prompt is the only sign of a wrong password in both sudo and sudo-rs.
            if seen["err"].count(PROMPT.encode()) > asked:
                asked += 1
                if asked > 1 or self.password is None:
                    self.close()
                    raise WrongSudoPassword
                self.write(self.password.encode() + b"\n")
                round_trips.count_wait(self.channel.transport)
        return found[1].decode(errors="replace")

    def refusal(self, seen: dict[str, bytes]) -> str:
        """Say why there is no root shell, from the last words of the host."""
        text = (seen["out"] + b" " + seen["err"]).decode(errors="replace").replace(PROMPT, "")
        words = " ".join(text.split())
        if "labfab-no-sudo" in words:
            return "this account is not root and sudo is not installed: log in as root"
        name = re.search(SEND_AWAY, text)
        if name:
            return f"this host wants you to log in as {name[1]}: fab -H {name[1]}@…"
        lower = words.lower()
        if "password" in lower and ("expired" in lower or "change" in lower):
            return "the password has expired: log in once with ssh, set a new one, run this again"
        if "sudoers" in words or "I'm afraid I can't do that" in words:  # sudo-rs
            return "this account may not use sudo: log in as root or as an account that may"
        return f"no shell on the host: {words[:300] or 'it closed the session at once'}"

    def run(
        self, script: str, on_line: Callable[[str], None] | None = None, timeout: float = 120
    ) -> Result:
        """Run a script and wait for its end.

        on_line: called with each line of output. timeout: seconds of silence after which the
        connection counts as broken. Raises ConnectionLost.
        """
        return self.send(script).result(on_line, timeout)

    def send(self, script: str) -> Frame:
        """Send a script and wait for its end later: scripts sent together take one round trip."""
        # Descriptor 9 holds the run lock (run_lock.py). A server that a script starts must not keep it.
        return self.frame(f"(eval {shlex.quote(script)}) </dev/null 9>&-")

    def frame(self, text: str) -> Frame:
        """Send one line of shell text that the shell itself runs. Raises ConnectionLost.

        The words (on_host/words.sh) go in front of the first one.
        """
        frame, self.words = self.words, ""
        frame += f"{text}; printf '\\n%s %d\\n' {self.token} $?; "
        frame += f"printf '\\n%s\\n' {self.token} >&2\n"
        self.write(frame.encode())
        self.frames.append(Frame(self))
        return self.frames[-1]

    def write(self, data: bytes) -> None:
        """Send bytes. Raises ConnectionLost."""
        try:
            self.channel.sendall(data)
        except GONE:
            raise self.lost() from None

    def finish_oldest(self, on_line: Callable[[str], None] | None, timeout: float) -> None:
        """Wait for the end of the oldest frame. Raises ConnectionLost."""
        self.frames[0].end(self.wait_for_end(on_line, timeout))
        del self.frames[0]

    def wait_for_end(self, on_line: Callable[[str], None] | None, timeout: float) -> Result:
        """Wait until both outputs show the end of the oldest frame. Raises ConnectionLost."""
        ends = {
            "out": re.compile(rf"\n{self.token} (\d+)\n".encode()),
            "err": re.compile(rf"\n{self.token}\n".encode()),
        }
        if [frame.count_wait() for frame in self.frames][0]:
            round_trips.count_wait(self.channel.transport)
        while True:
            out, err = (end.search(self.seen[name]) for name, end in ends.items())
            if out and err:
                break
            if not self.receive(self.seen, timeout, on_line):
                raise self.lost()
        said = self.seen["out"][: out.start()], self.seen["err"][: err.start()]
        self.seen = {"out": self.seen["out"][out.end() :], "err": self.seen["err"][err.end() :]}
        return Result(int(out[1]), *(text.decode(errors="replace") for text in said))

    def lost(self) -> ConnectionLost:
        """Make the error for a broken connection."""
        return ConnectionLost(
            "the connection broke: run the same command again, it goes on where this stopped",
            host=self.label,
        )

    def receive(
        self, seen: dict[str, bytes], timeout: float, on_line: Callable[[str], None] | None = None
    ) -> bool:
        """Wait for output and add it to *seen*. Returns False if the host closed or stayed silent."""
        end = time.monotonic() + timeout
        # select() takes no more than 1024 open files, and a fleet may have more.
        ready_to_read = select.poll()
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
                or not (self.channel.transport and self.channel.transport.is_active())
            ):
                return False
        return False

    def tell(self, data: bytes, on_line: Callable[[str], None]) -> None:
        """Pass output on, line by line."""
        for line in data.decode(errors="replace").replace("\r", "\n").splitlines():
            if line.strip() and self.token not in line:
                on_line(line.strip())

    def close(self) -> None:
        """End the shell."""
        self.channel.close()
