"""Constraints: the names that a CA may vouch for.

Owns: nothing.
A kind of name that a CA does not mention is allowed, so the kinds that a lab lacks are excluded.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import TYPE_CHECKING

from . import certificate

if TYPE_CHECKING:
    from cryptography import x509

ALL_ADDRESSES = ("0.0.0.0/0", "::/0")


def name_constraints(names: Iterable[str]) -> x509.NameConstraints:
    """Permit these addresses and these names with their subdomains; exclude everything else."""
    from cryptography import x509

    permitted = [general_name(name, alone=True) for name in names]
    versions = {name.value.version for name in permitted if isinstance(name, x509.IPAddress)}
    excluded: list[x509.GeneralName] = [
        x509.IPAddress(network)
        for network in map(ipaddress.ip_network, ALL_ADDRESSES)
        if network.version not in versions
    ]
    if not any(isinstance(name, x509.DNSName) for name in permitted):
        excluded.append(x509.DNSName(""))
    return x509.NameConstraints(permitted, excluded or None)


def general_name(name: str, alone: bool = False) -> x509.GeneralName:
    """Return a name or an address as certificates write it.

    alone: write an address as a network of one address.
    """
    from cryptography import x509

    plain = certificate.plain(name)
    try:
        return x509.IPAddress(ipaddress.ip_network(plain) if alone else ipaddress.ip_address(plain))
    except ValueError:
        return x509.DNSName(plain)


def permitted(ca: str) -> frozenset[str] | None:
    """Return the names and addresses that a CA can vouch for, or None if it can do more.

    A file that has more in it than this one certificate can do more.
    """
    from cryptography import x509

    found = certificate.only_certificate(ca)
    if found is None:
        return None
    try:
        own = found.extensions.get_extension_for_class(x509.NameConstraints)
        basic = found.extensions.get_extension_for_class(x509.BasicConstraints)
    except (ValueError, x509.ExtensionNotFound):
        return None
    if not own.critical or not basic.critical or basic.value.path_length != 0:
        return None
    names = [permitted_name(name) for name in own.value.permitted_subtrees or ()]
    if not names or not all(names) or subtrees(own.value) != subtrees(name_constraints(names)):
        return None
    return frozenset(names)


def permitted_name(name: x509.GeneralName) -> str:
    """Return a permitted DNS name, or the first address of a permitted network; empty: neither."""
    value = name.value
    return value if isinstance(value, str) else str(getattr(value, "network_address", ""))


def subtrees(
    found: x509.NameConstraints,
) -> tuple[frozenset[x509.GeneralName], frozenset[x509.GeneralName]]:
    """Return what is permitted and what is excluded, in no particular order."""
    return frozenset(found.permitted_subtrees or ()), frozenset(found.excluded_subtrees or ())
