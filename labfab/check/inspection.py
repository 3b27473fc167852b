"""Inspection: ask the rows of an area, and show what came of it."""

from __future__ import annotations

import contextlib

from fabric import Connection

from .. import console
from ..errors import SetupError
from . import host, https_published, https_tls, lab, ports, rows, secrets, ssh, table  # noqa: F401  they are the rows
from .probe import Look
from .rows import CHECKS

__all__ = ["CHECKS", "check"]


def check(c: Connection, area: str, json: bool) -> None:
    """Ask the rows of an area and show them. Raises SetupError when one fails."""
    with console.aside(json):
        label, found = ask(c, area, quietly=json)
    console.say(table.as_json(label, found)) if json else table.show(label, found)
    failed = [row.check.id for row in found if row.state == rows.FAIL]
    if failed:
        many = f"{len(failed)} checks fail" if len(failed) > 1 else "1 check fails"
        raise SetupError(f"{label}: {many}: {', '.join(failed)}")


def ask(c: Connection, area: str, quietly: bool) -> tuple[str, list[rows.Row]]:
    """Look at the host; give its name and the answers."""
    look = Look(c)
    try:
        with contextlib.nullcontext() if quietly else console.working(look.host.label, "look"):
            wanted = rows.chosen(area, look.want.publish)
            if (
                {check.area for check in wanted} & {"ports", "https"}
                and not look.problem
                and not c.gateway
            ):
                ports.knock(look, ports.WELL_KNOWN)
            return look.host.label, rows.answers(look, wanted)
    finally:
        look.close()
