"""Kept: settings that were given once, as LABFAB_<KEY>, and hold for their host from then on.

setup.full keeps those that decide what the host is and that no file of settings says: names and
email, for example. Secrets are no settings, so none is here.

Owns: ~/.config/labfab/<alias>/settings.json.  Undo: delete it
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fabric import Connection
from invoke.context import Context

from .. import decode
from ..errors import SetupError
from ..local_state import files, known_hosts
from ..local_state.aliases import find_alias, pinned_as

NAME = "settings.json"
# What decides what a host is. The rest is about one run or about this laptop, or may hold a secret,
# as the URL of a mirror and Jupyter's own options may.
LASTING = frozenset(
    (
        *("user", "lab_user", "sudo", "ssh_port", "harden_ssh", "restrict_logins"),
        *("close_port_22", "keep_awake", "firewall", "firewall_forward"),
        *("open_ports", "open_udp_ports"),
        *("python", "python_version", "packages", "accept_anaconda_terms"),
        *("lab_port", "listen", "root_dir", "base_url", "start_command"),
        *("publish", "names", "certificate", "email", "acme_server", "webroot"),
    )
)


class Kept(NamedTuple):
    """What a setup kept."""

    # The values by the names of their settings.
    lab: dict[str, Any] = {}
    # The fingerprints of the host that it was for.
    host_keys: list[str] = []


def place(alias: str) -> Path:
    """Return the file that holds the settings of a host."""
    return files.config_folder(alias) / NAME


def store(c: Connection, alias: str, values: Mapping[str, Any], has_recipe: bool) -> None:
    """Keep these values; forget the earlier ones.

    has_recipe: then the host's keys are kept in any case, so that its recipe is found by them.
    """
    if not (values or has_recipe):
        return forget(alias)
    found = Kept(dict(values), sorted(fingerprints(c)))
    data = json.dumps(found._asdict(), indent=2, ensure_ascii=False) + "\n"
    files.make_private(place(alias).parent)
    if files.load(place(alias)) != data.encode():
        files.replace(place(alias), data.encode(), 0o600)


def forget(alias: str) -> None:
    """Forget the settings of a host."""
    place(alias).unlink(missing_ok=True)


def name_of(c: Context, setting: str) -> str:
    """Return the alias under which things are kept for a host; empty if nothing is.

    setting: the alias in the settings, which counts without a host. A setup that died early may
    have kept something, and written no alias: then the host is recognized by its key.
    """
    if not isinstance(c, Connection):
        return setting
    block = find_alias(c)
    if block:
        return block.name
    names = [path.parent.name for path in files.config_folder("any").parent.glob(f"*/{NAME}")]
    found = (name for name in sorted(names) if not fingerprints(c).isdisjoint(load(name).host_keys))
    return next(found, "")


def load(alias: str) -> Kept:
    """Return what is kept under an alias. Raises SetupError for a damaged file."""
    # A name that cannot be an alias is refused later, with the place that it comes from.
    if not re.fullmatch(files.ALIAS, alias):
        return Kept()
    path = place(alias)
    try:
        version = path.stat()
    except OSError:
        return Kept()
    return read(path, version.st_mtime_ns, version.st_size, version.st_ino)


@functools.lru_cache(64)
def read(path: Path, *version: int) -> Kept:
    """Read the file once, and again only if its version differs. Raises SetupError."""
    try:
        found = decode.parsed(files.load(path))
        if not isinstance(found, dict):
            raise ValueError("it is no mapping")
        return decode.record(Kept, found)
    except (ValueError, TypeError) as error:
        raise SetupError(f"{path} cannot be read ({error}): delete it") from None


def fingerprints(c: Connection) -> frozenset[str]:
    """Return the fingerprints of the keys by which a host is known."""
    path = Path.home() / ".ssh" / "known_hosts"
    try:
        version = path.stat()
    except OSError:
        return frozenset()
    return pinned(path, *pinned_as(c), version.st_mtime_ns, version.st_size)


@functools.lru_cache(64)
def pinned(path: Path, host: str, port: int, *version: int) -> frozenset[str]:
    """Look the keys up once, and again only if the version of known_hosts differs."""
    return frozenset(map(known_hosts.fingerprint, known_hosts.pinned(path, host, port)))


def to_keep(given: Mapping[str, Any], files: Mapping[str, Any]) -> dict[str, Any]:
    """Return which values to keep: lasting ones that the files of settings do not say.

    given: from variables, or kept before. files: from files and the defaults.
    """
    return {
        key: value for key, value in given.items() if key in LASTING and value != files.get(key)
    }


def without(values: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return values without these names."""
    left_out = frozenset(names)
    return {key: value for key, value in values.items() if key not in left_out}
