"""Undoing: undoes the changes that the journal lists, newest first.

Constraints:
- The original login must be proven to work before anything is removed. So access comes first, in a
  guarded window, and the rest runs over the login that was proven.
- Each change is marked as undone in the same step, so an interrupted undo continues where it
  stopped.
- undo.sh undoes the single changes. What somebody has changed by hand since then stays.
"""

from __future__ import annotations

import pkgutil
import shlex
from collections.abc import Callable, Sequence

from fabric import Connection

from .. import console, stages
from ..certificates import trust, vault
from ..errors import SetupError
from ..facts import facts
from ..facts.reader import APACHE
from ..host import connection, dial_limit, journal
from ..host.alias import alias_of
from ..host.changes import LONG_SILENCE, as_user, fill
from ..host.journal import Entry
from ..host.session import Host, Login
from ..host.shell import Result
from ..laptop import kept_tunnel, shortcuts, tunnel
from ..local_state import secrets, ssh_config
from ..local_state.aliases import find_alias, note_of_lab_user, ssh_config_path
from ..on_host import loader
from ..platforms import platform
from ..run import guard, recipe
from ..run.guard import guarded
from ..run.task import acquire_run_lock
from ..server import process
from ..settings import Settings
from . import former_login

# A tunnel changes nothing on the host.
STAGES = sorted({module.name for module in pkgutil.iter_modules(stages.__path__)} - {"tunnel"})
# The rest of these stages is undone over the original login.
LAST = ("keys", "user")
FIREWALL = ("firewall", "firewall_off")  # commands of undo.sh
CLEAN = f"rm -rf {journal.FOLDER} /var/cache/labfab && clear_places"
# undo.sh begins its messages with these.
STAYS, NOTE = "labfab-stays: ", "labfab-note: "


