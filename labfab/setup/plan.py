"""Plan: shows what setup.full would do, by running the same code without its writes."""

from __future__ import annotations

from collections.abc import Callable

from fabric import Connection
from invoke.exceptions import Exit

from .. import console
from ..host.session import Change, Host
from ..stages.system import surveying
from ..text import counted, json_text

PENDING = 2  # exit code: there is something to do


def plan(c: Connection, setup: Callable[[Connection], None], as_json: bool) -> None:
    """Show the changes that a setup would make. Raises Exit with code 2 if there are any."""
    run = c.config.run
    before, run["dry"] = run.dry, True
    try:
        with console.on_stderr(as_json):
            host = Host.of(c)
            host.open()
            first = len(host.changes)
            seen = surveying.rows(c) if surveying.is_new(c) else []
            if seen and not as_json:
                surveying.show(host.label, seen)
            setup(c)
    finally:
        run["dry"] = before
    changes = host.discard_changes(first)
    # The facts describe the host as it would be after the changes.
    host.forget()
    if as_json:
        planned = document(host.label, changes, host.endings)
        if seen:
            planned["survey"] = surveying.document(host.label, seen)["areas"]
        console.say(json_text(planned))
    elif changes:
        many = counted(len(changes), "change")
        console.say(f"[{host.label}] {many} to make: setup.full")
    else:
        console.say(f"[{host.label}] nothing to change")
    if changes:
        raise Exit(code=PENDING)


def document(label: str, changes: list[Change], endings: list[str]) -> dict[str, object]:
    """Return the plan as JSON, as docs/undo.md describes it."""
    stages: dict[str, list[dict[str, str | None]]] = {}
    for change in changes:
        stages.setdefault(change.stage, []).append(
            {"why": change.why, "path": change.path or None, "diff": change.diff or None}
        )
    return {
        "host": label,
        "changes": len(changes),
        "ends": endings,
        "stages": [{"stage": stage, "changes": made} for stage, made in stages.items()],
        "notes": [f"{change.why}: {change.caveat}" for change in changes if change.caveat],
    }
