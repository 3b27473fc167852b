"""Table: the rows of a check, for eyes and for programs."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from .. import console
from .rows import OK, STATES, UNCHECKED, Row

SCHEMA = 1
COLOURS = {"ok": "green", "warn": "yellow", "fail": "bold red", "not checked": "dim"}


def show(host: str, rows: list[Row]) -> None:
    """Print a table on a terminal, aligned text elsewhere."""
    if not rows:
        console.say(
            f"[{host}] nothing is published (publish: tunnel), so there is nothing to look at"
        )
        return
    coloured(host, rows) if console.terminal() else plain(host, rows)
    counted = tally(rows)
    console.say(
        f"[{host}] " + ", ".join(f"{counted[state]} {state}" for state in STATES if counted[state])
    )


def plain(host: str, rows: list[Row]) -> None:
    width = max(len(row.check.id) for row in rows)
    for row in rows:
        mend = f"  → {row.mend}" if row.mend else ""
        console.say(
            f"{row.state:<11}  {row.check.id:<{width}}  {row.check.title}: {row.detail}{mend}"
        )


def coloured(host: str, rows: list[Row]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=host, title_justify="left", box=None, pad_edge=False)
    names = ["", "check", "found", *(["mend with"] if any(row.mend for row in rows) else [])]
    for name in names:
        table.add_column(name, overflow="fold", no_wrap=name in ("", "check"))
    for row in rows:
        found = f"{escape(row.check.title)}: [bold]{escape(row.detail)}[/]"
        cells = [f"[{COLOURS[row.state]}]{row.state}[/]", row.check.id, found, escape(row.mend)]
        table.add_row(*cells[: len(names)], style="dim" if row.state == UNCHECKED else None)
    Console().print(table)


def as_json(host: str, rows: list[Row]) -> str:
    """The documented form; docs/check.md."""
    return json.dumps(
        {
            "schema": SCHEMA,
            "host": host,
            "checks": [plainly(row) for row in rows],
            "summary": tally(rows),
        },
        indent=2,
    )


def plainly(row: Row) -> dict[str, Any]:
    return {
        "id": row.check.id,
        "area": row.check.area,
        "title": row.check.title,
        "state": row.state,
        "detail": row.detail,
        "needs": list(row.check.needs),
        "mend": row.mend if row.state != OK else "",
    }


def tally(rows: list[Row]) -> dict[str, int]:
    found = Counter(row.state for row in rows)
    return {state: found[state] for state in STATES}
