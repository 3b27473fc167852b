"""Guard: keeps a change to access only if a fresh login proves it; else the host reverts it.

Constraints:
- The laptop may die at any moment, so the revert is armed on the host before the first change: a
  timer reverts at the deadline, an enabled unit at the next boot (on_host/guard.sh).
- The proof is a new connection: an open one says nothing about the next login.
- A revert does not undo single changes. It restores, byte for byte, the files that decide who can
  log in.
"""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from secrets import token_hex

import paramiko
from fabric import Connection

from .. import console
from ..errors import SetupError, text_of
from ..facts import facts
from ..host import connection, dial_limit
from ..host.changes import SILENCE, failed
from ..host.login_errors import explain_second_login, login_in_words
from ..host.session import Host, Login, WindowMark
from ..host.shell import CONNECTION_ERRORS, NoSession, Result, Shell, WrongSudoPassword
from ..local_state import secrets
from ..on_host import loader
from ..platforms import platform
from ..settings import Settings
from ..text import printable

FOLDER = "/var/lib/labfab/guard"
REVERTED = "/var/lib/labfab/reverted"
LEFT = f"{FOLDER}.left"  # copies of what could not be restored
LOST = "labfab-lost: "  # guard.sh begins with it what an account kept it from restoring
SSHD_FAILED = "the host restored its files, but sshd did not come up as before"
SSHD = "labfab-sshd: "  # and with this what sshd said when it did not come up
# An earlier window may have left files there that are needed to revert its change: keep those.
INSTALL = """\
[ -z "$(ls {folder}/armed {folder}/reverting 2>/dev/null)" ] ||
    { echo 'an earlier change has not been reverted yet' >&2; exit 75; }
rm -rf {folder}
install -d -m 700 {above} {folder} && printf %s {script} >{folder}/guard.sh ||
    { rm -rf {folder}; exit 73; }
"""
GRACE = 60  # seconds after the deadline within which the old login must work again
ANSWER = 20  # seconds without an answer in the window, after which the connection counts as broken
RUN_ERRORS = (SetupError, *CONNECTION_ERRORS)
CONFIRMED = 3  # exit code of guard.sh: the change was confirmed, so there is nothing to revert
INTERRUPTED = "stopped: the host will revert the change by itself within %s s"
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

    @cached_property
    def limited(self) -> bool:
        """Return whether the host's firewall limits connections to sshd."""
        have = facts(self.c)
        return have.firewall.limits_any(have.ssh.ports)

    @property
    def seconds(self) -> int:
        """Return how long the host waits for the proof, which a limit may delay twice."""
        waits = 2 * dial_limit.WINDOW if self.limited else 0
        return Settings.of(self.c).revert_after + waits

    def arm(self) -> None:
        """Arm the automatic revert on the host, before the first change of the group."""
        if self.armed_at:
            return
        if self.limited:
            dial_limit.expect(self.c.host)
        given = guard_settings(self.c, self.why, self.seconds)
        values = " ".join(f"{name}={shlex.quote(str(value))}" for name, value in given.items())
        self.armed_at = time.monotonic()
        answer = self.guard_sh(f"{install(self.host)}{values} sh {FOLDER}/guard.sh arm {self.id}")
        if not answer.ok:
            self.armed_at = 0.0
            why = "arm the automatic revert, so nothing was changed"
            raise failed(self.host.label, why, answer)

    def guard_sh(self, script: str, timeout: float = SILENCE) -> Result:
        """Run a command of guard.sh.

        It does not count as a change: it is not journaled, and the facts stay valid.
        """
        return self.host.open().run(script, timeout=timeout)

    def before_write(self) -> WindowMark:
        """Arm the revert before the first write. A write that is silent until then has failed."""
        self.arm()
        return WindowMark(self.id, self.seconds)

    def disarm(self) -> None:
        """Keep the changes. Raises SetupError if the host has begun to revert them."""
        if not self.armed_at:
            return
        self.confirming = True
        if not self.guard_sh(f"sh {FOLDER}/guard.sh disarm {self.id}", ANSWER).ok:
            raise SetupError(
                "the proof came too late, the host has reverted the change: "
                "raise revert_after (seconds)"
            )

    def revert(self) -> str:
        """Make sure that the host is as before, and return the end of the error message."""
        self.host.forget()
        if not self.armed_at:
            self.host.discard_changes(self.first)
            return ""
        began = time.monotonic()
        with console.working(self.host.label, "wait until the host has reverted the change"):
            answer = self.revert_until_done()
            if answer.code == CONFIRMED and self.confirming:
                return (
                    "; the connection broke only at the end: "
                    "the change was proven, and the host has kept it"
                )
            self.host.discard_changes(self.first)
            prove_login(self.c, self.host.login)
        # This run reports the revert, so the next one need not.
        self.guard_sh(f"rm -f {REVERTED}")
        took = console.duration(time.monotonic() - began)
        if words := after(SSHD, answer):
            return (
                f"; the host has restored its files and the old login works ({took}), but sshd "
                f"did not come up as before: {words}; look at its log there before "
                "the next boot"
            )
        if names := after(LOST, answer):
            return (
                f"; the host has reverted all but {names}, whose copies are in {LEFT} there; "
                f"the old login works again ({took})"
            )
        return f"; the host has reverted everything, the old login works again ({took})"

    def revert_or_say(self) -> str:
        """Revert, and return the end of the error message, even if that fails too."""
        try:
            return self.revert()
        except RUN_ERRORS as worse:
            return f"; and then: {text_of(worse)}"

    def revert_until_done(self) -> Result:
        """Make the host revert now. If the connection is gone, dial the old login until it has."""
        until = max(self.armed_at + self.seconds, time.monotonic()) + GRACE
        while True:
            try:
                # Send the whole script, because the copy on the host may be gone by now.
                text = shlex.quote(script(self.host))
                return self.guard_sh(f"sh -c {text} guard.sh revert asked {self.id}", ANSWER)
            except RUN_ERRORS as error:
                if time.monotonic() > until:
                    raise SetupError(
                        f"the old login does not work either ({error}): look at the host's console"
                    ) from None
            self.host.close()
            time.sleep(1)


