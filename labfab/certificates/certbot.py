"""Certbot: a certificate of Let's Encrypt, or of another ACME server, got and kept on the host.

Owns: the certificate named labfab in /etc/letsencrypt, the package certbot.  Undo: certbot delete --cert-name labfab

Constraints:
- Two certbots would renew twice, so one that is there is used, whoever installed it.
- Other certificates and accounts in /etc/letsencrypt are not touched; live/ stays root's.
- Certbot keeps for each certificate how it is renewed, so what stands there decides whether to run it again.
"""

from __future__ import annotations

import re
import time

from fabric import Connection

from ..errors import SetupError
from ..facts import facts
from ..facts.reader import as_file
from ..host.changes import ask, change
from ..host.session import Host
from ..platforms import platform
from ..settings import Settings, is_address
from . import acme, certificate, renewal
from .location import names

# For the way back: what is there already.
NOTE_FILES = 'find /etc/letsencrypt >"$KEPT.letsencrypt" 2>/dev/null; '
ISSUE = "%s certonly -n --agree-tos --cert-name labfab --renew-with-new-domains --server %s -m %s"
STANDALONE, APACHE, WEBROOT = " --standalone", " --apache", " --webroot -w %s"
DOMAIN, ADDRESS, SHORT, FORCE, SAID = (
    " -d %s",
    " --ip-address %s",
    " --preferred-profile shortlived",
    " --force-renewal",
    " 2>&1",
)
RENEW = "%s renew -n --cert-name labfab --force-renewal --no-random-sleep-on-renew 2>&1"
DELETE = "rm -f %s; [ ! -e /etc/letsencrypt/renewal/labfab.conf ] || %s delete -n --cert-name labfab 2>&1"
VERSION = "%s --version 2>&1 | sed -nE 's/^certbot ([0-9]+)\\.([0-9]+).*/\\1 \\2/p'"
NAMES = "hostname -I; set --"
LEAD = "; for name; do printf '%%s ' \"$name\"; getent ahosts \"$name\" | cut -d' ' -f1 | sort -u | tr '\\n' ' '; echo; done"


def ensure(c: Connection, want: Settings) -> None:
    """Have a certificate for the names that are wanted, handed on and renewed by itself."""
    acme.refuse(c, want)
    reason = lacking(c, want)
    how = method(c, want) if reason else kept(c, "authenticator")
    program = provide(c, want, how, bool(reason))
    if reason:
        obtain(c, want, program, how, reason)
    renewal.write_hook(c)
    renewal.hand_on(c)
    renewal.keep_renewing(c, program)


def renew(c: Connection, want: Settings) -> None:
    """Get the certificate anew, though the old one is still good."""
    if lacking(c, want):
        return ensure(c, want)
    program = provide(c, want, kept(c, "authenticator"), False)
    renewal.write_hook(c)
    acme.refuse_closed(c)
    server, leads = acme.server(want), resolve(c)
    change(
        c,
        RENEW,
        program,
        why=f"renew the certificate for {', '.join(names(c))}",
        long=True,
        explain=lambda said: acme.words(said, server, leads, want.webroot),
    )
    renewal.hand_on(c)
    return None


def delete(c: Connection) -> None:
    """Forget the certificate, so that nothing renews it or hands it on any more."""
    have = facts(c).acme
    if have.hook or have.renewal:
        gone = dict.fromkeys(("acme.hook.stat", "acme.renewal.stat", "acme.lineage.stat"))
        change(
            c,
            DELETE,
            renewal.HOOK,
            have.program or "certbot",
            why="let certbot forget the certificate",
            then=gone,
        )


def lacking(c: Connection, want: Settings) -> str:
    """Why the certificate that certbot keeps will not do; empty: it will."""
    have = facts(c).acme
    found = certificate.read(have.lineage.content) if have.lineage else None
    if found is None or have.renewal is None:
        return "there is none"
    if kept(c, "server") != acme.server(want):
        if want.acme_server == "staging" and found.ends > time.time():
            raise SetupError(
                f"{Host.of(c).label}: there is a certificate by {acme.title(kept(c, 'server'))} already, "
                "and browsers trust none of staging: https.delete first"
            )
        return "another server is wanted now"
    if set(found.names) != set(map(certificate.plain, names(c))):
        return "the names are others now"
    if found.ends <= time.time():
        return "the old one has ended"
    return "" if renewable(c, want) else "what answers at port 80 is another now"


