"""HTTPS: which TLS versions and which certificate the published port offers."""

from __future__ import annotations

import ssl
import time

from ..certificates import own_ca
from ..certificates.certificate import Certificate
from ..text import counted
from . import https_front, ports
from .findings import NotChecked, Warned, Wrong
from .https_front import Served, Trust
from .probe import Probe, answers
from .rows import PUBLISHED, check

DAY = 86400
OWN_DAYS = 14  # of our own certificates, which somebody has to renew
# OpenSSL's numbers of what is wrong with a certificate.
NOT_YET, ENDED, NOT_PERMITTED = (9, 13), (10, 14), (47, 48)
NO_ISSUER, SELF_SIGNED, OTHER_NAME = (2, 20, 21), (18, 19), (62, 64)
# OpenSSL's reasons if it does not support an old version itself.
NO_OLD_TLS = (
    "NO_CIPHERS_AVAILABLE",
    "NO_PROTOCOLS_AVAILABLE",
    "NO_CIPHER_MATCH",
    "UNSUPPORTED_PROTOCOL",
)
RESTART = "jupyter.configure lab.stop lab.start"


def server(probe: Probe) -> str:
    """Return the tasks that set up what serves the published port."""
    return "proxy.apache" if probe.want.publish == "apache" else RESTART


@check("https-reach", "browsers reach it", mend="firewall.enable", publish=PUBLISHED)
def handshake(probe: Probe) -> str:
    """Shake hands with the published port."""
    ports.outside(probe)
    port = probe.want.public_port
    if not answers(probe.c.host, port):
        raise why_silent(probe, port)
    try:
        protocol = https_front.served(probe).protocol
    except (OSError, IndexError):
        raise Wrong(f"port {port} answers, but not with TLS", server(probe)) from None
    return f"{probe.c.host}, port {port}, {protocol}"


def why_silent(probe: Probe, port: int) -> Wrong:
    """Return why the published port does not answer from here, as far as the host shows."""
    if probe.problem:
        return Wrong(f"port {port} does not answer", "")
    if port not in ports.reachable(probe):
        mend = "proxy.apache" if probe.want.publish == "apache" else "lab.start"
        return Wrong(f"nothing listens on port {port} there", mend)
    if not probe.powerless:
        firewall = probe.facts.firewall
        if firewall.active and port not in firewall.allowed:
            return Wrong(f"the host's firewall refuses port {port}")
    return Wrong(
        f"port {port} does not answer from here, though it listens there: "
        "a router or a cloud firewall blocks it",
        f"open TCP port {port} there",
    )


@check(
    "https-tls",
    "TLS before 1.2 is refused",
    mend="proxy.apache",
    needs=["https-reach"],
    publish=PUBLISHED,
)
def version(probe: Probe) -> str:
    """Shake hands with TLS 1.0 and 1.1."""
    try:
        with https_front.tls_connection(probe, https_front.old_tls_context()) as there:
            accepted = there.version()
    except ssl.SSLError as error:
        if error.reason in NO_OLD_TLS:
            raise NotChecked("this machine's own OpenSSL supports no older version") from None
        return "tried 1.0 and 1.1"
    except (ConnectionError, EOFError):
        return "tried 1.0 and 1.1"
    raise Wrong(f"it speaks {accepted}", server(probe))


@check(
    "https-days",
    "the certificate is valid for long enough",
    mend="https.renew",
    needs=["https-reach"],
    publish=PUBLISHED,
)
def days(probe: Probe) -> str:
    """Look at the certificate's first and last day."""
    found, now = https_front.served(probe).certificate, time.time()
    life, left = found.ends - found.begins, found.ends - now
    if found.begins > now:
        begins = in_days(found.begins - now)
        raise Wrong(f"it begins in {begins}: is the host's clock right, and yours?")
    if left < 0:
        raise Wrong(f"it ended {in_days(-left)} ago")
    enough = OWN_DAYS * DAY if probe.want.certificate == "self-signed" else life / 3
    if left < enough:
        raise Warned(f"{in_days(left)} left, of {in_days(life)}")
    return f"{in_days(left)} left, of {in_days(life)}"


