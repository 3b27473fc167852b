"""Tunnel: a local port of your laptop that leads to JupyterLab's loopback port.

Owns: one ssh process for each lab and its control socket.  Undo: tunnel.close
"""

from __future__ import annotations

from fabric import Connection
from invoke import Context

from .. import connection, screen
from ..errors import SetupError
from ..host import alias_of, laptop_task
from ..laptop import ssh_config
from ..settings import Settings


@laptop_task(name="open", default=True)
def open_(c: Context) -> None:
    """Open the tunnel, or find it open, and see that JupyterLab answers through it."""


def url(alias, want):
    return "x"