class Undo:
    """One undo: its present login, and why some changes stay."""

    def __init__(self, c: Connection, entries: Sequence[Entry], force: bool) -> None:
        """Prepare an undo.

        entries: the changes to undo, oldest first. force: also undo what was changed by hand.
        """
        self.c, self.entries, self.force = c, entries, force
        self.block = find_alias(c)
        self.label = Host.of(c).label
        self.count = 0
        self.stays: list[str] = []

    def undo_all(self) -> None:
        """Undo everything.

        Access comes first: the original login is restored and proven. Over it, the rest is undone,
        and at last the account that labfab made. Raises SetupError if the login is not proven;
        nothing is undone then.
        """
        sshd_job = platform(self.c).SSH_JOB
        # The guard restores files but no folders, so ~/.ssh is removed after the proof.
        last = [entry for entry in self.entries if is_last(entry, sshd_job)]
        access = [entry for entry in self.entries if restored_by_guard(entry) and entry not in last]
        self.restore_access(access, last, sshd_job)
        self.stop_lab(Settings.of(self.c))
        for entry in reversed(self.entries):
            if entry not in last and entry not in access:
                self.undo(entry)
        for entry in reversed(last):
            self.undo(entry)

    def restore_access(self, access: Sequence[Entry], last: Sequence[Entry], sshd_job: str) -> None:
        """Undo the changes to access, once it is sure which login they leave. Raises SetupError."""
        made = made_accounts(last)
        logins = [entry for entry in access if not changes_firewall(entry)]
        if logins or self.c.user in made or any(carries_login(entry, sshd_job) for entry in last):
            return self.restore_login(access, made)
        # The firewall alone leaves the present login as it is, and must let it in afterwards.
        if access:
            self.undo_guarded(access, "undo the firewall's rules", Host.of(self.c).login)

    def undo(self, entry: Entry, marked: bool = True) -> bool:
        """Undo one change. Returns False if it stays.

        marked: whether to mark it as undone in the journal, in the same step.
        """
        if entry.undo == [journal.SSHD_READS]:
            return not marked or self.run(journal.mark_undone([entry.number])).ok
        mark = journal.mark_undone([entry.number]) if marked else ":"
        with console.working(self.label, f"undo: {entry.why}") as tell:
            done = self.run(f"{self.script(entry)} && {mark}", tell)
        reasons = messages_with(done, STAYS)
        if not reasons and not done.ok:
            reasons = [f"could not undo: {entry.why}: {done.last_words}"]
        notes = messages_with(done, NOTE)
        if reasons:
            for note in notes:
                console.note(note)
            self.stays += reasons
            return False
        self.count += 1
        console.changed(self.label, "; ".join([f"undone: {entry.why}", *notes]), 0)
        return True

    def script(self, entry: Entry) -> str:
        """Return the shell text that undoes a change."""
        commands = loader.script("undo", Host.of(self.c).open().kernel)
        if entry.stage == "proxy":
            commands += APACHE
        kept, force = f"{journal.FOLDER}/before/{entry.number}", "yes" if self.force else ""
        return f"KEPT={kept} FORCE={force}\n{commands}\n{way_back(entry)}"

    def run(self, script: str, tell: Callable[[str], None] | None = None) -> Result:
        """Run a script on the host. tell: called with each line of its output."""
        host = Host.of(self.c)
        host.forget()
        return host.open().run(script, on_line=tell, timeout=LONG_SILENCE)

    def stop_lab(self, want: Settings) -> None:
        """Close the tunnel and stop JupyterLab before its files are removed."""
        if not any(entry.stage == "lab" for entry in self.entries):
            return
        tunnel.close(alias_of(self.c, want))
        running = facts(self.c).lab
        if running.pid and running.owner == want.jupyter_user:
            self.run(as_user(fill(process.STOP, running.pid, running.pid), running.owner))

    def restore_login(self, access: Sequence[Entry], made: Sequence[str]) -> None:
        """Undo the changes to access, prove the original login and continue over it.

        access: the changes to undo. made: accounts that labfab created. Raises SetupError if the
        proof fails; the host has then reverted everything.
        """
        login = original_login(self.c, self.block, made)
        if login is None:
            raise SetupError(
                f"nothing was undone: no login but {self.c.user} is known for this host, "
                "and that account would be removed: log in as another one (-H root@ADDRESS)",
                host=self.label,
            )
        former_login.prepare(self.c, login, self.entries)
        why = f"restore the login {login.user}@{self.c.host}:{login.port}"
        self.undo_guarded(access, why, login, f"; {former_login.HINT}")
        self.continue_as(login)

    def undo_guarded(self, access: Sequence[Entry], why: str, login: Login, hint: str = "") -> None:
        """Undo changes in a guarded window that proves a login. Raises SetupError.

        hint: the end of its text.
        """
        count = self.count
        try:
            with guarded(self.c, why, login, always=True):
                Host.of(self.c).mark_write()
                undone = [e.number for e in reversed(access) if self.undo(e, marked=False)]
                self.reload_sshd()
        except SetupError as error:
            self.count = count
            because = "".join(f"; {reason}" for reason in self.stays)
            raise SetupError(
                f"nothing was undone: {error.text}{because}{hint}", host=self.label
            ) from None
        if undone:
            self.run(journal.mark_undone(undone))

    def reload_sshd(self) -> None:
        """Reload sshd. Raises SetupError if it refuses its configuration."""
        done = self.run(platform(self.c).run_sshd(self.c))
        if not done.ok:
            raise SetupError(f"sshd did not come up as configured: {done.last_words}")

    def continue_as(self, login: Login) -> None:
        """Continue over a proven login. Change the alias too, in case this run is interrupted."""
        if self.block:
            # Without your key, lab_user's login no longer works.
            keyless = any(entry.stage in LAST for entry in self.entries)
            block = self.block._replace(lab_user="") if keyless else self.block
            write_block(self.c, block, login.user, login.port)
        if (login.user, login.port) == (self.c.user, self.c.port):
            return
        old, new = Host.of(self.c), connection.log_in_again(self.c, *login)
        host = Host(new, self.label)
        # The session that is filed under this login is the old one, so attach the new one.
        host.attach(new)
        host.use(host.with_password(guard.sudo_password(self.c, login.user)))
        old.close()
        self.c = new
        # The lock is free once the host has seen the old connection end.
        acquire_run_lock(host)


def messages_with(done: Result, mark: str) -> list[str]:
    """Return the messages of undo.sh that begin with a mark."""
    return [line.removeprefix(mark) for line in done.out.splitlines() if line.startswith(mark)]


def restored_by_guard(entry: Entry) -> bool:
    """Return whether a change decides who can log in through files that a guard restores."""
    if entry.stage == "ssh" or changes_firewall(entry):
        return True
    return entry.stage == "keys" and bool(entry.path)


