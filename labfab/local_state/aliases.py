"""Aliases: find what setup wrote into ~/.ssh/config for the host of a connection.

alias_block.py holds one alias and its text, ssh_config.py the file of all of them.
"""

from __future__ import annotations

import os
from pathlib import Path

from fabric import Connection
from invoke.context import Context

from .. import fabric_internals
from . import files, known_hosts, ssh_config, ssh_lookup
from .alias_block import KEPT, check_word

NO_HOST = "no-host-of-this-name.invalid"


def ssh_config_path(c: Context) -> Path:
    """Return the ssh_config in use: the one given with `fab -S`, else ~/.ssh/config."""
    return fabric_internals.ssh_config_file(c.config) or Path.home() / ".ssh" / "config"


def find_alias(c: Connection) -> ssh_config.Alias | None:
    """Find the alias that setup wrote for this login; None before setup."""
    return ssh_config.find(ssh_config_path(c), c.user, c.host, c.port, way(c))


def note_of_lab_user(name: str) -> Path:
    """Return the file that holds the name of lab_user, for an alias whose lab has one."""
    return files.config_folder(name) / "lab-user"


def has_one_account(c: Context, name: str) -> bool:
    """Return whether an earlier version set this host up, with one account for everything.

    name: the alias, if no host is given with -H.
    """
    if isinstance(c, Connection):
        block = find_alias(c)
    else:
        blocks = ssh_config.read(ssh_config_path(c))
        block = next((one for one in blocks if one.name == name), None)
    return block is not None and not note_of_lab_user(block.name).exists()


def everyday_user(c: Connection) -> str:
    """Return the account that the host's alias leads to; before setup, that of the connection."""
    block = find_alias(c)
    return block.everyday_user if block else c.user


def host_names(c: Context) -> set[str]:
    """Return every name and address that settings may use for this host; empty without -H."""
    if not isinstance(c, Connection):
        return set()
    block = find_alias(c)
    return {c.original_host, c.host, *([block.name] if block else [])}


def keys_of(c: Connection) -> list[str]:
    """Return the private keys to offer.

    One of an ssh_config that cannot be read is passed over, as ssh does; one that was given with
    `fab -i` is an error later.
    """
    found = c.connect_kwargs.get("key_filename") or []
    configured = set(from_config(c, "identityfile")) - fabric_internals.given_keys(c.config)
    names = [found] if isinstance(found, str) else list(found)
    return [name for name in names if name not in configured or is_readable(name)]


def is_readable(key: str) -> bool:
    """Return whether a key of an ssh_config is there for us. The word none stands for no key."""
    path = os.path.expanduser(key)
    return key.lower() != "none" and os.path.isfile(path) and os.access(path, os.R_OK)


def from_config(c: Connection, option: str) -> list[str]:
    """Return the values that an ssh_config has for this host; empty if it has none."""
    found = (getattr(c, "ssh_config", None) or {}).get(option) or []
    return [found] if isinstance(found, str) else list(found)


def pinned_as(c: Connection, port: int | None = None) -> tuple[str, int]:
    """Return the name and port under which known_hosts knows a host, as ssh looks it up.

    port: another one than that of the connection.
    """
    alias = next(iter(from_config(c, "hostkeyalias")), "")
    return known_hosts.lookup_name(c.host, port or c.port, alias)


def proxy_jump(c: Connection) -> str:
    """Return a connection's gateways, as ProxyJump lists them; empty if there are none."""
    written: str = (getattr(c, "ssh_config", None) or {}).get("proxyjump", "")
    chain = [f"{hop.user}@{hop.host}:{hop.port}" for hop in hops(c)[1:]]
    return "" if written == "none" else written or ",".join(reversed(chain))


def proxy_command(c: Connection) -> str:
    """Return a connection's ProxyCommand as the user wrote it; empty if there is none.

    %n, the name that was typed, is replaced: the block is for another name.
    """
    if not isinstance(c.gateway, str):
        return ""
    check_word(c.original_host, "name")
    return ssh_lookup.replaced(c.gateway, {"n": c.original_host, "%": "%%"})


def way(c: Connection) -> str:
    """Return what is between this machine and the host, as Alias.way; empty if nothing is."""
    return proxy_jump(c) or proxy_command(c)


def needed_options(c: Connection) -> tuple[tuple[str, str], ...]:
    """Return the options of alias_block.KEPT that the ssh_config has for this host alone."""
    everywhere = c.config.base_ssh_config.lookup(NO_HOST)
    found = []
    for name in KEPT:
        values = from_config(c, name.lower())
        general = everywhere.get(name.lower(), [])
        if values != ([general] if isinstance(general, str) else general):
            found += [(name, value) for value in values]
    return tuple(found)


def hops(c: Connection) -> list[Connection]:
    """Return the connection followed by the gateways it goes through, nearest first."""
    return [c, *hops(c.gateway)] if isinstance(c.gateway, Connection) else [c]
