"""Acme: which server is asked for certificates, and in one line why it gave none.

Owns: nothing.
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple
from urllib.parse import urlsplit

from fabric import Connection

from ..errors import SetupError
from ..facts import facts
from ..host.session import Host
from ..settings import Settings

SERVERS = {
    "": "https://acme-v02.api.letsencrypt.org/directory",
    "staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
}
TITLES = {SERVERS[""]: "Let's Encrypt", SERVERS["staging"]: "Let's Encrypt's staging"}
# What certbot says of each name that the server could not check.
PROBLEM = r"(?m)^ *(?:Domain|Identifier): +(\S+)\n *Type: +(\S+)\n *Detail: +(.+)$"
# What certbot says -> what it means; {said} is the sentence itself, {server} who said it.
MEANINGS = (
    (
        r"rateLimited|too many|[Rr]ate limit",
        "{server} gives no more for now ({said}): wait; acme_server: staging is for trying",
    ),
    (
        r"invalidContact|[Ii]nvalid email|parse contact|unsupportedContact",
        "{server} does not take the mail address: correct email",
    ),
    (
        r"rejectedIdentifier|by policy|public suffix",
        "{server} gives none for this name ({said}): correct names",
    ),
    (
        r"externalAccountRequired|external account",
        "{server} wants an account opened elsewhere: `certbot register` for it there first",
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
        r"does not exist or is not a directory",
        "{webroot} is no folder of the host: correct webroot",
    ),
    (
        r"plugin does not appear",
        "this certbot has no Apache plugin: install it there, or set webroot to the folder that Apache serves",
    ),
    (
        r"Another instance of Certbot",
        "another certbot is at work there: run this again when it has ended",
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
NOISE = (
    r"^(Saving debug log|Ask for help|Some challenges|Requesting a|Renewing an|An unexpected error|Processing /|[- ]*$|Hint:|"
    r"Failed to renew|All renewals|\d+ renew failure|Account registered|  /etc)"
)


class Leads(NamedTuple):
    """Where the names lead, and the addresses of the host itself."""

    names: dict[str, list[str]]
    own: list[str]

    def elsewhere(self, name: str) -> str:
        """Where a name leads that does not lead to the host; empty: it does, or that is not known."""
        found = self.names.get(name, [])
        return "" if not found or set(found) & set(self.own) else ", ".join(found)


def server(want: Settings) -> str:
    """The URL of the directory of the server that is wanted."""
    return SERVERS.get(want.acme_server, want.acme_server)


def title(url: str) -> str:
    """What a server is called in a message."""
    return TITLES.get(url) or urlsplit(url).netloc


def refuse(c: Connection, want: Settings) -> None:
    """Stop, before anything is asked, where the server would give nothing."""
    if not want.email:
        raise SetupError(
            f"{Host.of(c).label}: {title(server(want))} wants a mail address for your account there: set email"
        )


def refuse_closed(c: Connection) -> None:
    """Stop where the host's own firewall shuts out the server's question."""
    have = facts(c).firewall
    if have.active and have.incoming != "allow" and 80 not in have.allowed:
        raise SetupError(
            f"{Host.of(c).label}: port 80 is closed in the firewall, and the server asks there: firewall.enable"
        )


def leads(c: Connection, own: list[str], found: dict[str, list[str]]) -> Leads:
    """Look at where the names lead. Raises SetupError for one that leads nowhere.

    One that leads elsewhere may be right, behind a router or a proxy: the server finds that out.
    """
    # /etc/hosts of a cloud machine often gives its own name a loopback address, which tells nothing of the DNS.
    known = {
        name: [one for one in places if not ipaddress.ip_address(one).is_loopback]
        for name, places in found.items()
    }
    lead = Leads(known, [*own, c.host])
    for name, places in found.items():
        if not places:
            raise SetupError(
                f"{Host.of(c).label}: {name} has no address in the DNS: add a record for it that leads to {c.host}"
            )
    return lead


def words(said: str, url: str, lead: Leads, webroot: str) -> str:
    """What certbot said, in one line: what is wrong and what to do."""
    problem = re.search(PROBLEM, said)
    if problem:
        return of_name(*problem.groups(), lead, webroot)
    told = [line.strip() for line in said.splitlines() if not re.match(NOISE, line)]
    last = (
        re.sub(r"^(?:[\w.]+(?:Error|Exception): )?(?:.* :: )?", "", told[-1])
        if told
        else "it said nothing"
    )
    for pattern, meaning in MEANINGS:
        if re.search(pattern, said):
            return meaning.format(server=title(url), url=url, said=shortened(last), webroot=webroot)
    return last


def shortened(text: str) -> str:
    return text if len(text) <= 160 else f"{text[:157]}…"


def of_name(name: str, kind: str, detail: str, lead: Leads, webroot: str) -> str:
    """Why the server could not see that a name is the host's."""
    place = lead.elsewhere(name)
    if kind == "dns" or "could not resolve" in detail or "NXDOMAIN" in detail:
        return f"the server finds no address for {name} in the DNS: add a record for it; a new one takes a while ({shortened(detail)})"
    if kind == "caa":
        return f"the CAA record of {name} lets others issue for it, not this server: correct it in the DNS"
    if place:
        return (
            f"{name} leads to {place}, and the host is {lead.own[0]}: correct its record in the DNS"
        )
    if kind == "connection":
        return f"port 80 of {name} cannot be reached from outside: open it in the cloud's firewall or the router ({shortened(detail)})"
    if kind == "unauthorized" and webroot:
        return f"what lies in webroot {webroot} is not what http://{name}/ shows: correct webroot ({shortened(detail)})"
    return f"what answers at http://{name}/ is not this host: correct its record in the DNS ({shortened(detail)})"
