"""Table: shows the rows of a check, to people and to programs."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from .. import console
from ..text import one_line
from .findings import FAIL, OK, STATES, UNCHECKED, WARN
from .rows import REACH, Row

SCHEMA = 1
COLORS = {OK: "green", WARN: "yellow", FAIL: "bold red", UNCHECKED: "dim"}
NOTHING = "nothing is published (publish: tunnel), so there is nothing to check"


def show(label: str, rows: list[Row]) -> None:
    """Print a table on a terminal, aligned text elsewhere."""
    if not rows:
        console.say(f"[{label}] {NOTHING}")
        return
    shown = [row for row in rows if row.cause != REACH]
    if console.terminal():
        print_table(label, shown)
    else:
        print_lines(shown)
    counted = tally(rows)
    parts = [f"{counted[state]} {state}" for state in STATES if counted[state]]
    console.say(f"[{label}] {', '.join(parts)}")


def print_lines(rows: list[Row]) -> None:
    """Print one line for each row."""
    width = max(len(row.check.id) for row in rows)
    for row in rows:
        mend = f"  → {one_line(row.mend)}" if row.mend else ""
        head = f"{row.state:<11}  {row.check.id:<{width}}"
        before, after = around(row)
        console.say(f"{head}  {before}{one_line(row.detail)}{after}{mend}")


def around(row: Row) -> tuple[str, str]:
    """Return what stands before and after the detail: the title says what should be true."""
    title = row.check.title
    return ("", f" (wanted: {title})") if row.state == FAIL else (f"{title}: ", "")


def print_table(label: str, rows: list[Row]) -> None:
    """Print a table with colors, as wide as the terminal."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(one_line(label)), title_justify="left", box=None, pad_edge=False)
    names = ["", "check", "found"]
    if any(row.mend for row in rows):
        names.append("fix with")
    for name in names:
        table.add_column(name, overflow="fold", no_wrap=name in ("", "check"))
    for row in rows:
        before, after = map(escape, around(row))
        found = f"{before}[bold]{escape(one_line(row.detail))}[/]{after}"
        cells = [
            f"[{COLORS[row.state]}]{row.state}[/]",
            row.check.id,
            found,
            escape(one_line(row.mend)),
        ]
        table.add_row(*cells[: len(names)], style="dim" if row.state == UNCHECKED else None)
    Console().print(table)


def as_json(label: str, rows: list[Row]) -> str:
    """Return the document that docs/check.md describes."""
    document = {
        "schema": SCHEMA,
        "host": label,
        "checks": [entry(row) for row in rows],
        "summary": tally(rows),
    }
    return json.dumps(document, indent=2)


def entry(row: Row) -> dict[str, Any]:
    """Return a row as JSON."""
    return {
        "id": row.check.id,
        "area": row.check.area,
        "title": row.check.title,
        "state": row.state,
        "detail": row.detail,
        "needs": list(row.check.needs),
        "mend": "" if row.state == OK else row.mend,
    }


def tally(rows: list[Row]) -> dict[str, int]:
    """Count the rows of each state."""
    found = Counter(row.state for row in rows)
    return {state: found[state] for state in STATES}