def in_days(seconds: float) -> str:
    """Return whole days, or hours below one day."""
    if seconds < DAY:
        return f"{round(seconds / 3600)} h"
    return counted(round(seconds // DAY), "day")


@check(
    "https-chain",
    "the certificate's issuer is trusted",
    mend="https.issue",
    needs=["https-days"],
    publish=PUBLISHED,
)
def chain(probe: Probe) -> str:
    """Verify the chain as a browser does, without the names."""
    # The names are the next row's question.
    trust = https_front.trust(probe, with_names=False)
    try:
        with https_front.tls_connection(probe, trust.context):
            return f"by {trust.whom}"
    except ssl.SSLCertVerificationError as error:
        raise Wrong(flaw(error, https_front.served(probe), trust)) from None


def flaw(error: ssl.SSLCertVerificationError, found: Served, trust: Trust) -> str:
    """Describe what is wrong with a chain whose first certificate is valid today."""
    last, code = found.sent[-1], error.verify_code
    if code in ENDED:
        return "expired: a certificate in its chain has ended"
    if code in NOT_YET:
        return "a certificate in its chain is not valid yet"
    if code in SELF_SIGNED and not trust.own_ca:
        text = f"{last.issuer} signed its own certificate, and is not one of {trust.whom}"
        return f"unknown issuer: {text}"
    if code in NO_ISSUER and not trust.own_ca and len(found.sent) == 1:
        text = f"the certificate of {last.issuer}, which signed it, is not sent with it"
        return f"incomplete chain: {text}"
    if code in SELF_SIGNED + NO_ISSUER:
        return unknown(last, trust)
    if code in NOT_PERMITTED:
        return f"{last.issuer} may not vouch for its names"
    return error.verify_message


def unknown(last: Certificate, trust: Trust) -> str:
    """Describe a chain whose last certificate is signed by nobody we trust."""
    trusted = trust.whom if trust.own_ca else f"one of {trust.whom}"
    return f"unknown issuer: {last.issuer}, which is not {trusted}"


@check(
    "https-names",
    "the certificate is for every name",
    mend="https.issue",
    needs=["https-chain"],
    publish=PUBLISHED,
)
def names(probe: Probe) -> str:
    """Ask for each name, because a server may present a different certificate for each."""
    context, wanted, missing = https_front.trust(probe).context, https_front.names(probe), []
    for name in wanted:
        try:
            with https_front.tls_connection(probe, context, name):
                pass
        except ssl.SSLCertVerificationError as error:
            known = error.verify_code in OTHER_NAME
            missing.append(name if known else f"{name} ({error.verify_message})")
    if missing:
        has = ", ".join(https_front.served(probe).certificate.names) or "none"
        raise Wrong(f"not for {', '.join(missing)}, but for {has}")
    return ", ".join(wanted)


@check(
    "https-renewal",
    "the certificate is renewed in time",
    mend="https.issue",
    needs=["https-reach", "ssh-login"],
    publish=PUBLISHED,
)
def renewal(probe: Probe) -> str:
    """Look for certbot's timer and our deploy hook, or at the days left of our own certificate."""
    if probe.want.certificate == "self-signed":
        return by_hand(https_front.served(probe).certificate.days_left)
    probe.needs_root()
    timers = sorted(key.removeprefix("timer.") for key in probe.audit if key.startswith("timer."))
    hook = probe.facts.acme.hook
    if not timers:
        raise Wrong("no timer of certbot runs")
    if hook is None:
        raise Wrong(
            "nothing passes a renewed certificate on to JupyterLab: the deploy hook is missing"
        )
    if not int(hook.mode, 8) & 0o100:
        raise Wrong(f"the deploy hook cannot run: its mode is {hook.mode}")
    return f"{', '.join(timers)} and the deploy hook are there"


def by_hand(left: int) -> str:
    """Return how our own certificates are renewed. Raises Warned if it is time. left: in days."""
    if left < own_ca.RENEW_DAYS:
        raise Warned(f"{left} days left, and nothing renews it by itself", "https.renew")
    return f"by setup.full or https.renew, from {own_ca.RENEW_DAYS} days before its end"
