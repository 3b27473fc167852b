"""Check: is it so? Looked at from outside, with fresh connections; nothing is changed.

One row, one question: rows.py says how they are asked, look.py what they ask of; the other modules are the rows.
"""

from __future__ import annotations

import contextlib

from fabric import Connection

from .. import screen
from ..errors import SetupError
from ..task import host_task
from . import doors, machine, modes, ports, published, rows, server, table, tls  # noqa: F401  they are the rows
from .look import Look

JSON = {"json": "Print JSON, as docs/check.md describes it"}


@host_task(name="all", default=True, reads=True, dials=True, help=JSON)
def all_(c: Connection, json: bool = False) -> None:
    """Look at everything, from outside and inside."""
    check(c, "", json)


@host_task(name="ssh", reads=True, dials=True, help=JSON)
def ssh_(c: Connection, json: bool = False) -> None:
    """Check who can log in."""
    check(c, "ssh", json)


@host_task(name="ports", reads=True, dials=True, help=JSON)
def ports_(c: Connection, json: bool = False) -> None:
    """Check ports and the firewall."""
    check(c, "ports", json)


@host_task(name="secrets", reads=True, dials=True, help=JSON)
def secrets_(c: Connection, json: bool = False) -> None:
    """Check that secrets are closed to others."""
    check(c, "secrets", json)


@host_task(name="lab", reads=True, dials=True, help=JSON)
def lab_(c: Connection, json: bool = False) -> None:
    """Check that JupyterLab is private and computes."""
    check(c, "lab", json)


@host_task(name="https", reads=True, dials=True, help=JSON)
def https_(c: Connection, json: bool = False) -> None:
    """Check what a published JupyterLab shows to everybody."""
    check(c, "https", json)


@host_task(name="host", reads=True, dials=True, help=JSON)
def host_(c: Connection, json: bool = False) -> None:
    """Check updates, disks, clock and sudo."""
    check(c, "host", json)


def check(c: Connection, area: str, json: bool) -> None:
    """Ask the rows of an area and show them. Raises SetupError when one fails."""
    with screen.aside(json):
        label, found = ask(c, area, quietly=json)
    screen.say(table.as_json(label, found)) if json else table.show(label, found)
    failed = [row.check.id for row in found if row.state == rows.FAIL]
    if failed:
        many = f"{len(failed)} checks fail" if len(failed) > 1 else "1 check fails"
        raise SetupError(f"{label}: {many}: {', '.join(failed)}")


def ask(c: Connection, area: str, quietly: bool) -> tuple[str, list[rows.Row]]:
    """Look at the host; give its name and the answers."""
    look = Look(c)
    try:
        with contextlib.nullcontext() if quietly else screen.working(look.host.label, "look"):
            wanted = rows.chosen(area, look.want.publish)
            if {check.area for check in wanted} & {"ports", "https"} and not look.problem and not c.gateway:
                ports.knock(look, ports.WELL_KNOWN)
            return look.host.label, rows.answers(look, wanted)
    finally:
        look.close()
