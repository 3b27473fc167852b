"""Shell: one long-lived root shell on the host, fed with framed scripts.

Constraints:
- A command in a channel of its own costs at least two round trips, a frame in an open shell only
  one (docs/decisions/framed-shell.md), so every command goes through this shell.
- Scripts are sent on the channel's input, never in an argument list, so `ps` on the host shows no
  secret.
- `( eval … )` confines a syntax error, an `exit` or a `cd` to its script.
- sudo reads its password byte by byte from the same input, so it consumes nothing that follows.
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
# On macOS sudo keeps the login's PATH, so programs of the login would run as root.
PATHS = """\
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin";
[ "$(/usr/bin/uname -s)" != Darwin ] || PATH=/usr/bin:/bin:/usr/sbin:/sbin;
export PATH;"""
SERVE = f"echo {ROOT} $(uname -s); cd /; umask 022; exec sh"
# For any login, this ends with root's `sh` reading scripts from standard input.
START = f"""\
{PATHS}
if [ "$(id -u)" = 0 ]; then {SERVE};
elif ! command -v sudo >/dev/null; then echo labfab-no-sudo;
elif sudo -n true 2>/dev/null; then exec sudo -n sh -c "{SERVE.replace("$", chr(92) + "$")}";
else exec sudo -S -p {PROMPT} sh -c "{SERVE.replace("$", chr(92) + "$")}";
fi"""
START_PLAIN = f"{PATHS} {SERVE}"
# What paramiko raises when the connection is gone depends on which thread notices first.
CONNECTION_ERRORS = (paramiko.SSHException, OSError, EOFError)
HUNG = 30  # seconds for sshd to open a session
LARGEST = 64_000_000  # bytes that one answer may have; all of them are kept in memory
LARGEST_GREETING = 100_000  # bytes before the root shell is there
PATIENCE = 12  # how many times the silence that is allowed may an answer take in all


def for_any_shell(script: str) -> str:
    """Return the command that runs a script of sh from whatever shell a login has.

    In fish, tcsh and others, one line in single quotes is as in sh if it has no quote.
    """
    return f"exec /bin/sh -c '{' '.join(script.splitlines())}'"


class ConnectionLost(SetupError):
    """The connection broke. It is unknown whether the change in progress was made."""


class NoSession(SetupError):
    """The login works, but the host refuses to open a session."""

    def __init__(self, label: str, reason: str) -> None:
        super().__init__(f"the login works, but {reason}", host=label)
        self.reason = reason


class WrongSudoPassword(Exception):
    """sudo asked for the password a second time."""


class Result(NamedTuple):
    """The result of a script: its exit code, its stdout and its stderr."""

    code: int
    out: str
    err: str

    @property
    def ok(self) -> bool:
        """Return whether the script succeeded."""
        return self.code == 0

    @property
    def last_words(self) -> str:
        """Return the last lines that are not empty, for an error message."""
        lines = [line.strip() for line in (self.err + "\n" + self.out).splitlines() if line.strip()]
        return " | ".join(lines[-3:]) or f"exit code {self.code}, no output"


class Frame:
    """A script that was sent. The shell runs its frames in order."""

    def __init__(self, shell: Shell) -> None:
        self.shell = shell
        # Whether an answer has been waited for since the script was sent.
        self.awaited = False
        self.said: Result | None = None

    def result(self, on_line: Callable[[str], None] | None = None, timeout: float = 120) -> Result:
        """Wait until this script and those before it have ended. Raises ConnectionLost."""
        while self.said is None:
            self.shell.finish_oldest(on_line, timeout)
        return self.said

    def end(self, said: Result) -> None:
        """Set the result of the script."""
        self.said = said

    def count_wait(self) -> bool:
        """Record a wait. Returns whether it is the first one."""
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

        label: the host's name in errors. password: for sudo, if it asks for one.
        root: False for a shell with the rights of the login itself.
        Raises WrongSudoPassword if the password is refused or missing, NoSession, ConnectionLost,
        and SetupError if this login cannot become root.
        """
        self.label = label
        self.token = f"labfab-{secrets.token_hex(8)}"
        self.channel = self.session(transport, START if root else START_PLAIN)
        self.password = password
        # Frames that have not ended yet, oldest first, and their output so far.
        self.frames: list[Frame] = []
        self.seen = {"out": bytearray(), "err": bytearray()}
        self.kernel = self.become_root()
        if self.kernel not in loader.SYSTEMS:
            raise SetupError(f"{label} runs {self.kernel}: labfab sets up Debian, Ubuntu and macOS")
        self.words = loader.words(self.kernel)

    def session(self, transport: paramiko.Transport, command: str) -> paramiko.Channel:
        """Run a command on the host in a new channel. Raises NoSession."""
        began = time.monotonic()
        try:
            channel = transport.open_session(timeout=HUNG)
            channel.exec_command(for_any_shell(command))
        except paramiko.ChannelException:
            raise NoSession(
                self.label, "sshd refuses to open a session: look at MaxSessions in its settings"
            ) from None
        except CONNECTION_ERRORS:
            active = transport.is_active()
            what = "sshd refuses to run a command" if active else "the host then hangs up"
            if time.monotonic() - began >= HUNG:
                what = f"it hung for {HUNG} s"
            reason = f"{what}: run the same command again, or look at sshd's log there"
            raise NoSession(self.label, reason) from None
        return channel

    def become_root(self) -> str:
        """Wait for the root shell, and pass the password to sudo if it asks.

        Returns the kernel's name.
        """
        seen = {"out": bytearray(), "err": bytearray()}
        asked, deadline = 0, time.monotonic() + PATIENCE * 30
        while not (found := re.search(READY, seen["out"])):
            received = self.receive(seen, timeout=30, largest=LARGEST_GREETING)
            # A cloud image's root login says whom to log in as, then sleeps for ten seconds.
            late = time.monotonic() > deadline
            if not received or late or re.search(SEND_AWAY, seen["out"].decode(errors="replace")):
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

    def refusal(self, seen: dict[str, bytearray]) -> str:
        """Return why there is no root shell, judging by the host's last output."""
        text = bytes(seen["out"] + b" " + seen["err"]).decode(errors="replace").replace(PROMPT, "")
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
        return f"no shell on the host: {words[:300] or 'it closed the session immediately'}"

    def run(
        self, script: str, on_line: Callable[[str], None] | None = None, timeout: float = 120
    ) -> Result:
        """Run a script and wait until it ends.

        on_line: called with each line of output. timeout: seconds of silence after which the
        connection counts as broken. Raises ConnectionLost.
        """
        return self.send(script).result(on_line, timeout)

    def send(self, script: str) -> Frame:
        """Send a script without waiting for it: scripts sent together take one round trip."""
        # Descriptor 9 holds the run lock (run_lock.py). A server that a script starts must not.
        return self.frame(f"(eval {shlex.quote(script)}) </dev/null 9>&-")

    def frame(self, text: str) -> Frame:
        """Send one line of shell text, which runs in the shell itself. Raises ConnectionLost.

        The first one is preceded by the shell functions of on_host/words.sh.
        """
        frame, self.words = self.words, ""
        frame += f"{text}; printf '\\n%s %d\\n' {self.token} $?; "
        frame += f"printf '\\n%s\\n' {self.token} >&2\n"
        try:
            # As facts are decoded: an account's file may have any bytes.
            data = frame.encode(errors="surrogateescape")
        except UnicodeEncodeError:
            raise SetupError("what is to be written is not Unicode", host=self.label) from None
        self.write(data)
        self.frames.append(Frame(self))
        return self.frames[-1]

    def write(self, data: bytes) -> None:
        """Send bytes. Raises ConnectionLost."""
        try:
            self.channel.sendall(data)
        except CONNECTION_ERRORS:
            raise self.lost() from None

    def finish_oldest(self, on_line: Callable[[str], None] | None, timeout: float) -> None:
        """Wait until the oldest frame ends. Raises ConnectionLost."""
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
        deadline = time.monotonic() + PATIENCE * timeout
        looked = dict.fromkeys(ends, 0)
        while True:
            # What was searched before has no end; one may have begun in its last bytes.
            out, err = (end.search(self.seen[name], looked[name]) for name, end in ends.items())
            if out and err:
                break
            looked = {
                name: looked[name] if found else max(0, len(self.seen[name]) - 2 * len(self.token))
                for name, found in (("out", out), ("err", err))
            }
            if not self.receive(self.seen, timeout, on_line):
                raise self.lost()
            if time.monotonic() > deadline:
                raise self.babbling(f"has been answering for {PATIENCE * timeout / 60:.0f} minutes")
        said = self.seen["out"][: out.start()], self.seen["err"][: err.start()]
        code = int(out[1])
        self.seen = {"out": self.seen["out"][out.end() :], "err": self.seen["err"][err.end() :]}
        return Result(code, *(text.decode(errors="replace") for text in said))

    def babbling(self, what: str) -> SetupError:
        """Hang up on a host whose answer does not end, and return the error."""
        self.close()
        return SetupError(
            f"the host {what}, so labfab hung up: "
            "find out what runs there, then run the same command again",
            host=self.label,
        )

    def lost(self) -> ConnectionLost:
        """Return the error for a broken connection."""
        return ConnectionLost(
            "the connection broke: run the same command again, it continues where this one stopped",
            host=self.label,
        )

    def receive(
        self,
        seen: dict[str, bytearray],
        timeout: float,
        on_line: Callable[[str], None] | None = None,
        largest: int = LARGEST,
    ) -> bool:
        """Wait for output and add it to *seen*. Raises SetupError for more than *largest* bytes.

        Returns False if the host closed the channel or stayed silent.
        """
        end = time.monotonic() + timeout
        # select() is limited to 1024 open files, and a fleet may have more.
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
                    if len(seen[name]) > largest:
                        raise self.babbling(f"answered more than {largest / 1_000_000:g} MB")
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
