"""Guard: a change to access stays only when a fresh login proves it; else the host itself takes it back.

Constraints:
- The laptop may die at any moment, so the way back is armed on the host before the first change: a timer reverts at
  the deadline, an enabled unit at the next boot (guard.sh).
- The login that is proven is dialled anew: a connection that is open says nothing about the next one.
- What is restored are the files that decide who gets in, byte for byte, not the single steps that changed them.
"""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Iterator
from secrets import token_hex

import paramiko
from fabric import Connection

from .. import console
from ..errors import SetupError
from ..facts import facts
from ..host import connection
from ..host.alias import alias_of
from ..host.changes import failure
from ..host.login_errors import why_not
from ..host.session import Host, Login, WriteMark
from ..host.shell import GONE, NoSession, Result, Shell, WrongSudoPassword
from ..local_state import secrets
from ..on_host import loader
from ..platforms import platform
from ..settings import Settings

FOLDER = "/var/lib/labfab/guard"
REVERTED = "/var/lib/labfab/reverted"
# What an earlier window left in there is the way back of its change, which is not to be lost.
LAY_OUT = """\
[ -z "$(ls %s/armed %s/reverting 2>/dev/null)" ] || { echo 'an earlier change is not taken back yet' >&2; exit 75; }
rm -rf %s; install -d -m 700 %s %s && printf %%s %s >%s/guard.sh || { rm -rf %s; exit 73; }
"""
GRACE = 60  # seconds after the deadline in which the host must answer the old way again
ANSWER = 20  # seconds of silence after which the open connection counts as broken, in the window
BROKEN = (SetupError, *GONE)
CONNECT_FAILED = 2  # RFC 4254, 5.1: allowed, but nobody answered there
INTERRUPTED = "stopped: the host takes the change back by itself within %s s"
KEPT = 3  # exit code of guard.sh: the change was confirmed, there is nothing to take back


class Window:
    """The time between the first change of a group and the proof of its login."""

    def __init__(self, c: Connection, why: str) -> None:
        self.c, self.why, self.armed_at, self.confirming = c, why, 0.0, False
        self.id = token_hex(8)
        self.first = len(Host.of(c).changes)

    def arm(self) -> None:
        """Have the host take everything back by itself, before the first change of the group."""
        if self.armed_at:
            return
        want, have = Settings.of(self.c), facts(self.c).accounts
        accounts = [have[name] for name in {self.c.user, want.user, want.lab_user} if name in have]
        given = {
            "PATHS": " ".join(
                [
                    *platform(self.c).guarded_files(self.c),
                    *(f"{account.home}/.ssh/authorized_keys" for account in accounts),
                ]
            ),
            "FOLDERS": " ".join(
                f"{account.home}{folder}" for account in accounts for folder in ("", "/.ssh")
            ),
            "RUN_SSHD": platform(self.c).run_sshd(self.c),
            "SECONDS_LEFT": want.revert_after,
            "WHY": self.why,
        }
        values = " ".join(f"{name}={shlex.quote(str(value))}" for name, value in given.items())
        self.armed_at = time.monotonic()
        answer = run(
            self.c, f"{lay_out(Host.of(self.c))}{values} sh {FOLDER}/guard.sh arm {self.id}"
        )
        if not answer.ok:
            self.armed_at = 0.0
            raise SetupError(
                failure(
                    Host.of(self.c).label, "prepare the way back, so nothing was changed", answer
                )
            )

    def before_write(self) -> WriteMark:
        """Arm the way back before the first write; a write that is silent for longer has failed."""
        self.arm()
        return WriteMark(self.id, Settings.of(self.c).revert_after)

    def disarm(self) -> None:
        """Keep the changes. Raises SetupError when the host has begun to take them back."""
        if not self.armed_at:
            return
        self.confirming = True
        if not run(self.c, f"sh {FOLDER}/guard.sh disarm {self.id}", ANSWER).ok:
            raise SetupError(
                "the proof came too late, the host has taken the change back: raise revert_after (seconds)"
            )

    def revert(self) -> str:
        """See to it that the host is as before, and say how that was found out."""
        host = Host.of(self.c)
        host.forget()
        if not self.armed_at:
            host.discard_changes(self.first)
            return ""
        began = time.monotonic()
        with console.working(host.label, "wait until the host has taken the change back"):
            answer = self.insist()
            if answer.code == KEPT and self.confirming:
                return (
                    "; the line broke at the end only: the host has kept the change, it was proven"
                )
            host.discard_changes(self.first)
            prove(self.c, host.login)
        run(self.c, f"rm -f {REVERTED}")  # told right here, so the next run need not
        took = console.duration(time.monotonic() - began)
        return f"; the host has taken everything back, the old login works again ({took})"

    def revert_or_say(self) -> str:
        """Revert, and say how that ended."""
        try:
            return self.revert()
        except BROKEN as worse:
            return f"; and then: {told(worse)}"

    def insist(self) -> Result:
        """Have the host take the change back now; where no line is left, dial the old way until it has done so."""
        until = max(self.armed_at + Settings.of(self.c).revert_after, time.monotonic()) + GRACE
        while True:
            try:
                # Sent whole: on the host it may be gone by now.
                return run(
                    self.c,
                    f"sh -c {shlex.quote(script(Host.of(self.c)))} guard.sh revert asked {self.id}",
                    ANSWER,
                )
            except BROKEN as error:
                if time.monotonic() > until:
                    raise SetupError(
                        f"the old login does not answer either ({error}): look at the host's console"
                    ) from None
            Host.of(self.c).close()
            time.sleep(1)