def guard_settings(c: Connection, why: str, seconds: int) -> dict[str, object]:
    """Return the variables of guard.sh: what to keep, how to reload sshd, how long to wait."""
    want, have, how = Settings.of(c), facts(c).accounts, platform(c)
    homes = [have[name].home for name in {c.user, want.user, want.lab_user} if name in have]
    keys = [f"{home}/.ssh/authorized_keys" for home in homes]
    folders = [f"{home}{folder}" for home in homes for folder in ("", "/.ssh")]
    return {
        "PATHS": " ".join([*how.guarded_files(c), *keys]),
        "FOLDERS": " ".join(folders),
        "ACCOUNTS": want.user,
        "RUN_SSHD": how.run_sshd(c),
        "SECONDS_LEFT": seconds,
        "WHY": why,
    }


def script(host: Host) -> str:
    """Return guard.sh and the functions it uses as one script that needs nothing of labfab's."""
    kernel = host.open().kernel
    return loader.words(kernel) + loader.script("guard", kernel)


def install(host: Host) -> str:
    """Return the shell text that installs guard.sh."""
    words = {
        "{folder}": FOLDER,
        "{above}": FOLDER.rpartition("/")[0],
        "{script}": shlex.quote(script(host)),
    }
    text = INSTALL
    for name, value in words.items():
        text = text.replace(name, value)
    return text


def after(mark: str, answer: Result) -> str:
    """Return what a revert says of itself in lines that begin with this mark, as one line."""
    said = [line for line in answer.out.splitlines() if line.startswith(mark)]
    return printable(", ".join(line.removeprefix(mark) for line in said))


def recover_interrupted(c: Connection) -> None:
    """Finish and report what an interrupted run left behind. Raises SetupError if that fails."""
    have, host = facts(c).guard, Host.of(c)
    if not (have.armed or have.reverted):
        return
    host.forget()
    if have.armed:
        console.warn(
            f"[{host.label}] an earlier run was interrupted: {have.armed}; "
            "reverting that change now"
        )
        done = host.open().run(f"sh {FOLDER}/guard.sh revert asked")
        if not done.ok:
            raise SetupError(
                "the change of an interrupted run could not be reverted: "
                f"{done.last_words}; look into {FOLDER} there",
                host=host.label,
            )
        if names := after(LOST, done):
            console.warn(f"[{host.label}] not reverted: {names}; the copies are in {LEFT} there")
        if words := after(SSHD, done):
            console.warn(f"[{host.label}] {SSHD_FAILED}: {words}")
    else:
        because = REVERTED_BECAUSE.get(have.reverted_by, "")
        console.warn(
            f"[{host.label}] {have.reverted_at}: the host reverted a change {because}: "
            f"{have.reverted}"
        )
        if have.sshd:
            console.warn(f"[{host.label}] {SSHD_FAILED}: {have.sshd}")
    host.open().run(f"rm -f {REVERTED}")


