"""Recap: what became of each host of a fleet, for eyes and for programs, and the exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from invoke import Exit

from ..console import duration
from ..errors import SetupError

if TYPE_CHECKING:
    from .member import Member

SCHEMA = 1
INTERRUPTED = 130  # what a shell makes of Ctrl-C
HEAD = ("host", "result", "changes", "time")


def table(members: list[Member], folder: Path | None) -> str:
    """One line a host, then why it failed and where to read more."""
    rows = [
        HEAD,
        *(
            (member.name, member.result, str(member.changes), duration(member.took))
            for member in members
        ),
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    lines = [
        f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]:>{widths[3]}}"
        for row in rows
    ]
    for member in members:
        if member.error:
            lines += [
                "",
                f"{member.name}: {member.problem}",
                *([f"    its log: {short(member.log)}"] if logged(member) else []),
            ]
    good = sum(member.state == "done" for member in members)
    where = f"; logs: {short(folder)}" if folder and folder.is_dir() else ""
    return "\n".join(["", *lines, "", f"{good} of {len(members)} hosts done{where}"])


def logged(member: Member) -> bool:
    return member.log is not None and member.log.exists()


def short(path: Path) -> str:
    """A path as one types it."""
    return f"~/{path.relative_to(Path.home())}" if path.is_relative_to(Path.home()) else str(path)


def document(members: list[Member]) -> str:
    """The documented form; docs/fleet.md."""
    good = sum(member.state == "done" for member in members)
    counted = {
        "hosts": len(members),
        "done": good,
        "changes": sum(member.changes for member in members),
    }
    return json.dumps(
        {"schema": SCHEMA, "hosts": [member.entry() for member in members], "summary": counted},
        indent=2,
        ensure_ascii=False,
    )


def end(members: list[Member], interrupted: bool) -> None:
    """Raise what the command ends with; nothing where all went well."""
    failed = [member.name for member in members if member.error]
    if interrupted:
        raise Exit(code=INTERRUPTED)
    if failed:
        raise SetupError(
            f"failed on {', '.join(failed)}: see above; type it again for them: fab -H {','.join(failed)} …"
        )
    code = max((member.code for member in members), default=0)
    if code:  # such as that of a plan with something to do
        raise Exit(code=code)
