"""Websites: which names a web server answers for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple


class Site(NamedTuple):
    """One virtual host of Apache."""

    address: str  # * for all
    port: str
    place: str  # file:line
    names: frozenset[str]  # written there; may hold * and ?
    taken: str  # the name that Apache takes where none is written

    def answers(self, name: str) -> bool:
        """Whether it answers for a name, be it written there or not."""
        return self.names_it(name) or name.lower() == self.taken

    def names_it(self, name: str) -> bool:
        """Whether a name is written there, or a pattern that it fits."""
        return any(fnmatchcase(name.lower(), pattern.replace("[", "[[]")) for pattern in self.names)


def parsed(values: Mapping[str, str]) -> tuple[Site, ...]:
    """The sites as apache.sh tells of them."""
    return tuple(site(*values[number].split("\t")) for number in sorted(values, key=int))


def site(address: str, taken: str, place: str, names: str) -> Site:
    where, _, port = address.rpartition(":")
    return Site(where, port, place, frozenset(plain(name) for name in names.split()), taken.lower())


def plain(name: str) -> str:
    """A name without the scheme and the port that ServerName may have."""
    return re.sub(r"^[a-z]+://|:\d+$", "", name.lower())


def host(name: str) -> str:
    """A name as it stands in a URL and in the Host header: an IPv6 address in brackets."""
    return f"[{name}]" if ":" in name else name
