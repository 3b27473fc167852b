"""Https: the certificate of a published JupyterLab, and its renewal.

Owns: key.pem, cert.pem, ca.pem in ~/.jupyter/tls (publish: https) or /etc/labfab/tls (publish: apache).  Undo: https.delete
"""

from __future__ import annotations

import time
from json import dumps
from typing import Any

from fabric import Connection

from ... import console
from ...certificates import acme, certbot, certificate, own_ca, renewal
from ...certificates.location import Place, names, place, published
from ...errors import SetupError
from ...facts import facts
from ...host.changes import change
from ...host.session import Host
from ...run.task import host_task
from ...settings import Settings
from .. import user

__all__ = [
    "delete",
    "issue",
    "letsencrypt",
    "names",
    "place",
    "published",
    "renew",
    "self_signed",
    "status",
]


@host_task(default=True)
def issue(c: Connection) -> None:
    """Have a certificate, as `certificate` says."""
    if Settings.of(c).certificate == "letsencrypt":
        letsencrypt(c)
    else:
        self_signed(c)


@host_task(name="self-signed")
def self_signed(c: Connection) -> None:
    """Have a certificate of the lab's own CA."""
    published(c)
    user.add(c)
    own_ca.ensure(c)
    certbot.delete(c)


@host_task(
    help={"staging": "From Let's Encrypt's staging server: for trying, no browser trusts it"}
)
def letsencrypt(c: Connection, staging: bool = False) -> None:
    """Have a certificate of Let's Encrypt that renews itself."""
    published(c)
    want = Settings.of(c, acme_server="staging" if staging else None)
    acme.refuse(c, want)
    user.add(c)
    certbot.ensure(c, want)


@host_task
def renew(c: Connection) -> None:
    """Issue the certificate anew, now."""
    want = published(c)
    user.add(c)
    if want.certificate == "letsencrypt":
        certbot.renew(c, want)
    else:
        own_ca.sign(c, "renewed")


@host_task(reads=True, help={"json": "Print JSON, as docs/https.md describes it"})
def status(c: Connection, json: bool = False) -> None:
    """Tell whose certificate is served, and for how long."""
    found = described(c)
    if json:
        console.say(dumps(found, indent=2, ensure_ascii=False))
    elif not found["names"]:
        console.say(
            "there is no certificate: https.issue"
            if found["published"]
            else "nothing is published, so there is no certificate"
        )
    else:
        console.say(
            f"{found['kind']} certificate for {', '.join(found['names'])}, issued by {found['issuer']}"
        )
        console.say(f"{found['days_left']} days left, until {found['ends']}; {found['renewal']}")


def described(c: Connection) -> dict[str, Any]:
    """What there is to know of the certificate on the host."""
    want, have = Settings.of(c), facts(c).https
    found = certificate.read(have.cert.content) if have.cert else None
    if found is None:
        return {"published": want.published, "names": []}
    own = bool(have.ca and certificate.signed_by(have.cert.content, have.ca.content))
    kind = "self-signed" if own else "letsencrypt" if facts(c).acme.hook else "foreign"
    by_hand = (
        f"https.issue and setup.full renew it from {own_ca.ENOUGH} days before, https.renew at once"
    )
    return {
        "published": want.published,
        "names": list(found.names),
        "kind": kind,
        "issuer": found.issuer,
        "serial": found.serial,
        "ends": time.strftime("%Y-%m-%d", time.gmtime(found.ends)),
        "days_left": found.days_left,
        "renewal": by_hand
        if own
        else renewal.described(c)
        if kind == "letsencrypt"
        else "not by labfab",
    }


@host_task
def delete(c: Connection) -> None:
    """Delete the certificate and its key from the host."""
    want, have, at = published(c), facts(c).https, place(c)
    there = bool(have.key_stat or have.cert or have.ca)
    if there and want.publish == "https" and facts(c).lab.api:
        raise SetupError(
            f"{Host.of(c).label}: JupyterLab serves this certificate: stop it first, lab.stop"
        )
    if there and want.publish == "apache" and facts(c).proxy.enabled:
        raise SetupError(
            f"{Host.of(c).label}: Apache serves this certificate: take its site away first, setup.undo --to proxy"
        )
    certbot.delete(c)  # also where only that is left, or it would bring the files back
    if there:
        remove(c, at, {"https.key": None, "https.cert.stat": None, "https.ca.stat": None})
    forsake(c)


def forsake(c: Connection) -> None:
    """Delete the certificate that another `publish` had, and its key, once nothing serves it any more."""
    have = facts(c)
    if not have.https.elsewhere:
        return
    other = "https" if Settings.of(c).publish == "apache" else "apache"
    if (
        have.proxy.enabled
        if other == "apache"
        else have.lab.stale or (have.lab.owner and not have.lab.api)
    ):
        console.note(
            f"the certificate in {place(c, other).folder} is still in use: it goes with the next setup.full or https.delete"
        )
        return
    remove(c, place(c, other), {"https.elsewhere": None})


def remove(c: Connection, at: Place, then: dict[str, None]) -> None:
    change(
        c,
        "rm -f %s %s %s",
        *at.files,
        user=at.login,
        why=f"delete the certificate in {at.folder}",
        undo=("certificate %s none", at.folder),
        keep=at.files,
        then=then,
    )
