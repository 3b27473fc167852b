"""Forwarded: a local port that leads to JupyterLab for a while.

Constraint: a Unix socket in the home of lab_user is out of reach for the login with sudo, and root
opens nothing there. So its own login is used for it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from fabric import Connection

from ..facts import facts
from ..host.session import Host
from ..laptop import forward
from ..run import guard
from ..settings import Settings
from .process import socket_path


@contextlib.contextmanager
def url(c: Connection, want: Settings) -> Iterator[str]:
    """Forward a local port to JupyterLab; yield its URL there. Raises SetupError.

    It proves nothing: before a secret goes there, ask whose JupyterLab it is (process.prove_owner).
    """
    account = facts(c).accounts.get(want.jupyter_user)
    socket = socket_path(want, account)
    with contextlib.ExitStack() as stack:
        transport = c.transport
        if socket and c.user != want.jupyter_user:
            login = Host.of(c).login._replace(user=want.jupyter_user)
            transport = stack.enter_context(guard.logged_in(c, login))[0].transport
        place = socket or want.lab_port
        yield want.lab_url(stack.enter_context(forward.opened(transport, place)))
