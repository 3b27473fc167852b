"""Undo: take back what the journal tells of, newest first.

Constraints:
- The way of before has to be open and proven before the account that we came in by is taken away, so the last part
  runs over another login than the first.
- Each change is marked as undone in the moment it is, so an undo that was cut off goes on where it stopped.
- How a single change is taken back is in undo.sh; what somebody changed by hand since, stays.
"""

from __future__ import annotations

import pkgutil
import shlex
from collections.abc import Sequence

from fabric import Connection

from .. import console, stages
from ..certificates import trust, vault
from ..errors import SetupError
from ..facts import facts
from ..facts.reader import APACHE
from ..host import connection, journal
from ..host.alias import alias_of
from ..host.changes import LONG, fill
from ..host.journal import Entry
from ..host.session import Host, Login
from ..laptop import keeper, shortcuts, tunnel
from ..local_state import secrets, ssh_config
from ..local_state.aliases import block_of, config_path
from ..on_host import loader
from ..platforms import platform
from ..run import guard, recipe
from ..run.guard import guarded
from ..run.task import acquire_run_lock
from ..server import process
from ..settings import Settings

# A tunnel changes nothing on the host.
STAGES = sorted({module.name for module in pkgutil.iter_modules(stages.__path__)} - {"tunnel"})
LAST = ("keys", "user")  # what is left of these goes over the original login
CLEAN = f"rm -rf {journal.FOLDER} /var/cache/labfab && clear_places"


class Undo:
    """One walk through the journal: over which login it goes now, and what could not be taken back."""

    def __init__(self, c: Connection, entries: Sequence[Entry], force: bool) -> None:
        self.c, self.entries, self.force = c, entries, force
        self.block = block_of(c)
        self.label = Host.of(c).label
        self.count = 0
        self.stays: list[str] = []

    def walk(self) -> None:
        """Take everything back: first what gives no access, then what does, over the original login the account and its door."""
        self.stop_lab()
        # The guard brings files back but no folder, so ~/.ssh goes after the proof.
        door = [entry for entry in self.entries if is_door(entry, platform(self.c).DOOR)]
        access = [
            entry
            for entry in self.entries
            if entry.stage == "ssh" or (entry.stage == "keys" and entry.path)
        ]
        access = [entry for entry in access if entry not in door]
        last = [
            entry
            for entry in self.entries
            if entry in door or (entry.stage in LAST and entry not in access)
        ]
        for entry in reversed(self.entries):
            if entry not in last and entry not in access:
                self.take_back(entry)
        made = made_accounts(last)
        if (access or door or self.c.user in made) and not self.restore_login(access, made):
            return
        for entry in reversed(last):
            self.take_back(entry)

    def take_back(self, entry: Entry, marked: bool = True) -> bool:
        """Take one change back; False where it stays. marked: note that in the journal at once."""
        if entry.undo == [journal.SSHD_READS]:
            return not marked or self.run(journal.mark([entry.number])).ok
        commands = loader.script("undo", Host.of(self.c).open().kernel) + APACHE * (
            entry.stage == "proxy"
        )
        script = f"KEPT={journal.FOLDER}/before/{entry.number} FORCE={'yes' * self.force}\n{commands}\n{way_back(entry)}"
        with console.working(self.label, f"take back: {entry.why}") as tell:
            done = self.run(f"{script} && {journal.mark([entry.number]) if marked else ':'}", tell)
        reasons = [
            line.partition(" ")[2]
            for line in done.out.splitlines()
            if line.startswith("labfab-stays: ")
        ]
        if not reasons and not done.ok:
            reasons = [f"could not take back: {entry.why}: {done.last_words}"]
        for line in done.out.splitlines():
            if line.startswith("labfab-note: "):
                console.note(line.partition(" ")[2])
        self.stays += reasons
        if not reasons:
            self.count += 1
            console.changed(self.label, f"took back: {entry.why}", 0)
        return not reasons

    def run(self, script: str, tell=None):
        host = Host.of(self.c)
        host.forget()
        return host.open().run(script, on_line=tell, timeout=LONG)

    def stop_lab(self) -> None:
        """Close the tunnel and end JupyterLab with its kernels, before the ground goes from under them."""
        if not any(entry.stage == "lab" for entry in self.entries):
            return
        tunnel.close(alias_of(self.c, Settings.of(self.c)))
        have = facts(self.c).lab
        if have.pid and have.owner == Settings.of(self.c).jupyter_user:
            self.run(fill(process.STOP, have.pid, have.pid))

    def restore_login(self, access: Sequence[Entry], made: Sequence[str]) -> bool:
        """Take back what decides who gets in, prove the login of before and go on over it; False where that fails."""
        login, count = original(self.c, self.block, made), self.count
        try:
            if login is None:
                raise SetupError(f"no login but {self.c.user} is known for this host")
            with guarded(
                self.c,
                f"restore the login {login.user}@{self.c.host}:{login.port}",
                login,
                always=True,
            ):
                Host.of(self.c).window.arm()
                taken = [
                    entry.number
                    for entry in reversed(access)
                    if self.take_back(entry, marked=False)
                ]
                self.sshd_reads()
        except SetupError as error:
            self.count = count
            names = ", ".join(
                dict.fromkeys(
                    entry.stage for entry in reversed(self.entries) if entry.stage in ("ssh", *LAST)
                )
            )
            words = str(error).removeprefix(f"{self.label}: ")
            self.stays.append(
                f"{names}: {words}; if that login has a password, set LABFAB_LOGIN_PASSWORD"
            )
            return False
        if taken:
            self.run(journal.mark(taken))
        self.go_over(login)
        return True

    def sshd_reads(self) -> None:
        done = self.run(platform(self.c).run_sshd(self.c))
        if not done.ok:
            raise SetupError(f"sshd does not take its files: {done.last_words}")

    def go_over(self, login: Login) -> None:
        """Continue over a login that was proven, and let the alias lead there, should this run be cut off."""
        if self.block:
            remember(self.c, self.block, login.user, login.port)
        if (login.user, login.port) == (self.c.user, self.c.port):
            return
        old, new = Host.of(self.c), connection.fresh(self.c, *login)
        host = Host(new, self.label)
        host.attach(new)  # not the session of this login's name, which is the one we leave
        host.use(host.with_password(guard.sudo_password(self.c, login.user)))
        old.close()
        self.c = new
        acquire_run_lock(host)  # the lock is free when the host has seen the old connection end


