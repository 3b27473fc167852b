"""Recap: the result of each host of a fleet, for people and programs, and the exit code."""

from __future__ import annotations

from pathlib import Path

from invoke.exceptions import Exit

from ..console import duration
from ..errors import SetupError
from ..text import json_text, printable
from .member import DONE, Member

SCHEMA = 1
INTERRUPTED = 130  # as shells report Ctrl-C
HEAD = ("host", "result", "changes", "time")


def table(members: list[Member], folder: Path | None) -> str:
    """Return one line for each host, then why some failed and where their logs are."""
    rows = [HEAD]
    for member in members:
        took = duration(member.took)
        rows.append((member.name, member.result, str(member.changes), took))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    host, result, changes, took_ = widths
    lines = [
        "",
        *(f"{a:<{host}}  {b:<{result}}  {c:>{changes}}  {d:>{took_}}" for a, b, c, d in rows),
    ]
    for member in members:
        if member.error:
            lines += ["", f"{member.name}: {member.problem}"]
            if member.log and member.log.exists():
                lines.append(f"    its log: {short(member.log)}")
    where = f"; logs: {short(folder)}" if folder and folder.is_dir() else ""
    return printable(
        "\n".join([*lines, "", f"{done(members)} of {len(members)} hosts done{where}"])
    )


def done(members: list[Member]) -> int:
    """Return the number of hosts on which everything went well."""
    return sum(member.state == DONE for member in members)


def short(path: Path) -> str:
    """Return a path in its short form, with ~ for the home."""
    return f"~/{path.relative_to(Path.home())}" if path.is_relative_to(Path.home()) else str(path)


def document(members: list[Member]) -> str:
    """Return the JSON that docs/fleet.md describes."""
    summary = {
        "hosts": len(members),
        "done": done(members),
        "changes": sum(member.changes for member in members),
    }
    hosts = [member.entry() for member in members]
    found = {"schema": SCHEMA, "hosts": hosts, "summary": summary}
    return json_text(found)


def end(members: list[Member], interrupted: bool) -> None:
    """Raise the error or the exit code of the command; nothing if everything went well."""
    failed = [member.name for member in members if member.error]
    if interrupted:
        raise Exit(code=INTERRUPTED)
    if failed:
        raise SetupError(
            f"failed on {', '.join(failed)}: see above; "
            f"to run it again there: fab -H {','.join(failed)} …"
        )
    code = max((member.code for member in members), default=0)
    # For example that of a plan with something to do.
    if code:
        raise Exit(code=code)
