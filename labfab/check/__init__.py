"""Check: tests a host from outside, over fresh connections, and changes nothing.

One row asks one question. The modules named like the tasks hold the rows. inspection.py asks them,
probe.py collects what they look at, table.py shows the answers.
"""

from __future__ import annotations

from fabric import Connection

from ..run.task import host_task

JSON = {"json": "Print JSON; docs/check.md describes it"}


@host_task(name="all", default=True, reads=True, connects_itself=True, help=JSON)
def all_(c: Connection, json: bool = False) -> None:
    """Check everything, from outside and inside."""
    check(c, "", json)


@host_task(name="ssh", reads=True, connects_itself=True, help=JSON)
def ssh_(c: Connection, json: bool = False) -> None:
    """Check who can log in."""
    check(c, "ssh", json)


@host_task(name="ports", reads=True, connects_itself=True, help=JSON)
def ports_(c: Connection, json: bool = False) -> None:
    """Check ports and the firewall."""
    check(c, "ports", json)


@host_task(name="secrets", reads=True, connects_itself=True, help=JSON)
def secrets_(c: Connection, json: bool = False) -> None:
    """Check that nobody else can read the secrets."""
    check(c, "secrets", json)


@host_task(name="lab", reads=True, connects_itself=True, help=JSON)
def lab_(c: Connection, json: bool = False) -> None:
    """Check that JupyterLab is private and computes."""
    check(c, "lab", json)


@host_task(name="https", reads=True, connects_itself=True, help=JSON)
def https_(c: Connection, json: bool = False) -> None:
    """Check what a published JupyterLab shows to everybody."""
    check(c, "https", json)


@host_task(name="host", reads=True, connects_itself=True, help=JSON)
def host_(c: Connection, json: bool = False) -> None:
    """Check updates, disks, clock and sudo."""
    check(c, "host", json)


def check(c: Connection, area: str, json: bool) -> None:
    """Ask the rows of an area; empty for all."""
    # This loads all the rows, and everything that they use.
    from . import inspection

    inspection.check(c, area, json)
