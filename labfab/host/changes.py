"""Changes: what a run reads and writes on a host.

ask() reads; change() and put() write. Each write is shown with its reason and journaled with a
way to undo it. Plan mode shows it instead of doing it. Stages pass shell text as constants with %s:
values are quoted here and nowhere else.
"""

from __future__ import annotations

import hashlib
import shlex
import time
from collections.abc import Callable, Mapping, Sequence

from fabric import Connection

from .. import console
from ..errors import SetupError
from ..local_state import files, ssh_config
from ..local_state.aliases import (
    find_alias,
    needed_options,
    note_of_lab_user,
    proxy_command,
    proxy_jump,
    ssh_config_path,
)
from ..on_host import loader
from ..settings import Settings
from . import journal
from .alias import alias_of
from .remote_file import File
from .session import Host
from .shell import ConnectionLost, Result

LONG_SILENCE = 1800  # seconds without output that are allowed to a download or an installer
SILENCE = 120  # seconds without output that are allowed to anything else
AS_USER = (
    "(HOME=~%s; USER=%s; LOGNAME=%s; export HOME USER LOGNAME; cd ~%s || cd /; run_script_as %s %s)"
)


def fill(command: str, *args: object) -> str:
    """Return shell text with its values quoted, one for each %s."""
    return command % tuple(shlex.quote(str(arg)) for arg in args)


def as_user(command: str, user: str | None) -> str:
    """Return shell text that runs as another account, in that account's home."""
    return fill(AS_USER, user, user, user, user, user, command) if user else command


def ask(c: Connection, command: str, *args: object, user: str | None = None) -> Result:
    """Read something from the host, in plan mode too.

    command: shell text with %s for each of args. user: the account to read as, else root.
    Exit code 0 means yes and 1 means no. Raises SetupError for any other exit code.
    """
    host = Host.of(c)
    result = host.read(as_user(fill(command, *args), user))
    if result.code not in (0, 1):
        raise SetupError(
            f"a query on the host failed ({command.split()[0]}): {result.last_words}",
            host=host.label,
        )
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
    caveat: str = "",
    permanent: bool = False,
) -> Result | None:
    """Change something on the host.

    command: shell text with %s for each of args. why: the line that the user sees.
    undo: the command of undo.sh that undoes the change, and its values; empty: it cannot be undone.
    keep: files and folders to copy first, because the undo needs them as they were.
    user: the account to run as, else root. stdin: secret input, never shown.
    long: allow long silences, as for a download.
    then: the facts that become true, for later stages in plan mode; None for a fact that is gone.
    explain: condenses the output of a failed command into one line.
    caveat: what the plan cannot say about this change, shown there.
    permanent: setup.undo of everything says at its end that this was not undone.
    Raises SetupError if the command fails. Returns None in plan mode.
    """
    text = as_user(fill(command, *args), user)
    if stdin:
        text = f"printf %s {shlex.quote(stdin)} | {{ {text}\n}}"
    line = journal.entry(Host.of(c).stage, why, undo_command(undo), keep=keep, permanent=permanent)
    if Host.of(c).planning:
        plan(c, why, then, caveat=caveat)
        return None
    return write(c, text, line, why, LONG_SILENCE if long else SILENCE, explain)


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
    """Write a whole file, if its content, mode or owner differs from *old*.

    mode: octal. owner: the account that the file belongs to and that writes it.
    check: shell text that must succeed before "$NEW" replaces the file.
    secret: do not show the content in plan mode.
    undo: what to do instead of restoring the file, if somebody has changed it since.
    then: as for change(). Returns None if nothing was written. Raises SetupError.
    """
    if old and (old.content, old.mode, old.owner) == (text, mode, owner):
        return None
    if old and old.cut:
        raise SetupError(
            f"only a part of {path} could be read, because it has more than 1 MB or because that "
            "took more than 10 s: the rest would be lost, so it is not written; "
            "make it shorter or move it away on the host, then run this again",
            host=Host.of(c).label,
        )
    if Host.of(c).planning:
        diff = "" if secret else difference(path, old.content if old else "", text)
        plan(c, why, then, path, diff)
        return None
    command = fill("sh -c %s", fill(loader.as_command("put", 3), path, mode, check))
    script = fill("printf %%s %s | ", text) + as_user(command, None if owner == "root" else owner)
    sha256 = hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
    line = journal.entry(Host.of(c).stage, why, undo_command(undo), path, sha256=sha256)
    return write(c, script, line, why)


