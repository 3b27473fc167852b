"""Tls: what the published port shows to everybody before a word is said: its certificate, and what it lets itself in for."""

from __future__ import annotations

import ssl
import time

from ..certificates import certificate, own_ca
from . import https_front, ports
from .probe import Look
from .rows import PUBLISHED, Doubtful, Unseen, Wrong, check

DAY = 86400
OWN_DAYS = 14  # of our own certificates, which somebody has to renew
# OpenSSL's numbers of what is wrong with a certificate
NOT_YET, ENDED, NOT_PERMITTED = (9, 13), (10, 14), (47, 48)
NO_ISSUER, BY_ITSELF, OTHER_NAME = (2, 20, 21), (18, 19), (62, 64)
RESTART = "jupyter.configure lab.stop lab.start"


def server(look: Look) -> str:
    """The tasks that set up again whoever serves the published port."""
    return "proxy.apache" if look.want.publish == "apache" else RESTART


@check("https-reach", "browsers reach it", mend="firewall.enable", publish=PUBLISHED)
def reach(look: Look) -> str:
    ports.outside(look)
    port = look.want.public_port
    if not ports.answers(look.c.host, port):
        raise behind(look, port)
    try:
        protocol = https_front.served(look).protocol
    except (OSError, IndexError):
        raise Wrong(f"port {port} answers, but not with TLS", server(look)) from None
    return f"{look.c.host}, port {port}, {protocol}"


def behind(look: Look, port: int) -> Wrong:
    """Why the published port does not answer from here, as far as the host can tell."""
    if look.problem:
        return Wrong(f"port {port} does not answer", "")
    if port not in ports.reachable(look):
        return Wrong(
            f"nothing listens on port {port} there",
            "proxy.apache" if look.want.publish == "apache" else "lab.start",
        )
    if (
        not look.powerless
        and look.facts.firewall.active
        and port not in look.facts.firewall.allowed
    ):
        return Wrong(f"the host's firewall refuses port {port}")
    return Wrong(
        f"port {port} does not answer from here, though it listens there: a router or a cloud firewall stands before the host",
        f"let TCP port {port} through there",
    )


@check(
    "https-tls",
    "TLS before 1.2 is refused",
    mend="proxy.apache",
    needs=["https-reach"],
    publish=PUBLISHED,
)
def version(look: Look) -> str:
    try:
        with https_front.line(look, https_front.ancient()) as there:
            taken = there.version()
    except ssl.SSLError as error:
        if error.reason in (
            "NO_CIPHERS_AVAILABLE",
            "NO_PROTOCOLS_AVAILABLE",
            "NO_CIPHER_MATCH",
            "UNSUPPORTED_PROTOCOL",
        ):
            raise Unseen("this machine's own OpenSSL speaks no older one") from None
        return "tried 1.0 and 1.1"
    except (ConnectionError, EOFError):
        return "tried 1.0 and 1.1"
    raise Wrong(f"it speaks {taken}", server(look))


@check(
    "https-days",
    "the certificate lasts",
    mend="https.renew",
    needs=["https-reach"],
    publish=PUBLISHED,
)
def days(look: Look) -> str:
    found, now = https_front.served(look).certificate, time.time()
    if found.begins > now:
        raise Wrong(
            f"it begins in {in_days(found.begins - now)}: is the host's clock right, and yours?"
        )
    if found.ends < now:
        raise Wrong(f"it ended {in_days(now - found.ends)} ago")
    life, left = found.ends - found.begins, found.ends - now
    if left < (OWN_DAYS * DAY if look.want.certificate == "self-signed" else life / 3):
        raise Doubtful(f"{in_days(left)} left, of {in_days(life)}")
    return f"{in_days(left)} left, of {in_days(life)}"


def in_days(seconds: float) -> str:
    count = round(seconds // DAY)
    return f"{count} day{'s' * (count != 1)}" if seconds >= DAY else f"{round(seconds / 3600)} h"


@check(
    "https-chain",
    "the certificate is vouched for",
    mend="https.issue",
    needs=["https-days"],
    publish=PUBLISHED,
)
def chain(look: Look) -> str:
    trust = https_front.trust(look)
    trust.context.check_hostname = False  # the next row's question
    try:
        with https_front.line(look, trust.context):
            return f"by {trust.whom}"
    except ssl.SSLCertVerificationError as error:
        raise Wrong(flaw(error, https_front.served(look), trust.whom)) from None


def flaw(error: ssl.SSLCertVerificationError, found: https_front.Served, whom: str) -> str:
    """What is wrong with a chain, in words; of its certificates the days are right if the first one's are."""
    last = found.sent[-1]
    if error.verify_code in ENDED:
        return "expired: a certificate that vouches for it has ended"
    if error.verify_code in NOT_YET:
        return "a certificate that vouches for it has not begun"
    if error.verify_code in BY_ITSELF:
        return (
            f"unknown issuer: {last.issuer} vouches for itself, and is not one of {whom}"
            if whom[-2:] != "CA"
            else unknown(last, whom)
        )
    if error.verify_code in NO_ISSUER and whom[-2:] != "CA" and len(found.sent) == 1:
        return f"incomplete chain: the certificate of {last.issuer}, which signed it, is not sent along"
    if error.verify_code in NO_ISSUER:
        return unknown(last, whom)
    if error.verify_code in NOT_PERMITTED:
        return f"{last.issuer} may not vouch for its names"
    return error.verify_message


def unknown(last: certificate.Certificate, whom: str) -> str:
    return f"unknown issuer: {last.issuer}, which is not {whom if whom[-2:] == 'CA' else f'one of {whom}'}"


@check(
    "https-names",
    "the certificate is for every name",
    mend="https.issue",
    needs=["https-chain"],
    publish=PUBLISHED,
)
def names(look: Look) -> str:
    """Ask by each name, as a server may show another certificate to each."""
    context, wanted, missing = https_front.trust(look).context, https_front.names(look), []
    for name in wanted:
        try:
            with https_front.line(look, context, name):
                pass
        except ssl.SSLCertVerificationError as error:
            missing.append(
                name if error.verify_code in OTHER_NAME else f"{name} ({error.verify_message})"
            )
    if missing:
        raise Wrong(
            f"not for {', '.join(missing)}, but for {', '.join(https_front.served(look).certificate.names) or 'none'}"
        )
    return ", ".join(wanted)


@check(
    "https-renewal",
    "the certificate is renewed in time",
    mend="https.issue",
    needs=["https-reach", "ssh-login"],
    publish=PUBLISHED,
)
def renewal(look: Look) -> str:
    if look.want.certificate == "self-signed":
        return by_hand(https_front.served(look).certificate.days_left)
    look.needs_root()
    timers = sorted(key.removeprefix("timer.") for key in look.audit if key.startswith("timer."))
    hook = look.facts.acme.hook
    if not timers:
        raise Wrong("no timer of certbot runs")
    if hook is None:
        raise Wrong("nothing hands a new certificate on to JupyterLab: the deploy hook is missing")
    if not int(hook.mode, 8) & 0o100:
        raise Wrong(f"the deploy hook cannot run: its mode is {hook.mode}")
    return f"{', '.join(timers)} and the deploy hook are there"


def by_hand(left: int) -> str:
    """Our own certificates are renewed by you. Raises Doubtful when it is time."""
    if left < own_ca.ENOUGH:
        raise Doubtful(f"{left} days left, and nothing renews it by itself", "https.renew")
    return f"by setup.full or https.renew, from {own_ca.ENOUGH} days before its end"
