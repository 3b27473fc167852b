"""Host key: the first meeting with a host, and the day it shows another face."""

from __future__ import annotations

import sys
from pathlib import Path

import paramiko
from fabric import Connection

from .. import console
from ..errors import SetupError
from ..local_state import known_hosts
from ..settings import Settings


class Ask(paramiko.MissingHostKeyPolicy):
    """Accept an unknown host key only when its fingerprint was given or somebody says yes."""

    def __init__(self, c: Connection, settings: Settings, path: Path) -> None:
        """Make the policy of one connection. path: the known_hosts file that an accepted key is pinned in."""
        self.c, self.settings, self.path = c, settings, path

    def missing_host_key(
        self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey
    ) -> None:
        shown = known_hosts.fingerprint(key)
        if self.settings.host_key:
            if shown != self.settings.host_key:
                raise SetupError(
                    f"{self.c.host} shows {shown}, not the host_key {self.settings.host_key}: this is another machine"
                )
        elif not sys.stdin.isatty():
            raise SetupError(
                f"{self.c.host}: unknown host key {shown} ({key.get_name()}); "
                f"if it is right, type LABFAB_HOST_KEY={shown} in front of the command"
            )
        elif not console.agreed(
            f"{self.c.host} shows the key {shown} ({key.get_name()}) for the first time. Is it right?",
            "yes/no",
        ):
            raise SetupError(f"{self.c.host}: host key not accepted, nothing was done")
        known_hosts.pin(self.path, self.c.host, self.c.port, key)


def changed_key(c: Connection, error: paramiko.BadHostKeyException) -> str:
    name = c.host if c.port == 22 else f"[{c.host}]:{c.port}"
    return (
        f"{c.host}: THE HOST KEY HAS CHANGED to {known_hosts.fingerprint(error.key)}: somebody may be listening in. "
        f"Only if you set the machine up anew: ssh-keygen -R '{name}'"
    )
