"""Plan: what setup.full would do, found out by the same code with writes shown instead of done."""

from __future__ import annotations

import json
from collections.abc import Callable

from fabric import Connection
from invoke import Exit

from .. import console
from ..host.session import Change, Host
from ..platforms.debian import FETCH, LATER

PENDING = 2  # exit code


def plan(c: Connection, recipe: Callable[[Connection], None], as_json: bool) -> None:
    """Show the changes that a recipe would make. Raises Exit with 2 when there are any."""
    before, c.config.run.dry = c.config.run.dry, True
    try:
        with console.aside(as_json):
            host = Host.of(c)
            host.open()
            first = len(host.changes)
            recipe(c)
    finally:
        c.config.run.dry = before
    changes = host.discard_changes(first)
    host.forget()  # they tell of a host as it would be
    if as_json:
        console.say(json.dumps(document(host, changes), indent=2, ensure_ascii=False))
    else:
        many = f"{len(changes)} change{'s' * (len(changes) > 1)} to make: setup.full"
        console.say(f"[{host.label}] {many if changes else 'nothing to change'}")
    if changes:
        raise Exit(code=PENDING)


def document(host: Host, changes: list[Change]) -> dict[str, object]:
    """The plan as JSON, as docs/undo.md describes it."""
    stages: dict[str, list[dict[str, str | None]]] = {}
    for change in changes:
        stages.setdefault(change.stage, []).append(
            {"why": change.why, "path": change.path or None, "diff": change.diff or None}
        )
    return {
        "host": host.label,
        "changes": len(changes),
        "stages": [{"stage": stage, "changes": made} for stage, made in stages.items()],
        "notes": [f"{FETCH}: {LATER}"] if any(change.why == FETCH for change in changes) else [],
    }
