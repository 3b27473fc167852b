"""Virtual hosts: which names Apache's sites answer for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple


class Site(NamedTuple):
    """One virtual host of Apache."""

    # * for all.
    address: str
    port: str
    # file:line.
    place: str
    # From ServerName and ServerAlias; they may contain * and ?.
    names: frozenset[str]
    # The name that Apache assumes if none is configured.
    default_name: str

    def answers(self, name: str) -> bool:
        """Return whether the site answers for a name, configured or assumed."""
        return self.names_it(name) or name.lower() == self.default_name

    def names_it(self, name: str) -> bool:
        """Return whether the site's configuration has the name, or a pattern that matches it."""
        return any(fnmatchcase(name.lower(), pattern.replace("[", "[[]")) for pattern in self.names)


def parse_sites(values: Mapping[str, str]) -> tuple[Site, ...]:
    """Parse the sites that apache.sh lists. values: number -> fields separated by tabs."""
    return tuple(site(*values[number].split("\t")) for number in sorted(values, key=int))


def site(address: str, default_name: str, place: str, names: str) -> Site:
    """Build the record of a site. address: with the port. names: separated by blanks."""
    where, _, port = address.rpartition(":")
    return Site(
        address=where,
        port=port,
        place=place,
        names=frozenset(bare_name(name) for name in names.split()),
        default_name=default_name.lower(),
    )


def bare_name(name: str) -> str:
    """Strip the scheme and the port that a ServerName may have."""
    return re.sub(r"^[a-z]+://|:\d+$", "", name.lower())


def url_host(name: str) -> str:
    """Return a name for a URL or the Host header: an IPv6 address in brackets."""
    return f"[{name}]" if ":" in name else name