@contextlib.contextmanager
def guarded(
    c: Connection,
    why: str,
    login: Login | None = None,
    always: bool = False,
    then: Callable[[], None] | None = None,
) -> Iterator[None]:
    """Keep a change to access only if a fresh login proves it.

    This is like the commit-confirmed of network equipment. Nothing in the block may ask the user,
    because the clock is ticking.

    why: the purpose of the changes. login: the login to prove, else the present one.
    always: prove it even if nothing was changed.
    then: what else must be so. It runs after the proof, because a host may count a probe without a
    login as an attack, and take no more connections from here for a while.
    On failure the host is restored, and SetupError says why.
    """
    host, window = Host.of(c), Window(c, why)
    with host.guarded_by(window.before_write):
        try:
            yield
            if (always or window.armed_at) and not host.planning:
                prove_login(c, login or host.login)
                if then:
                    then()
                window.disarm()
        except RUN_ERRORS as error:
            problem = text_of(error).removeprefix(f"could not {why}: ") or type(error).__name__
            raise SetupError(
                f"could not {why}: {problem}{window.revert_or_say()}", host=host.label
            ) from None
        except Exception:
            # A defect of ours. The host need not wait for the deadline.
            window.revert_or_say()
            raise
        except KeyboardInterrupt:
            if window.armed_at:
                console.warn(f"[{host.label}] {INTERRUPTED % window.seconds}")
                host.discard_changes(window.first)
            raise
        finally:
            if window.armed_at:
                # The other facts that were read in the window are still true.
                host.forget("guard")


def prove_account(c: Connection, login: Login) -> None:
    """Log in once more as an account without sudo, because PAM may refuse what a key allows.

    Raises SetupError.
    """
    with logged_in(c, login) as (new, name):
        try:
            Shell(new.transport, name, root=False).close()
        except NoSession as error:
            raise SetupError(f"the login {name} does not work: {error.reason}") from None
        except CONNECTION_ERRORS as error:
            raise SetupError(
                f"the login {name} does not work: {explain_second_login(c, error)}"
            ) from None


def prove_login(c: Connection, login: Login) -> None:
    """Log in once more, become root and open a forward, as later runs and the tunnel do.

    Raises SetupError.
    """
    with logged_in(c, login) as (new, name):
        try:
            Shell(new.transport, name, sudo_password(c, login.user)).close()
            # The port on the host: behind a router it may differ from the one that we dial.
            open_forward(new.transport, min(facts(c).ssh.ports, default=22))
        except NoSession as error:
            raise SetupError(f"{name} logs in, but no further: {error.reason}") from None
        except SetupError as error:
            raise SetupError(f"{name} cannot become root: {error.text}") from None
        except CONNECTION_ERRORS as error:
            raise SetupError(
                f"{name} logs in, but no further: {explain_second_login(c, error)}"
            ) from None
        except WrongSudoPassword:
            raise SetupError(
                f"sudo refuses the password of {login.user}: set LABFAB_SUDO_PASSWORD"
            ) from None


@contextlib.contextmanager
def logged_in(c: Connection, login: Login) -> Iterator[tuple[Connection, str]]:
    """Log in once more and yield the connection and its name. Raises SetupError if that fails."""
    name = login_in_words(login.user, c.host, login.port)
    with console.working(Host.of(c).label, f"prove the login {name}"):
        try:
            new = connection.log_in_again(c, *login)
        except CONNECTION_ERRORS as error:
            why = explain_second_login(c, error, last_rule(c, error))
            raise SetupError(f"the login {name} does not work: {why}") from None
        try:
            yield new, name
        finally:
            new.close()


def last_rule(c: Connection, error: Exception) -> str:
    """Return the rule of the host's own firewall that may have refused a connection."""
    if not isinstance(error, OSError):
        return ""
    try:
        have = facts(c).firewall
    except RUN_ERRORS:
        return ""  # the first connection is lost as well
    return have.own.refusal(have.login_from)


def open_forward(transport: paramiko.Transport, port: int) -> None:
    """Prove that sshd allows forwards. It does not matter whether anything listens there."""
    try:
        transport.open_channel(
            "direct-tcpip", ("127.0.0.1", port), ("127.0.0.1", 0), timeout=10
        ).close()
    except paramiko.ChannelException as error:
        if error.code != connection.CONNECT_FAILED:
            raise


def sudo_password(c: Connection, user: str) -> str | None:
    """Return the sudo password of this account; None if it is not known."""
    host = Host.of(c)
    if user in host.sudo_passwords:
        return host.sudo_passwords[user]
    given = secrets.take_from_environment("sudo-password")
    known = given or host.stored_sudo_password(Settings.of(c), user)
    return known.reveal() if known else None
