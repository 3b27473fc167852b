"""History: what was done to a host, for setup.journal to show and setup.undo to undo."""

from __future__ import annotations

import time
from collections.abc import Sequence

from fabric import Connection

from .. import console
from ..errors import SetupError
from ..host import journal
from ..host.alias import alias_of
from ..host.journal import Entry
from ..host.session import Host
from ..run import guard
from ..run.task import acquire_run_lock
from ..settings import Settings
from ..text import counted, json_text, one_line
from . import consent
from .summary import ssh_command
from .undoing import CLEAN, Undo, chosen, forget_host, made_accounts, open_by_any_login


def read(host: Host) -> list[Entry]:
    """Return the journal of a host, in the order of its stages."""
    return journal.parse(host.open().run(journal.READ).out)


def show(c: Connection, as_json: bool) -> None:
    """Print the journal, as a table or as JSON."""
    host = Host.of(c)
    with console.on_stderr(as_json):
        entries = read(host)
    if as_json:
        document = {"host": host.label, "changes": [row(entry) for entry in entries]}
        console.say(json_text(document))
        return
    for entry in entries:
        said = f"{clock(entry.time)}  {entry.stage:<9} {entry.state:<7} {entry.why}"
        console.say(one_line(said))
    if not entries:
        console.say(f"[{host.label}] the journal is empty")


def row(entry: Entry) -> dict[str, object]:
    """Return an entry as JSON, as docs/undo.md describes it."""
    return {
        "number": entry.number,
        "time": entry.time,
        "stage": entry.stage,
        "why": entry.why,
        "state": entry.state,
        "path": entry.path or None,
        "undo": entry.undo[0] if entry.undo else None,
    }


def clock(seconds: int) -> str:
    """Return a time in the laptop's time zone."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    except (OverflowError, ValueError, OSError):
        return "no time"


def undo(c: Connection, to: str, force: bool, yes: bool) -> None:
    """Undo everything, or a stage and everything after it.

    to: the stage; empty for everything. force: also undo what has been changed by hand since.
    yes: do not ask. Raises SetupError if something stays.
    """
    open_by_any_login(c)
    host = Host.of(c)
    alias, label = alias_of(c, Settings.of(c)), host.label
    if not host.planning:
        acquire_run_lock(host)
        guard.recover_interrupted(c)
    entries = read(host)
    wanted = chosen(entries, to)
    if host.planning:
        return preview(label, wanted)
    work = Undo(c, wanted, force)
    if wanted and not yes:
        consent.require(c, wanted, made_accounts(wanted), command(label, to, force))
    work.undo_all()
    report_stays(work)
    finish(work, entries, to, alias)


def command(label: str, to: str, force: bool) -> str:
    """Return the command line of an undo that does not ask."""
    flags = [*(["--to", to] if to else []), *(["--force"] if force else []), "--yes"]
    return " ".join(["fab -H", label, "setup.undo", *flags])


def report_stays(work: Undo) -> None:
    """Name what stays, and why. Raises SetupError if something does."""
    for reason in work.stays:
        console.warn(f"[{work.label}] stays: {reason}")
    if work.stays:
        done, left = change_count(work.count), len(work.stays)
        raise SetupError(
            f"{done} undone, {left} stay, see above: fix that, then run setup.undo again",
            host=work.label,
        )


def finish(work: Undo, entries: Sequence[Entry], to: str, alias: str) -> None:
    """Report the result. Forget the host if nothing of labfab's is left there."""
    if not to:
        work.run(CLEAN)
        forget_host(work.c, alias)
    result = f"{change_count(work.count)} undone" if work.count else "nothing to undo"
    console.say(f"[{work.label}] {result}")
    lasting = [entry.why for entry in entries if entry.lasting]
    if lasting and not to:
        console.note(f"not undone: {'; '.join(lasting)}")
    if work.count and not to:
        console.say(
            f"[{work.label}] log in as before: {ssh_command(work.c, Host.of(work.c).login)}"
        )


def change_count(count: int) -> str:
    """Return how many changes, in words."""
    return counted(count, "change") if count else "nothing"


def preview(label: str, wanted: Sequence[Entry]) -> None:
    """Show what would be undone."""
    for entry in reversed(wanted):
        console.planned(label, f"undo: {entry.why}")
    if wanted:
        console.say(f"[{label}] {counted(len(wanted), 'change')} to undo")
    else:
        console.say(f"[{label}] nothing to undo")
