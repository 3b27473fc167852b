"""Alias: the name under which your laptop knows a host."""

from __future__ import annotations

import threading

from fabric import Connection

from ..errors import SetupError
from ..local_state import known_hosts, ssh_config
from ..local_state.aliases import block_of, config_path
from ..settings import Settings
from . import connection

# Aliases that hosts of this run are about to take, and where each is.
taken: dict[str, tuple[str, int]] = {}
lock = threading.Lock()


def alias_of(c: Connection, settings: Settings) -> str:
    """The alias of this host: its block's name where it has one, else the setting.

    Raises SetupError when the setting's name stands for another machine already.
    """
    found = block_of(c)
    if found:
        return found.name
    name = settings.alias.replace("{host}", c.host.replace(":", "-"))
    with lock:
        holder = taken.setdefault(name, (c.host, c.port))
    others = [
        (block.hostname, block.port)
        for block in ssh_config.read(config_path(c))
        if block.name == name
    ]
    for other in [holder, *others]:
        if not same_machine(c, *other):
            raise SetupError(
                f"{c.host}: the alias {name} stands for {other[0]}:{other[1]} already: set another, LABFAB_ALIAS=NAME; "
                "for several hosts at once LABFAB_ALIAS='lab-{host}'"
            )
    return name


def same_machine(c: Connection, hostname: str, port: int) -> bool:
    """Whether another address is this machine: by its host key, for one address may lead to several machines."""
    if (hostname, port) == (c.host, c.port):
        return True
    path = connection.known_hosts_path()
    here, there = (
        known_hosts.pinned(path, *place) for place in ((c.host, c.port), (hostname, port))
    )
    return hostname == c.host and bool(
        {key.asbytes() for key in here} & {key.asbytes() for key in there}
    )