def kept(c: Connection, key: str) -> str:
    """What certbot has noted for the renewal of our certificate."""
    have = facts(c).acme.renewal
    found = re.search(rf"^{key} = (.*?),?$", have.content, re.MULTILINE) if have else None
    return found[1] if found else ""


def renewable(c: Connection, want: Settings) -> bool:
    """Whether the way that certbot has noted fits what answers at port 80; a way of somebody's own choice does."""
    how, holder = kept(c, "authenticator"), facts(c).ssh.listening.get(80, "")
    if how == "webroot":
        return want.webroot in ("", kept(c, "webroot_path"))
    return holder in {"standalone": ("",), "apache": ("", "apache2")}.get(how, (holder,))


def method(c: Connection, want: Settings) -> str:
    """How the server's question at port 80 is answered, by what answers there already."""
    holder, label = facts(c).ssh.listening.get(80, ""), Host.of(c).label
    if want.webroot and (holder or want.publish == "apache"):
        return "webroot"
    if holder not in ("", "apache2"):
        raise SetupError(
            f"{label}: {holder} answers at port 80: set webroot to the folder that it serves there"
        )
    if not holder and want.publish != "apache":
        return "standalone"
    if any(map(is_address, names(c))):
        raise SetupError(
            f"{label}: for an address certbot needs the folder that Apache serves at port 80: set webroot, e.g. /var/www/html"
        )
    return "apache"


def provide(c: Connection, want: Settings, how: str, needed: bool) -> str:
    """Have a certbot that can do what is wanted; give its path. needed: it is about to run."""
    program = facts(c).acme.program
    if any(map(is_address, names(c))) and (needed or not program):
        return with_addresses(c, want, program)
    packages = ["openssl"] + ["certbot"] * (not program) + ["apache2"] * (want.publish == "apache")
    if how == "apache" and (not program or "certbot" in facts(c).system.packages):
        packages.append("python3-certbot-apache")
    platform(c).install(c, *packages, undo="certbot_packages")
    return program or "/usr/bin/certbot"


def with_addresses(c: Connection, want: Settings, program: str) -> str:
    """Have a certbot that gets certificates for addresses."""
    label, least = Host.of(c).label, (5, 4) if want.webroot else (5, 3)
    wanted = f"a certificate for an address needs certbot {least[0]}.{least[1]} or newer"
    if program:
        version = tuple(map(int, ask(c, VERSION, program).out.split()))
        if version < least:
            older = ".".join(map(str, version)) or "broken"
            raise SetupError(
                f"{label}: {wanted}, and {program} is {older}: put its snap in its place, or give a DNS name in `names`"
            )
        return program
    if not facts(c).acme.snap:
        raise SetupError(
            f"{label}: {wanted}, which comes as a snap: install snapd there first, or give a DNS name in `names`"
        )
    change(
        c,
        "snap install --classic certbot",
        why="install certbot's snap",
        undo=("certbot_snap",),
        long=True,
    )
    return "/snap/bin/certbot"


def obtain(c: Connection, want: Settings, program: str, how: str, reason: str) -> None:
    """Ask the server for a certificate, and let certbot answer its question at port 80."""
    acme.refuse_closed(c)
    server, leads = acme.server(want), resolve(c)
    addresses = [name for name in names(c) if is_address(name)]
    domains = [name for name in names(c) if not is_address(name)]
    command = (
        NOTE_FILES
        + ISSUE
        + (WEBROOT if how == "webroot" else APACHE if how == "apache" else STANDALONE)
    )
    command += DOMAIN * len(domains) + ADDRESS * len(addresses) + (SHORT if addresses else "")
    command += (FORCE if facts(c).acme.renewal else "") + SAID
    change(
        c,
        command,
        program,
        server,
        want.email,
        *[want.webroot] * (how == "webroot"),
        *domains,
        *addresses,
        why=f"get a certificate for {', '.join(names(c))} from {acme.title(server)} ({reason})",
        undo=("lineage",),
        long=True,
        explain=lambda said: acme.words(said, server, leads, want.webroot),
        then=as_file("acme.renewal", "", "644", "root")
        | as_file("acme.lineage", "", "644", "root"),
    )


def resolve(c: Connection) -> acme.Leads:
    """Where the names lead, as the host sees it. Raises SetupError for one that leads nowhere."""
    domains = [name for name in names(c) if not is_address(name)]
    own, *found = ask(c, NAMES + " %s" * len(domains) + LEAD, *domains).out.splitlines()
    return acme.leads(c, own.split(), {name: rest for name, *rest in map(str.split, found)})