def changes_firewall(entry: Entry) -> bool:
    """Return whether a change is to the firewall's rules, whatever stage made it.

    Its package is none of them: that would not come back with a revert.
    """
    return any(text.partition(" ")[0] in FIREWALL for text in entry.undo)


def is_last(entry: Entry, sshd_job: str) -> bool:
    """Return whether a change must be undone over the original login."""
    return carries_login(entry, sshd_job) or (entry.stage in LAST and not restored_by_guard(entry))


def carries_login(entry: Entry, name: str) -> bool:
    """Return whether a change serves the login that the undo itself may use.

    name: the platform's job for sshd; empty if it has none.
    """
    return bool(name) and any(name in text for text in (entry.path, *entry.undo))


def way_back(entry: Entry) -> str:
    """Return the commands of undo.sh that undo an entry."""
    if entry.path:
        return " ".join([fill("file %s %s", entry.path, entry.sha256), *entry.undo])
    return " && ".join(entry.undo)


def made_accounts(entries: Sequence[Entry]) -> list[str]:
    """Return the accounts that these changes created."""
    words = [shlex.split(text) for entry in entries for text in entry.undo]
    return [word[1] for word in words if word[0] == "account"]


def original_login(
    c: Connection, block: ssh_config.Alias | None, made: Sequence[str]
) -> Login | None:
    """Return the oldest login of this host whose account labfab did not create."""
    logins = [*former_logins(block), (c.user, c.port)]
    return next((Login(user, port, None) for user, port in logins if user not in made), None)


def former_logins(block: ssh_config.Alias | None) -> list[tuple[str, int]]:
    """Return user and port of an alias's earlier logins, oldest first."""
    return [parsed(text) for text in block.former_logins.split()] if block else []


def parsed(login: str) -> tuple[str, int]:
    """Return user and port of root@203.0.113.5:22."""
    user, _, rest = login.rpartition("@")
    return user, int(rest.rpartition(":")[2])


def write_block(c: Connection, block: ssh_config.Alias, user: str, port: int) -> None:
    """Point the alias at this login."""
    ssh_config.write(ssh_config_path(c), block._replace(user=user, port=port, former_logins=""))


def open_by_any_login(c: Connection) -> None:
    """Open the connection, if necessary by an earlier login of the alias.

    An interrupted undo may have restored the login on the host but not the alias.
    Raises SetupError if no login works.
    """
    host = Host.of(c)
    try:
        host.open()
        return
    except SetupError as error:
        problem = error
    block = find_alias(c)
    for user, port in former_logins(block):
        try:
            host.log_in_as(user, port)
        except SetupError:
            continue
        if block:
            write_block(c, block, user, port)
        return
    raise problem


def chosen(entries: Sequence[Entry], to: str) -> list[Entry]:
    """Return the changes that can be undone: all, or a stage and everything after it.

    to: the stage; empty for all. Raises SetupError for an unknown stage.
    """
    if to and to not in STAGES:
        raise SetupError(f"--to {to}: there is no such stage: one of {', '.join(STAGES)}")
    pending = [entry for entry in entries if entry.state == "done"]
    if not to:
        return pending
    places = [place for place, entry in enumerate(pending) if entry.stage == to]
    return pending[places[0] :] if places else []


def forget_host(c: Connection, alias: str) -> None:
    """Remove from the laptop everything that belongs to this host.

    That is its tunnel, shortcuts, alias, recipe and secrets, and its CA in the browsers' stores.
    """
    tunnel.close(alias)
    kept_tunnel.forget(alias)
    for path in shortcuts.remove(alias):
        console.changed(alias, f"remove {path}", 0)
    try:
        for where in trust.remove(alias):
            console.changed(alias, f"remove this lab's CA from {where}", 0)
    except SetupError as error:
        console.warn(f"{error}; by hand: fab -H {alias} https.untrust")
    else:
        vault.forget(alias)
    if ssh_config.remove(ssh_config_path(c), alias):
        console.changed(alias, f"remove the alias {alias} from {ssh_config_path(c)}", 0)
    recipe.forget(alias)
    note_of_lab_user(alias).unlink(missing_ok=True)
    dial_limit.note(alias).unlink(missing_ok=True)
    secrets.forget(alias)