def script(host: Host) -> str:
    """The host's half, with the words it speaks in: it lies on the host and has to do without labfab."""
    kernel = host.open().kernel
    return loader.script("words", kernel) + loader.script("guard", kernel)


def lay_out(host: Host) -> str:
    """Shell text that puts the host's half in its place."""
    above = FOLDER.rpartition("/")[0]
    return LAY_OUT % (
        FOLDER,
        FOLDER,
        FOLDER,
        above,
        FOLDER,
        shlex.quote(script(host)),
        FOLDER,
        FOLDER,
    )


def run(c: Connection, script: str, timeout: float = 120) -> Result:
    """Run a part of the guard; it is no change of its own, so nothing is journaled, and what is known of the host still holds."""
    return Host.of(c).open().run(script, timeout=timeout)


def settle(c: Connection) -> None:
    """Report, and bring to its end, what a run that died has left half-done."""
    have, host = facts(c).guard, Host.of(c)
    if have.armed or have.reverted:
        host.forget()
    if have.armed:
        console.warn(
            f"[{host.label}] a run before this one died in the middle: {have.armed}; that change is taken back now"
        )
        done = run(c, f"sh {FOLDER}/guard.sh revert asked")
        if not done.ok:
            raise SetupError(
                f"{host.label}: the change of a run that died could not be taken back: {done.last_words}; look into {FOLDER} there"
            )
    elif have.reverted:
        when = {
            "deadline": "because no fresh login proved it",
            "boot": "when it booted",
            "asked": "when asked",
        }
        console.warn(
            f"[{host.label}] {have.reverted_at}: the host took a change back {when.get(have.reverted_by, '')}: {have.reverted}"
        )
    if have.armed or have.reverted:
        run(c, f"rm -f {REVERTED}")


@contextlib.contextmanager
def guarded(
    c: Connection, why: str, login: Login | None = None, always: bool = False
) -> Iterator[None]:
    """Keep a change to access only when a fresh login proves it.

    why: what the group of changes is for. login: the way in to prove, else the present one. always: prove it even
    when nothing was changed. With nothing changed it costs nothing.
    On failure the host is brought back to where it was and SetupError says why. Commit-confirmed changes as network
    equipment has them; nothing in the block may ask somebody, for the clock is ticking.
    """
    host, window = Host.of(c), Window(c, why)
    with host.calling(window.before_write):
        try:
            yield
            if (always or window.armed_at) and not host.planning:
                prove(c, login or host.login)
                window.disarm()
        except BROKEN as error:
            problem = told(error).removeprefix(f"could not {why}: ") or type(error).__name__
            raise SetupError(
                f"could not {why}: {problem}{window.revert_or_say()}", host=host.label
            ) from None
        except KeyboardInterrupt:
            if window.armed_at:
                console.warn(f"[{host.label}] {INTERRUPTED % Settings.of(c).revert_after}")
            raise
        finally:
            if window.armed_at:
                host.forget("guard")  # the rest of what was read in the window still holds


def told(error: BaseException) -> str:
    """The words of an error, without the label of a host in front."""
    return error.text if isinstance(error, SetupError) else str(error)


def prove_account(c: Connection, login: Login) -> None:
    """Log in anew as an account without sudo and have it answer: PAM may shut out whom a key lets in."""
    name = f"{login.user}@{c.host}:{login.port}"
    with console.working(Host.of(c).label, f"prove the login {name}"):
        try:
            new = connection.fresh(c, *login)
            try:
                Shell(new.transport, name, root=False).close()
            finally:
                new.close()
        except NoSession as error:
            raise SetupError(f"the login {name} does not work: {error.reason}") from None
        except GONE as error:
            raise SetupError(f"the login {name} does not work: {why_not(c, error)}") from None


def prove(c: Connection, login: Login) -> None:
    """Log in anew, become root, open a forward: what every later run and the tunnel need."""
    name = f"{login.user}@{c.host}:{login.port}"
    with console.working(Host.of(c).label, f"prove the login {name}"):
        try:
            new = connection.fresh(c, *login)
        except GONE as error:
            raise SetupError(f"the login {name} does not work: {why_not(c, error)}") from None
        try:
            Shell(new.transport, name, sudo_password(c, login.user)).close()
            # The host's own port: behind a router the outer one means nothing in there.
            inside = min(facts(c).ssh.ports, default=22)
            open_forward(new.transport, inside)
        except NoSession as error:
            raise SetupError(f"{name} logs in, but no further: {error.reason}") from None
        except SetupError as error:
            raise SetupError(
                f"{name} cannot become root: {str(error).removeprefix(f'{name}: ')}"
            ) from None
        except GONE as error:
            raise SetupError(f"{name} logs in, but no further: {why_not(c, error)}") from None
        except WrongSudoPassword:
            raise SetupError(
                f"sudo refuses the password of {login.user}: set LABFAB_SUDO_PASSWORD"
            ) from None
        finally:
            new.close()


def open_forward(transport: paramiko.Transport, port: int) -> None:
    """See that sshd lets a forward be opened; that nothing may listen on loopback there is another matter."""
    try:
        transport.open_channel(
            "direct-tcpip", ("127.0.0.1", port), ("127.0.0.1", 0), timeout=10
        ).close()
    except paramiko.ChannelException as error:
        if error.code != CONNECT_FAILED:
            raise


def sudo_password(c: Connection, user: str) -> str | None:
    """The password that sudo wants from this account, where it is known."""
    if user == c.user and Host.of(c).sudo_password:
        return Host.of(c).sudo_password
    known = secrets.take_from_environment("sudo-password") or secrets.load(
        alias_of(c, Settings.of(c)), "sudo-password"
    )
    return known.reveal() if known else None
