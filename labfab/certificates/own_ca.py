"""Own CA: a certificate from this lab's own CA, signed on the laptop.

Owns: key.pem, cert.pem and ca.pem in the folder of the certificate.  Undo: restores the old files
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from fabric import Connection

from .. import console
from ..facts import facts
from ..host.alias import alias_of
from ..host.changes import change, put
from ..host.session import Host
from ..on_host import loader
from ..platforms import platform
from ..settings import Settings
from . import authority, certificate, constraints, vault
from .location import RELOAD_APACHE, Location, lab_names, location_of, loopback, make_folder

if TYPE_CHECKING:
    from ..facts.records import Https

RENEW_DAYS = 30  # days that a certificate must still last; a run with fewer left issues a new one
# openssl writes a key for its owner only, whatever the umask, and does not follow a link.
NEW_KEY = """\
set -eu; umask 077; cd -P %s; rm -f next-*.pem
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out next-key.pem
openssl req -new -key next-key.pem -subj /CN=labfab
"""
REPLACE = loader.as_command("replace_certificate", 3)


def all_names(c: Connection) -> list[str]:
    """Return the certificate's names; JupyterLab's own is also valid through a tunnel."""
    return list(dict.fromkeys(map(certificate.plain, [*lab_names(c), *loopback(Settings.of(c))])))


def ensure(c: Connection) -> None:
    """Issue a certificate unless a good one exists, and make its CA known on this laptop."""
    have, at = facts(c).https, location_of(c)
    reason = lacking(have, at, all_names(c))
    if reason:
        sign(c, reason)
    else:
        make_readable(c, have, at)


def lacking(have: Https, at: Location, wanted: list[str]) -> str:
    """Return why a new certificate is needed, or an empty string if it is not."""
    found = certificate.read(have.cert.content) if have.cert else None
    if have.cert is None or found is None or not have.key_stat:
        return "none yet"
    if have.key_stat != f"600 {at.account}":
        return "others could read its key"
    if not have.pair:
        return "its key does not match"
    for name, file in (("ca", have.ca), ("cert", have.cert)):
        # What is behind the first certificate was never tested.
        if file and certificate.only_certificate(file.content) is None:
            return f"{name}.pem contains more than one certificate"
    if not have.ca or not certificate.signed_by(have.cert.content, have.ca.content):
        return "it was not issued by this lab's CA"
    permitted = constraints.permitted(have.ca.content)
    if frozenset(found.names) != frozenset(wanted) or permitted != frozenset(wanted):
        return "the names have changed"
    return f"the old one expires in {found.days_left} days" if found.days_left <= RENEW_DAYS else ""


def sign(c: Connection, reason: str) -> None:
    """Make a key on the host, sign it here, and put key, certificate and CA in place."""
    want, planning, at, wanted = Settings.of(c), Host.of(c).planning, location_of(c), all_names(c)
    alias, title = alias_of(c, want), ", ".join(lab_names(c))
    # Before the host is changed: the CA's passphrase may be wrong.
    ca = None if planning else vault.open_ca(alias, wanted)
    make_folder(c, at)
    platform(c).install(c, "openssl")
    undo, why = ("next_key %s", at.folder), "make a key for the certificate"
    request = change(c, NEW_KEY, at.folder, user=at.login, why=why, undo=undo)
    signed, own = "", ""
    if ca and request:
        signed, own = authority.sign(ca, request.out, wanted), ca.pem
    sha256 = hashlib.sha256(signed.encode()).hexdigest()
    change(
        c,
        REPLACE + RELOAD_APACHE if at.login is None else REPLACE,
        *(at.folder, signed, own),
        user=at.login,
        why=f"issue a certificate for {title} ({reason})",
        undo=("certificate %s %s", at.folder, sha256),
        keep=at.files,
        then={"https.key": f"600 {at.account}", "https.pair": "yes"},
    )
    if own:
        remember_ca(alias, own)


def make_readable(c: Connection, have: Https, at: Location) -> None:
    """Correct the mode and owner of certificate and CA, and make the CA known here."""
    for name, file in (("cert", have.cert), ("ca", have.ca)):
        path = f"{at.folder}/{name}.pem"
        if file:
            why = f"make {path} readable"
            put(c, path, file.content, why=why, old=file, mode="644", owner=at.account)
    if have.ca and not Host.of(c).planning:
        remember_ca(alias_of(c, Settings.of(c)), have.ca.content)


def remember_ca(alias: str, ca: str) -> None:
    """Keep the CA on this laptop; say what to do if it is new here."""
    if vault.store_ca(alias, ca):
        console.note(
            "browsers will warn about the certificate until this laptop trusts the lab's CA: "
            f"fab -H {alias} https.trust"
        )
