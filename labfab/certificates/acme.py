"""Acme: which server to ask for certificates, and, in one line, why it issued none.

Owns: nothing.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from fabric import Connection

from ..errors import SetupError
from ..host.session import Host
from ..settings import Settings

if TYPE_CHECKING:
    from ..facts.records import Firewall

# The setting acme_server -> the address of the server's directory.
SERVERS = {
    "": "https://acme-v02.api.letsencrypt.org/directory",
    "staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
}
TITLES = {SERVERS[""]: "Let's Encrypt", SERVERS["staging"]: "Let's Encrypt's staging"}
# certbot's report about a name that the server could not verify.
PROBLEM = r"(?m)^ *(?:Domain|Identifier): +(\S+)\n *Type: +(\S+)\n *Detail: +(.+)$"
# What certbot says -> what it means. {said} is its sentence, {server} the server's title.
MEANINGS = (
    (
        r"rateLimited|too many|[Rr]ate limit",
        "{server} issues no more for now ({said}): wait, or test with acme_server: staging",
    ),
    (
        r"invalidContact|[Ii]nvalid email|parse contact|unsupportedContact",
        "{server} rejects the mail address: correct email",
    ),
    (
        r"rejectedIdentifier|by policy|public suffix",
        "{server} issues none for this name ({said}): correct names",
    ),
    (
        r"externalAccountRequired|external account",
        "{server} requires an account opened elsewhere: run `certbot register` for it there first",
    ),
    (
        r"userActionRequired|[Tt]erms of [Ss]ervice",
        "the terms of {server} have changed: agree to them there with `certbot register`",
    ),
    (
        r"bind TCP port 80|port 80 because",
        "another program has taken port 80: set webroot to the folder that it serves there",
    ),
    (
        r"plugin does not appear",
        "this certbot has no Apache plugin: install it there, "
        "or set webroot to the folder that Apache serves",
    ),
    (
        r"Another instance of Certbot",
        "another certbot is at work there: run this again when it has finished",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|SSLError",
        "the host does not trust {server}: correct acme_server, or install its CA there",
    ),
    (
        r"NameResolution|Name or service|failure in name|No address associated",
        "the host cannot find {server}: correct acme_server",
    ),
    (
        r"Connection refused|Connect\w*Error|Connect\w*Timeout|timed out|unreachable",
        "the host cannot reach {server}: correct acme_server",
    ),
    (
        r"Response \[|JSONDecodeError|ClientError|KeyError",
        "no ACME server answers at {url}: correct acme_server",
    ),
)
# What certbot's hook says if it cannot answer (on_host/certbot_hook.sh).
CANNOT_ANSWER = r"labfab-webroot: (.+)$"
# Lines of certbot's output that say nothing about the cause.
NOISE = (
    r"^(Saving debug log|Ask for help|Some challenges|Requesting a|Renewing an|An unexpected error"
    r"|Processing /|[- ]*$|Hint:|Failed to renew|All renewals|\d+ renew failure"
    r"|Account registered|  /etc)"
)
# What Python and the acme library put in front of their messages.
ERROR_CLASS = r"^(?:[\w.]+(?:Error|Exception): )?(?:.* :: )?"


class Addresses(NamedTuple):
    """The addresses that DNS has for each name, and those of the host itself."""

    names: dict[str, list[str]]
    own: list[str]

    def elsewhere(self, name: str) -> str:
        """Return a name's addresses if none of them is the host's; empty if none is known."""
        found = self.names.get(name, [])
        return "" if not found or set(found) & set(self.own) else ", ".join(found)


def server(want: Settings) -> str:
    """Return the directory URL of the server in the settings."""
    return SERVERS.get(want.acme_server, want.acme_server)


def title(url: str) -> str:
    """Return the server's name for messages."""
    return TITLES.get(url) or urlsplit(url).netloc


def require_email(c: Connection, want: Settings) -> None:
    """Raise SetupError, before anything is changed, if the settings have no mail address."""
    if not want.email:
        raise SetupError(
            f"{title(server(want))} requires a mail address for your account there: set email",
            host=Host.of(c).label,
        )


def refuse_closed(label: str, have: Firewall) -> None:
    """Raise SetupError if the host's own firewall blocks the server's request to port 80."""
    if have.active and have.incoming != "allow" and 80 not in have.allowed:
        raise SetupError(
            "the firewall blocks port 80, which the ACME server must reach: firewall.enable",
            host=label,
        )


def addresses(c: Connection, own: list[str], found: dict[str, list[str]]) -> Addresses:
    """Compare the names' addresses with the host's. Raises SetupError for a name without any.

    own: the host's addresses. found: name -> its addresses, as the host resolves it.
    A name that leads elsewhere may be right, behind a router or a proxy: the server will see.
    """
    for name, places in found.items():
        if not places:
            raise SetupError(
                f"{name} has no address in the DNS: add a record for it that leads to {c.host}",
                host=Host.of(c).label,
            )
    # /etc/hosts of a cloud machine often has a loopback address for its own name, which says
    # nothing about the DNS.
    known = {
        name: [one for one in places if not ipaddress.ip_address(one).is_loopback]
        for name, places in found.items()
    }
    return Addresses(names=known, own=[*own, c.host])


def explain(said: str, url: str, known: Addresses, webroot: str) -> str:
    """Return one line that says what certbot's output means and what to do.

    said: the output. url: the server. known: where the names lead. webroot: the setting.
    """
    cannot = re.search(CANNOT_ANSWER, said, re.MULTILINE)
    if cannot:
        return f"{shortened(cannot[1])}: correct webroot"
    problem = re.search(PROBLEM, said)
    if problem:
        name, kind, detail = problem.groups()
        return explain_name(name, kind, detail, known, webroot)
    told = [line.strip() for line in said.splitlines() if not re.match(NOISE, line)]
    last = re.sub(ERROR_CLASS, "", told[-1]) if told else "it said nothing"
    for pattern, meaning in MEANINGS:
        if re.search(pattern, said):
            return meaning.format(server=title(url), url=url, said=shortened(last))
    return last


def shortened(text: str) -> str:
    """Cut a text to 160 characters at most."""
    return text if len(text) <= 160 else f"{text[:157]}…"


def explain_name(name: str, kind: str, detail: str, known: Addresses, webroot: str) -> str:
    """Return why the server could not confirm that a name is the host's."""
    place, said = known.elsewhere(name), shortened(detail)
    if kind == "dns" or "could not resolve" in detail or "NXDOMAIN" in detail:
        return (
            f"the server finds no address for {name} in the DNS: add a record for it; "
            f"a new one takes a while ({said})"
        )
    if kind == "caa":
        return f"the CAA record of {name} does not allow this CA to issue: correct it in the DNS"
    if place:
        return (
            f"{name} leads to {place}, and the host is {known.own[0]}: "
            "correct its record in the DNS"
        )
    if kind == "connection":
        return (
            f"port 80 of {name} cannot be reached from outside: "
            f"open it in the cloud's firewall or the router ({said})"
        )
    if kind == "unauthorized" and webroot:
        return (
            f"webroot {webroot} is not the folder that http://{name}/ shows: "
            f"correct webroot ({said})"
        )
    return (
        f"what answers at http://{name}/ is not this host: correct its record in the DNS ({said})"
    )
