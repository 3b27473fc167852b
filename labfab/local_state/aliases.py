"""Aliases: find what setup wrote into ~/.ssh/config for the host of a connection.

alias_block.py holds one alias and its text, ssh_config.py the file of all of them.
"""

from __future__ import annotations

from pathlib import Path

from fabric import Connection
from invoke.context import Context

from .. import fabric_internals
from . import ssh_config


def ssh_config_path(c: Context) -> Path:
    """Return the ssh_config in use: the one given with `fab -S`, else ~/.ssh/config."""
    return fabric_internals.ssh_config_file(c.config) or Path.home() / ".ssh" / "config"


def find_alias(c: Connection) -> ssh_config.Alias | None:
    """Find the alias that setup wrote for this login; None before setup."""
    return ssh_config.find(ssh_config_path(c), c.user, c.host, c.port, proxy_jump(c))


def host_names(c: Context) -> set[str]:
    """Return every name and address that settings may use for this host; empty without -H."""
    if not isinstance(c, Connection):
        return set()
    block = find_alias(c)
    return {c.original_host, c.host, *([block.name] if block else [])}


def proxy_jump(c: Connection) -> str:
    """Return a connection's gateways, as ProxyJump lists them; empty if there are none."""
    written: str = (getattr(c, "ssh_config", None) or {}).get("proxyjump", "")
    chain = [f"{hop.user}@{hop.host}:{hop.port}" for hop in hops(c)[1:]]
    return "" if written == "none" else written or ",".join(reversed(chain))


def hops(c: Connection) -> list[Connection]:
    """Return the connection followed by the gateways it goes through, nearest first."""
    return [c, *hops(c.gateway)] if isinstance(c.gateway, Connection) else [c]