def undo_command(undo: Sequence[str]) -> list[str]:
    """Return the command that undoes a change, as the journal stores it."""
    return [fill(undo[0], *undo[1:])] if undo else []


def difference(path: str, old: str, new: str) -> str:
    """Return the unified diff of two versions of a file."""
    from difflib import unified_diff

    return "".join(unified_diff(old.splitlines(True), new.splitlines(True), path, path, n=1))


def plan(
    c: Connection,
    why: str,
    then: Mapping[str, str | None] | None,
    path: str = "",
    diff: str = "",
    caveat: str = "",
) -> None:
    """Show a change instead of making it; later stages of this plan assume its effect."""
    host = Host.of(c)
    host.record(why, path, diff, caveat)
    console.planned(host.label, why, diff)
    if caveat:
        console.note(caveat)
    host.assume(then or {})


def write(
    c: Connection,
    script: str,
    line: dict[str, object],
    why: str,
    timeout: float = SILENCE,
    explain: Callable[[str], str] | None = None,
) -> Result:
    """Journal, make and show one change. Raises SetupError if it fails."""
    host = Host.of(c)
    line = line | {"run": host.run, "step": host.step}
    mark = host.mark_write()
    if mark:
        timeout = min(timeout, mark.patience)
        line["window"] = mark.id
    began = time.monotonic()
    with console.working(host.label, why) as tell:
        try:
            result = host.open().run(journal.command(line) + script, tell, timeout)
        except ConnectionLost as lost:
            if not host.run_lock.shell or may_have_begun(host, lost, line):
                raise
            result = host.open().run(journal.command(line) + script, tell, timeout)
    host.forget()
    if not result.ok:
        raise failed(host.label, why, result, explain)
    host.record(why, str(line.get("path", "")))
    console.changed(host.label, why, time.monotonic() - began)
    return result


def may_have_begun(host: Host, lost: ConnectionLost, line: Mapping[str, object]) -> bool:
    """Reconnect, and return whether the host's journal has a change whose answer was lost."""
    return host.resume(lost).run(journal.grep_command(line)).code != journal.UNKNOWN


def failed(
    label: str, why: str, result: Result, explain: Callable[[str], str] | None = None
) -> SetupError:
    """Return the error for a change that failed.

    label: of the host. why: of the change. explain: as for change().
    """
    words = result.last_words
    if "Read-only file system" in words:
        text = (
            f"a file system of the host is read-only, could not {why}: "
            "is the disk damaged? Look at dmesg there, then remount it"
        )
    elif result.code == journal.FULL or "No space left" in words or "Disk quota" in words:
        text = (
            f"no space left on the host, could not {why}: "
            "free some (df -h shows where) and run this again"
        )
    else:
        text = f"could not {why}: {explain(result.out + result.err) if explain else words}"
    return SetupError(text, host=label)


def note_lab_user(name: str, lab_user: str) -> None:
    """Note on the laptop that the lab of this alias has an account of its own."""
    place = note_of_lab_user(name)
    if not place.exists():
        files.make_private(place.parent)
        files.replace(place, f"{lab_user}\n".encode(), 0o600)


def write_alias(c: Connection, settings: Settings) -> None:
    """Write the proven login into ~/.ssh/config, under the alias.

    The alias leads to lab_user if its login was proven too.
    """
    host, path = Host.of(c), ssh_config_path(c)
    known, login = find_alias(c), host.login
    moved = (login.user, login.port) != (c.user, c.port)
    block = ssh_config.Alias(
        name=alias_of(c, settings),
        hostname=c.host,
        user=login.user,
        port=login.port,
        # A stage that runs by itself does not prove a key.
        identity=str(login.identity or (known.identity if known else "")),
        former_logins=f"{c.user}@{c.host}:{c.port}" if moved else "",
        proxy_jump=proxy_jump(c),
        lab_user=host.proven_lab_user or (known.lab_user if known else ""),
        proxy_command=proxy_command(c),
        # A former login may be another name, for which the ssh_config says nothing.
        options=needed_options(c) or (known.options if known else ()),
    )
    if host.planning:
        return
    if settings.lab_user:
        note_lab_user(block.name, settings.lab_user)
    if ssh_config.write(path, block):
        why = f"remember the host as {block.name}"
        if known and block.lab_user and not known.lab_user:
            why = f"let {block.name} lead to {block.lab_user}, {block.admin_name} to {block.user}"
        host.record(why)
        console.changed(host.label, f"{why} in {path}", 0)