def is_door(entry: Entry, name: str) -> bool:
    """Whether this change lets in the login that the undo itself may have come by. name: what it is called; empty: nothing is."""
    return bool(name) and any(name in text for text in (entry.path, *entry.undo))


def way_back(entry: Entry) -> str:
    """The shell text that takes an entry back."""
    if entry.path:
        return " ".join([fill("file %s %s", entry.path, entry.sha256), *entry.undo])
    return " && ".join(entry.undo)


def made_accounts(entries: Sequence[Entry]) -> list[str]:
    """The accounts that these changes have made."""
    words = [shlex.split(text) for entry in entries for text in entry.undo]
    return [word[1] for word in words if word[0] == "account"]


def original(c: Connection, block: ssh_config.Alias | None, made: Sequence[str]) -> Login | None:
    """The first login that this host had: not that of an account which labfab made."""
    logins = [parsed(text) for text in (block.was.split() if block else [])] + [(c.user, c.port)]
    return next((Login(user, port, None) for user, port in logins if user not in made), None)


def parsed(login: str) -> tuple[str, int]:
    """User and port of root@203.0.113.5:22."""
    user, _, rest = login.rpartition("@")
    return user, int(rest.rpartition(":")[2])


def remember(c: Connection, block: ssh_config.Alias, user: str, port: int) -> None:
    ssh_config.write(config_path(c), block._replace(user=user, port=port, was=""))


def reach(c: Connection) -> None:
    """Open the connection; where an undo was cut off between the host and the alias, by a login of before."""
    host = Host.of(c)
    try:
        host.open()
        return
    except SetupError as error:
        problem = error
    block = block_of(c)
    for login in block.was.split() if block else []:
        try:
            host.log_in_as(*parsed(login))
        except SetupError:
            continue
        return remember(c, block, c.user, c.port)
    raise problem


def chosen(entries: Sequence[Entry], to: str) -> list[Entry]:
    """What is to be taken back: all that can be, or what came since a stage, with that stage. Raises SetupError."""
    if to and to not in STAGES:
        raise SetupError(f"--to {to}: there is no such stage: one of {', '.join(STAGES)}")
    pending = [entry for entry in entries if entry.state == "done"]
    first = (
        next((place for place, entry in enumerate(pending) if entry.stage == to), len(pending))
        if to
        else 0
    )
    return pending[first:]


def forget(c: Connection, alias: str) -> None:
    """Take from the laptop what belonged to this host: its tunnel and shortcuts, its alias, its CA and who trusts it, its secrets."""
    tunnel.close(alias)
    keeper.forget(alias)
    for path in shortcuts.remove(alias):
        console.changed(alias, f"remove {path}", 0)
    try:
        for where in trust.remove(alias):
            console.changed(alias, f"let {where} trust this lab no more", 0)
    except SetupError as error:
        console.warn(f"{error}; by hand: fab -H {alias} https.untrust")
    else:
        vault.forget(alias)
    if ssh_config.remove(config_path(c), alias):
        console.changed(alias, f"took the alias {alias} out of {config_path(c)}", 0)
    recipe.forget(alias)
    secrets.forget(alias)
