"""Own CA: a certificate by the CA of this one lab, signed on your machine.

Owns: key.pem, cert.pem, ca.pem where they are served.  Undo: those of before
"""

from __future__ import annotations

import hashlib

from fabric import Connection

from .. import console
from ..facts import facts
from ..host.alias import alias_of
from ..host.changes import change, put
from ..host.session import Host
from ..platforms import platform
from ..settings import Settings
from . import authority, certificate, constraints, vault
from .location import loopback, make_folder, names, place

ENOUGH = 30  # days that a certificate must last, not to be issued anew
# openssl writes a key for its owner only, whatever the umask; a link that lies there is not followed.
NEW_KEY = """\
set -eu; umask 077; cd -P %s; rm -f next-*.pem
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out next-key.pem
openssl req -new -key next-key.pem -subj /CN=labfab
"""
# All at once: who serves them reads them anew with each connection, and must not find one without the other. A link to a folder
# would swallow the new file, and macOS has no mv -T.
REPLACE = """\
set -eu; umask 022; cd -P %s
printf %%s %s >next-cert.pem; printf %%s %s >next-ca.pem
key=$(openssl pkey -in next-key.pem -pubout); cert=$(openssl x509 -in next-cert.pem -noout -pubkey); [ "$key" = "$cert" ]
for name in key cert ca; do
  if [ -d $name.pem ]; then [ -L $name.pem ]; rm -f $name.pem; fi
  mv -f next-$name.pem $name.pem
done
"""
APACHE = "if systemctl -q is-active apache2; then systemctl reload apache2; fi"


def all_names(c: Connection) -> list[str]:
    """The names of the lab's own certificate: JupyterLab's is good at the end of a tunnel too."""
    return list(dict.fromkeys(map(certificate.plain, [*names(c), *loopback(Settings.of(c))])))


def ensure(c: Connection) -> None:
    """Have a certificate that is right, with the same CA known on this machine."""
    reason = lacking(c)
    if reason:
        sign(c, reason)
    else:
        mend(c)


def lacking(c: Connection) -> str:
    """Why the certificate that is there will not do; empty: it will."""
    have, at = facts(c).https, place(c)
    found = certificate.read(have.cert.content) if have.cert else None
    if found is None or not have.key_stat:
        return "there is none"
    if have.key_stat != f"600 {at.account}":
        return "others could read its key"
    if not have.pair:
        return "its key is another one"
    if not have.ca or not certificate.signed_by(have.cert.content, have.ca.content):
        return "it is not of this lab's CA"
    if not set(found.names) == set(all_names(c)) == constraints.permitted(have.ca.content):
        return "the names are others now"
    return f"the old one ends in {found.days_left} days" if found.days_left <= ENOUGH else ""


def sign(c: Connection, reason: str) -> None:
    """Let the host make a key, sign it here, and put all in place."""
    at, wanted, alias = place(c), all_names(c), alias_of(c, Settings.of(c))
    ca = (
        None if Host.of(c).planning else vault.open_(alias, wanted)
    )  # before the host is touched: its passphrase may be wrong
    make_folder(c, at)
    platform(c).install(c, "openssl")
    undo = ("next_key %s", at.folder)
    request = change(
        c, NEW_KEY, at.folder, user=at.login, why="make a key for the certificate", undo=undo
    )
    signed, own = (authority.sign(ca, request.out, wanted), ca.pem) if ca and request else ("", "")
    sha256 = hashlib.sha256(signed.encode()).hexdigest()
    change(
        c,
        REPLACE + APACHE if at.login is None else REPLACE,
        at.folder,
        signed,
        own,
        user=at.login,
        why=f"issue a certificate for {', '.join(names(c))} ({reason})",
        undo=("certificate %s %s", at.folder, sha256),
        keep=at.files,
        then={"https.key": f"600 {at.account}", "https.pair": "yes"},
    )
    if own:
        tell_of_trust(alias, vault.remember(alias, own))


def mend(c: Connection) -> None:
    """Let the certificate and its CA be readable, and the CA be known on this machine."""
    have, at, alias = facts(c).https, place(c), alias_of(c, Settings.of(c))
    for name, file in (("cert", have.cert), ("ca", have.ca)):
        path = f"{at.folder}/{name}.pem"
        put(
            c,
            path,
            file.content,
            why=f"let {path} be readable",
            old=file,
            mode="644",
            owner=at.account,
        )
    if not Host.of(c).planning:
        tell_of_trust(alias, vault.remember(alias, have.ca.content))


def tell_of_trust(alias: str, new: bool) -> None:
    if new:
        console.note(
            f"browsers will warn of it until your machine trusts this lab's CA: fab -H {alias} https.trust"
        )
