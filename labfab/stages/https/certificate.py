"""Certificate: issue, renew and delete the certificate of a published JupyterLab.

Owns: key.pem, cert.pem, ca.pem in ~/.jupyter/tls (publish: https) or /etc/labfab/tls (publish:
apache).  Undo: https.delete
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from fabric import Connection

from ... import console
from ...certificates import acme, certbot, certificate, own_ca, renewal
from ...certificates.location import Location, location_of, published_settings
from ...errors import SetupError
from ...facts import facts
from ...host.changes import change
from ...host.session import Host
from ...run.task import host_task
from ...settings import Settings
from ...text import json_text
from .. import user

if TYPE_CHECKING:
    from ...facts.records import Facts


@host_task(default=True)
def issue(c: Connection) -> None:
    """Issue a certificate, as the setting `certificate` says."""
    if Settings.of(c).certificate == "letsencrypt":
        letsencrypt(c)
    else:
        self_signed(c)


@host_task(name="self-signed")
def self_signed(c: Connection) -> None:
    """Issue a certificate signed by the lab's own CA."""
    published_settings(c)
    user.add(c)
    own_ca.ensure(c)
    certbot.delete(c)


@host_task(
    help={"staging": "Use Let's Encrypt's staging server, for testing: no browser trusts it"}
)
def letsencrypt(c: Connection, staging: bool = False) -> None:
    """Get a certificate from Let's Encrypt that renews itself."""
    published_settings(c)
    want = Settings.of(c, acme_server="staging" if staging else None)
    acme.require_email(c, want)
    user.add(c)
    certbot.ensure(c, want)


@host_task
def renew(c: Connection) -> None:
    """Renew the certificate now."""
    want = published_settings(c)
    user.add(c)
    if want.certificate == "letsencrypt":
        certbot.renew(c, want)
    else:
        own_ca.sign(c, "renewed")


@host_task(reads=True, help={"json": "Print JSON, as docs/https.md describes it"})
def status(c: Connection, json: bool = False) -> None:
    """Show who issued the certificate and when it expires."""
    found = described(c)
    if json:
        console.say(json_text(found))
    elif found["names"]:
        names = ", ".join(found["names"])
        console.say(f"{found['kind']} certificate for {names}, issued by {found['issuer']}")
        console.say(f"{found['days_left']} days left, until {found['ends']}; {found['renewal']}")
    elif found["published"]:
        console.say("there is no certificate: https.issue")
    else:
        console.say("nothing is published, so there is no certificate")


def described(c: Connection) -> dict[str, Any]:
    """Describe the certificate on the host, as docs/https.md lists it."""
    want, have = Settings.of(c), facts(c)
    cert = have.https.cert
    found = certificate.read(cert.content) if cert else None
    if found is None:
        return {"published": want.published, "names": []}
    kind = kind_of(have)
    return {
        "published": want.published,
        "names": list(found.names),
        "kind": kind,
        "issuer": found.issuer,
        "serial": found.serial,
        "ends": time.strftime("%Y-%m-%d", time.gmtime(found.ends)),
        "days_left": found.days_left,
        "renewal": renewed_by(c, kind),
    }


def kind_of(have: Facts) -> str:
    """Return "self-signed" if the lab's own CA issued it, "letsencrypt", or else "foreign"."""
    cert, ca = have.https.cert, have.https.ca
    if cert and ca and certificate.signed_by(cert.content, ca.content):
        return "self-signed"
    return "letsencrypt" if have.acme.hook else "foreign"


def renewed_by(c: Connection, kind: str) -> str:
    """Describe what renews a certificate of this kind."""
    if kind == "self-signed":
        days = own_ca.RENEW_DAYS
        return f"https.issue and setup.full renew it in its last {days} days, https.renew now"
    return renewal.describe(c) if kind == "letsencrypt" else "not by labfab"


@host_task
def delete(c: Connection) -> None:
    """Delete the certificate and its key from the host."""
    want, have, at = published_settings(c), facts(c), location_of(c)
    exists = bool(have.https.key_stat or have.https.cert or have.https.ca)
    if exists:
        refuse_served(want, have, Host.of(c).label)
    certbot.delete(c)  # even if only its files are left: they would bring the others back
    if exists:
        remove(c, at, {"https.key": None, "https.cert.stat": None, "https.ca.stat": None})
    delete_unused(c, want)


def refuse_served(want: Settings, have: Facts, label: str) -> None:
    """Raise SetupError if the certificate is in use."""
    if want.publish == "https" and have.lab.api:
        raise SetupError("JupyterLab serves this certificate: stop it first, lab.stop", host=label)
    if want.publish == "apache" and have.proxy.enabled:
        raise SetupError(
            "Apache serves this certificate: remove its site first, setup.undo --to proxy",
            host=label,
        )


def delete_unused(c: Connection, want: Settings) -> None:
    """Delete the certificate and key of another `publish`, unless something still serves it."""
    have = facts(c)
    if not have.https.elsewhere:
        return
    other = "https" if want.publish == "apache" else "apache"
    at = location_of(c, other)
    if in_use(have, other):
        console.note(
            f"the certificate in {at.folder} is still in use: "
            "the next setup.full or https.delete deletes it"
        )
        return
    remove(c, at, {"https.elsewhere": None})


def in_use(have: Facts, publish: str) -> bool:
    """Return whether the certificate of this other `publish` is still served.

    JupyterLab serves it until it has restarted with its new configuration.
    """
    if publish == "apache":
        return have.proxy.enabled
    return have.lab.stale or bool(have.lab.owner and not have.lab.api)


def remove(c: Connection, at: Location, then: dict[str, None]) -> None:
    """Delete the files of a certificate. then: the facts that vanish with them."""
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
