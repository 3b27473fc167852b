"""Constraints: what a CA may vouch for, and nothing else.

Owns: nothing.  A type of name that is not mentioned in a CA would be allowed, so what a lab has none of is excluded.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import TYPE_CHECKING

from . import certificate

if TYPE_CHECKING:
    from cryptography import x509

EVERYTHING = ("0.0.0.0/0", "::/0")


def of(names: Iterable[str]) -> x509.NameConstraints:
    """Permit these names (with what is below them) and addresses, and exclude every kind of which there is none."""
    from cryptography import x509

    permitted = [general(name, alone=True) for name in names]
    versions = {name.value.version for name in permitted if isinstance(name, x509.IPAddress)}
    missing = [
        every for every in map(ipaddress.ip_network, EVERYTHING) if every.version not in versions
    ]
    excluded: list[x509.GeneralName] = [x509.IPAddress(every) for every in missing]
    if not any(isinstance(name, x509.DNSName) for name in permitted):
        excluded.append(x509.DNSName(""))
    return x509.NameConstraints(permitted, excluded or None)


def general(name: str, alone: bool = False) -> x509.GeneralName:
    """A name or an address as it stands in a certificate. alone: an address as a network of one."""
    from cryptography import x509

    plain = certificate.plain(name)
    try:
        return x509.IPAddress(ipaddress.ip_network(plain) if alone else ipaddress.ip_address(plain))
    except ValueError:
        return x509.DNSName(plain)


def permitted(ca: str) -> frozenset[str] | None:
    """The names and addresses that a CA can vouch for; None where these are not all that it can vouch for."""
    from cryptography import x509

    found = certificate.parse(ca)
    try:
        own, basic = (
            found.extensions.get_extension_for_class(kind)
            for kind in (x509.NameConstraints, x509.BasicConstraints)
        )
    except (AttributeError, ValueError, x509.ExtensionNotFound):
        return None
    inside = [name.value for name in own.value.permitted_subtrees or ()]
    names = [
        name if isinstance(name, str) else str(getattr(name, "network_address", ""))
        for name in inside
    ]
    whole = bool(names) and all(names) and parts(own.value) == parts(of(names))
    return (
        frozenset(names)
        if whole and own.critical and basic.critical and basic.value.path_length == 0
        else None
    )


def parts(
    found: x509.NameConstraints,
) -> tuple[frozenset[x509.GeneralName], frozenset[x509.GeneralName]]:
    return frozenset(found.permitted_subtrees or ()), frozenset(found.excluded_subtrees or ())
