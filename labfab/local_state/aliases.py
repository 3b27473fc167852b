"""Names: what a host is called, by you, by the network and by labfab."""

from __future__ import annotations

from pathlib import Path

from fabric import Connection
from invoke import Context

from . import ssh_config


def config_path(c: Context) -> Path:
    """The ssh_config in use: Fabric's -S, else the user's own."""
    given = getattr(c.config, "_runtime_ssh_path", None)
    return Path(given) if given else Path.home() / ".ssh" / "config"


def block_of(c: Connection) -> ssh_config.Alias | None:
    """The block that setup wrote for this login."""
    return ssh_config.find(config_path(c), c.user, c.host, c.port, jump(c))


def names_of(c: Context) -> set[str]:
    """Each name and address that settings may call the host by; none without -H."""
    if not isinstance(c, Connection):
        return set()
    block = block_of(c)
    return {c.original_host, c.host, *([block.name] if block else [])}


def jump(c: Connection) -> str:
    """The hosts that the connection goes through, as ProxyJump names them."""
    written = (getattr(c, "ssh_config", None) or {}).get("proxyjump", "")
    chain = [f"{link.user}@{link.host}:{link.port}" for link in links(c)[1:]]
    return "" if written == "none" else written or ",".join(reversed(chain))


def links(c: Connection) -> list[Connection]:
    """The connection and the gateways it goes through."""
    return [c, *links(c.gateway)] if isinstance(c.gateway, Connection) else [c]
