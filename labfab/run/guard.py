"""Guard: a change to access stays only if a fresh login proves it; otherwise the host reverts it.

Constraints:
- The laptop may die at any moment, so the way back is armed on the host before the first change: a
  timer reverts at the deadline, an enabled unit at the next boot (on_host/guard.sh).
- The login that is proven is a new connection: an open one says nothing about the next.
- What is restored are the files that decide who gets in, byte for byte, not the single changes.
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
from ..host.changes import SHORT, failed
from ..host.login_errors import why_not
from ..host.session import Host, Login, WriteMark
from ..host.shell import GONE, NoSession, Result, Shell, WrongSudoPassword
from ..local_state import secrets
from ..on_host import loader
from ..platforms import platform
from ..settings import Settings

FOLDER = "/var/lib/labfab/guard"
REVERTED = "/var/lib/labfab/reverted"
# What an earlier window left there is the way back of its change: never overwrite that.
INSTALL = """\
[ -z "$(ls {folder}/armed {folder}/reverting 2>/dev/null)" ] ||
    { echo 'an earlier change is not taken back yet' >&2; exit 75; }
rm -rf {folder}
install -d -m 700 {above} {folder} && printf %s {script} >{folder}/guard.sh ||
    { rm -rf {folder}; exit 73; }
"""
GRACE = 60  # seconds after the deadline in which the host must answer the old way again
ANSWER = 20  # seconds of silence in the window after which the connection counts as broken
BROKEN = (SetupError, *GONE)
CONNECT_FAILED = 2  # RFC 4254, 5.1: the forward is allowed, but nobody answered
KEPT = 3  # exit code of guard.sh: the change was confirmed, so there is nothing to take back
INTERRUPTED = "stopped: the host takes the change back by itself within %s s"
REVERTED_BECAUSE = {
    "deadline": "because no fresh login proved it",
    "boot": "when it booted",
    "asked": "when asked",
}


class Window:
    """The time between the first change of a group and the proof of its login."""

    def __init__(self, c: Connection, why: str) -> None:
        self.c, self.host, self.why = c, Host.of(c), why
        self.armed_at, self.confirming = 0.0, False
        self.id = token_hex(8)
        self.first = len(self.host.changes)

    def arm(self) -> None:
        """Prepare the host to revert by itself, before the first change of the group."""
        if self.armed_at:
            return
        given = guard_settings(self.c, self.why)
        values = " ".join(f"{name}={shlex.quote(str(value))}" for name, value in given.items())
        self.armed_at = time.monotonic()
        answer = self.guard_sh(f"{install(self.host)}{values} sh {FOLDER}/guard.sh arm {self.id}")
        if not answer.ok:
            self.armed_at = 0.0
            why = "prepare the way back, so nothing was changed"
            raise failed(self.host.label, why, answer)

    def guard_sh(self, script: str, timeout: float = SHORT) -> Result:
        """Run a part of the guard. It is no change of its own: not journaled, and facts stay valid."""
        return self.host.open().run(script, timeout=timeout)

    def before_write(self) -> WriteMark:
        """Arm the way back before the first write; a write that is silent for longer has failed."""
        self.arm()
        return WriteMark(self.id, Settings.of(self.c).revert_after)

    def disarm(self) -> None:
        """Keep the changes. Raises SetupError if the host has begun to revert them."""
        if not self.armed_at:
            return
        self.confirming = True
        if not self.guard_sh(f"sh {FOLDER}/guard.sh disarm {self.id}", ANSWER).ok:
            raise SetupError(
                "the proof came too late, the host has taken the change back: "
                "raise revert_after (seconds)"
            )

    def revert(self) -> str:
        """Make sure that the host is as before, and say how that was found out."""
        self.host.forget()
        if not self.armed_at:
            self.host.discard_changes(self.first)
            return ""
        began = time.monotonic()
        with console.working(self.host.label, "wait until the host has taken the change back"):
            answer = self.insist()
            if answer.code == KEPT and self.confirming:
                return (
                    "; the connection broke only at the end: "
                    "the host has kept the change, it was proven"
                )
            self.host.discard_changes(self.first)
            prove(self.c, self.host.login)
        self.guard_sh(f"rm -f {REVERTED}")  # reported here, so the next run need not
        took = console.duration(time.monotonic() - began)
        return f"; the host has taken everything back, the old login works again ({took})"

    def revert_or_say(self) -> str:
        """Revert, and say how that ended, even if it failed."""
        try:
            return self.revert()
        except BROKEN as worse:
            return f"; and then: {told(worse)}"

    def insist(self) -> Result:
        """Make the host revert now; if the connection is gone, dial the old way until it has."""
        until = max(self.armed_at + Settings.of(self.c).revert_after, time.monotonic()) + GRACE
        while True:
            try:
                # Send the whole script: the copy on the host may be gone by now.
                text = shlex.quote(script(self.host))
                return self.guard_sh(f"sh -c {text} guard.sh revert asked {self.id}", ANSWER)
            except BROKEN as error:
                if time.monotonic() > until:
                    raise SetupError(
                        f"the old login does not answer either ({error}): "
                        "look at the host's console"
                    ) from None
            self.host.close()
            time.sleep(1)


def guard_settings(c: Connection, why: str) -> dict[str, object]:
    """Give guard.sh what it must know: what to keep, how to reload sshd, and how long to wait."""
    want, have, how = Settings.of(c), facts(c).accounts, platform(c)
    homes = [have[name].home for name in {c.user, want.user, want.lab_user} if name in have]
    keys = [f"{home}/.ssh/authorized_keys" for home in homes]
    folders = [f"{home}{folder}" for home in homes for folder in ("", "/.ssh")]
    return {
        "PATHS": " ".join([*how.guarded_files(c), *keys]),
        "FOLDERS": " ".join(folders),
        "RUN_SSHD": how.run_sshd(c),
        "SECONDS_LEFT": want.revert_after,
        "WHY": why,
    }


def script(host: Host) -> str:
    """Give guard.sh and the words it uses, as one text that works on the host without labfab."""
    kernel = host.open().kernel
    return loader.script("words", kernel) + loader.script("guard", kernel)


def install(host: Host) -> str:
    """Give the shell text that puts guard.sh in its place."""
    words = {
        "{folder}": FOLDER,
        "{above}": FOLDER.rpartition("/")[0],
        "{script}": shlex.quote(script(host)),
    }
    text = INSTALL
    for name, value in words.items():
        text = text.replace(name, value)
    return text


def settle(c: Connection) -> None:
    """Finish and report what an interrupted run has left. Raises SetupError if that fails."""
    have, host = facts(c).guard, Host.of(c)
    if not (have.armed or have.reverted):
        return
    host.forget()
    if have.armed:
        console.warn(
            f"[{host.label}] an earlier run died in the middle: {have.armed}; "
            "that change is taken back now"
        )
        done = host.open().run(f"sh {FOLDER}/guard.sh revert asked")
        if not done.ok:
            raise SetupError(
                "the change of a run that died could not be taken back: "
                f"{done.last_words}; look into {FOLDER} there",
                host=host.label,
            )
    else:
        because = REVERTED_BECAUSE.get(have.reverted_by, "")
        console.warn(
            f"[{host.label}] {have.reverted_at}: the host took a change back {because}: "
            f"{have.reverted}"
        )
    host.open().run(f"rm -f {REVERTED}")


@contextlib.contextmanager
def guarded(
    c: Connection, why: str, login: Login | None = None, always: bool = False
) -> Iterator[None]:
    """Keep a change to access only if a fresh login proves it.

    why: what the group of changes is for. login: the way in to prove, else the present one.
    always: prove it even if nothing was changed; otherwise that costs nothing.
    On failure the host is restored and SetupError says why. Like the commit-confirmed of network
    equipment. Nothing in the block may ask the user: the clock is ticking.
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
    """Log in once more as an account without sudo: PAM may shut out whom a key lets in.

    Raises SetupError.
    """
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
    """Log in once more, become root and open a forward, as later runs and the tunnel do.

    Raises SetupError.
    """
    name = f"{login.user}@{c.host}:{login.port}"
    with console.working(Host.of(c).label, f"prove the login {name}"):
        try:
            new = connection.fresh(c, *login)
        except GONE as error:
            raise SetupError(f"the login {name} does not work: {why_not(c, error)}") from None
        try:
            Shell(new.transport, name, sudo_password(c, login.user)).close()
            # The port on the host: behind a router it may differ from the one that we dial.
            inside = min(facts(c).ssh.ports, default=22)
            open_forward(new.transport, inside)
        except NoSession as error:
            raise SetupError(f"{name} logs in, but no further: {error.reason}") from None
        except SetupError as error:
            raise SetupError(f"{name} cannot become root: {error.text}") from None
        except GONE as error:
            raise SetupError(f"{name} logs in, but no further: {why_not(c, error)}") from None
        except WrongSudoPassword:
            raise SetupError(
                f"sudo refuses the password of {login.user}: set LABFAB_SUDO_PASSWORD"
            ) from None
        finally:
            new.close()


def open_forward(transport: paramiko.Transport, port: int) -> None:
    """Prove that sshd allows forwards; it does not matter whether something listens there."""
    try:
        transport.open_channel(
            "direct-tcpip", ("127.0.0.1", port), ("127.0.0.1", 0), timeout=10
        ).close()
    except paramiko.ChannelException as error:
        if error.code != CONNECT_FAILED:
            raise


def sudo_password(c: Connection, user: str) -> str | None:
    """Give the password of sudo for this account, if it is known."""
    if user == c.user and Host.of(c).sudo_password:
        return Host.of(c).sudo_password
    known = secrets.take_from_environment("sudo-password") or secrets.load(
        alias_of(c, Settings.of(c)), "sudo-password"
    )
    return known.reveal() if known else None
