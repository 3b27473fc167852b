"""Alias: the name under which your laptop knows a host."""

from __future__ import annotations

import threading

from fabric import Connection

from ..errors import SetupError
from ..local_state import known_hosts, ssh_config
from ..local_state.aliases import find_alias, ssh_config_path
from ..settings import Settings
from . import connection

# Aliases that this run has reserved for its hosts, with the address of each host.
taken: dict[str, tuple[str, int]] = {}
lock = threading.Lock()


def alias_of(c: Connection, settings: Settings) -> str:
    """Return the alias of this host: the name of its block in ssh_config, else the setting.

    Raises SetupError if the name already stands for another machine.
    """
    found = find_alias(c)
    if found:
        return found.name
    name = settings.alias.replace("{host}", c.host.replace(":", "-"))
    with lock:
        holder = taken.setdefault(name, (c.host, c.port))
    others = [
        (block.hostname, block.port)
        for block in ssh_config.read(ssh_config_path(c))
        if block.name == name
    ]
    for other in [holder, *others]:
        if not same_machine(c, *other):
            raise SetupError(
                f"the alias {name} already stands for {other[0]}:{other[1]}: "
                "set another with LABFAB_ALIAS=NAME, "
                "or for several hosts LABFAB_ALIAS='lab-{host}'",
                host=c.host,
            )
    return name


def same_machine(c: Connection, hostname: str, port: int) -> bool:
    """Return whether another address is this machine.

    Several machines may share an address, so the host key decides.
    """
    if (hostname, port) == (c.host, c.port):
        return True
    path = connection.known_hosts_path()
    here, there = (
        known_hosts.pinned(path, *place) for place in ((c.host, c.port), (hostname, port))
    )
    return hostname == c.host and bool(
        {key.asbytes() for key in here} & {key.asbytes() for key in there}
    )
