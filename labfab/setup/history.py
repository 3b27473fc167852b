"""History: what was done to a host, shown and taken back: the tasks setup.journal and setup.undo."""

from __future__ import annotations

import json
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
from .undo import CLEAN, Undo, chosen, forget, reach


def read(c: Connection) -> list[Entry]:
    """The journal of a host, in the order of the work."""
    return journal.parse(Host.of(c).open().run(journal.READ).out)


def show(c: Connection, as_json: bool) -> None:
    """Print the journal, as a table or as JSON."""
    with console.aside(as_json):
        entries = read(c)
    if as_json:
        console.say(
            json.dumps(
                {"host": Host.of(c).label, "changes": [row(entry) for entry in entries]},
                indent=2,
                ensure_ascii=False,
            )
        )
        return
    for entry in entries:
        console.say(f"{clock(entry.time)}  {entry.stage:<9} {entry.state:<7} {entry.why}")
    if not entries:
        console.say(f"[{Host.of(c).label}] the journal is empty")


def row(entry: Entry) -> dict[str, object]:
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
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def undo(c: Connection, to: str, force: bool) -> None:
    """Take back everything, or what was done since a stage. Raises SetupError when something stays."""
    reach(c)
    host = Host.of(c)
    alias, label = alias_of(c, Settings.of(c)), host.label
    if not host.planning:
        acquire_run_lock(host)
        guard.settle(c)
    entries = read(c)
    wanted = chosen(entries, to)
    if host.planning:
        return foretell(label, wanted)
    walk = Undo(c, wanted, force)
    walk.walk()
    for reason in walk.stays:
        console.warn(f"[{label}] stays: {reason}")
    if walk.stays:
        raise SetupError(
            f"{label}: {walk.count} changes taken back, {len(walk.stays)} stay, named above: mend that, then setup.undo again"
        )
    finish(walk, entries, to, alias)


def finish(walk: Undo, entries: Sequence[Entry], to: str, alias: str) -> None:
    """Forget the host where nothing of labfab is left there, and say how it ended."""
    if not to:
        walk.run(CLEAN)
        forget(walk.c, alias)
    done = (
        f"{walk.count} change{'s' * (walk.count != 1)} taken back"
        if walk.count
        else "nothing to undo"
    )
    console.say(f"[{walk.label}] {done}")
    upgraded = [
        entry.why
        for entry in entries
        if entry.stage == "system" and entry.why.startswith("upgrade")
    ]
    if upgraded and not to:
        console.note(f"what stays: {'; '.join(upgraded)}")


def foretell(label: str, wanted: Sequence[Entry]) -> None:
    """Show what would be taken back."""
    for entry in reversed(wanted):
        console.planned(label, f"take back: {entry.why}")
    console.say(
        f"[{label}] {len(wanted)} changes to take back" if wanted else f"[{label}] nothing to undo"
    )
