"""Certbot: get a certificate from Let's Encrypt, or another ACME server, and keep it on the host.

Owns: the certificate named labfab in /etc/letsencrypt, the package certbot.
Undo: certbot delete --cert-name labfab

Constraints:
- Two certbots would renew twice, so labfab uses an existing one, whoever installed it.
- Other certificates and accounts in /etc/letsencrypt are not touched; live/ stays root's.
- certbot notes for each certificate how to renew it. If that no longer fits, it runs again.
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fabric import Connection

from ..errors import SetupError
from ..facts import facts
from ..facts.reader import planned_file
from ..host.changes import ask, change
from ..host.session import Host
from ..platforms import platform
from ..settings import Settings, is_address
from . import acme, certificate, renewal
from .location import lab_names

if TYPE_CHECKING:
    from ..facts.records import Facts

# For the undo, in the journal's folder: which files existed before.
NOTE_FILES = 'find /etc/letsencrypt >"$KEPT.letsencrypt" 2>/dev/null; '
ISSUE = "%s certonly -n --agree-tos --cert-name labfab --renew-with-new-domains --server %s -m %s"
# How certbot answers the server's request to port 80.
STANDALONE = " --standalone"
APACHE = " --apache"
# With certbot's own --webroot, root would work in a folder that may be an account's.
WEBROOT = " --manual --preferred-challenges http --manual-auth-hook %s --manual-cleanup-hook %s"
# The rest of its command line.
DOMAIN = " -d %s"
ADDRESS = " --ip-address %s"
SHORT_LIVED = " --preferred-profile shortlived"
FORCE = " --force-renewal"
WITH_ERRORS = " 2>&1"
RENEW = "%s renew -n --cert-name labfab --force-renewal --no-random-sleep-on-renew" + WITH_ERRORS
DELETE = (
    "rm -f %s; [ ! -e /etc/letsencrypt/renewal/labfab.conf ] || "
    "%s delete -n --cert-name labfab 2>&1"
)
VERSION = "%s --version 2>&1 | sed -nE 's/^certbot ([0-9]+)\\.([0-9]+).*/\\1 \\2/p'"
# Prints the host's addresses, then a line for each name: the name and its addresses. The names
# go between the two halves.
RESOLVE = "hostname -I; set --"
EACH_NAME = (
    "; for name; do printf '%%s ' \"$name\"; "
    "getent ahosts \"$name\" | cut -d' ' -f1 | sort -u | tr '\\n' ' '; echo; done"
)
# The oldest certbot that gets certificates for addresses, with a webroot and without.
FOR_ADDRESSES_WEBROOT = (5, 4)
FOR_ADDRESSES = (5, 3)


def ensure(c: Connection, want: Settings) -> None:
    """Get a certificate unless a good one exists, pass it on, and keep it renewed."""
    acme.require_email(c, want)
    have, wanted, label = facts(c), lab_names(c), Host.of(c).label
    reason = lacking(have, want, wanted, label)
    how = method(have, want, wanted, label) if reason else renewal_value(have, "authenticator")
    program = ensure_certbot(c, want, wanted, how, bool(reason))
    if reason and how == "webroot":
        renewal.write_hook(c)  # it answers the server
    if reason:
        obtain(c, want, wanted, program, how, reason)
    renewal.write_hook(c)
    renewal.deploy(c)
    renewal.keep_renewing(c, program)


def renew(c: Connection, want: Settings) -> None:
    """Get a new certificate now, even if the old one is still good."""
    have, wanted, label = facts(c), lab_names(c), Host.of(c).label
    if lacking(have, want, wanted, label):
        ensure(c, want)
        return
    program = ensure_certbot(c, want, wanted, renewal_value(have, "authenticator"), False)
    renewal.write_hook(c)
    acme.refuse_closed(label, facts(c).firewall)
    server, known = acme.server(want), resolve(c, wanted)
    change(
        c,
        RENEW,
        program,
        why=f"renew the certificate for {', '.join(wanted)}",
        long=True,
        explain=lambda said: acme.explain(said, server, known, want.webroot),
    )
    renewal.deploy(c)


def delete(c: Connection) -> None:
    """Delete certbot's certificate and the hook, so that nothing renews it or passes it on."""
    have = facts(c).acme
    if have.hook or have.renewal:
        gone = dict.fromkeys(("acme.hook.stat", "acme.renewal.stat", "acme.lineage.stat"))
        program = have.program or "certbot"
        why = "delete certbot's certificate"
        change(c, DELETE, renewal.HOOK, program, why=why, then=gone)


def lacking(have: Facts, want: Settings, wanted: Sequence[str], label: str) -> str:
    """Return why certbot's certificate is not good enough, or an empty string if it is.

    Raises SetupError if staging would replace a certificate that browsers trust.
    """
    found = certificate.read(have.acme.lineage.content) if have.acme.lineage else None
    if found is None or have.acme.renewal is None:
        return "none yet"
    issuer = renewal_value(have, "server")
    if issuer != acme.server(want):
        if want.acme_server == "staging" and found.ends > time.time():
            raise SetupError(
                f"there is a certificate by {acme.title(issuer)} already, "
                "and browsers trust none from staging: https.delete first",
                host=label,
            )
        return "the ACME server has changed"
    if set(found.names) != set(map(certificate.plain, wanted)):
        return "the names have changed"
    if found.ends <= time.time():
        return "the old one has expired"
    if renewal_value(have, "authenticator") == "webroot":  # an older version's
        return "root worked in the web server's folder"
    return "" if renewable(have, want) else "another program now answers at port 80"


def renewal_value(have: Facts, key: str) -> str:
    """Return a value from certbot's notes on how to renew our certificate."""
    note = have.acme.renewal
    found = re.search(rf"^{key} = (.*?),?$", note.content, re.MULTILINE) if note else None
    return found[1] if found else ""


def renewable(have: Facts, want: Settings) -> bool:
    """Return whether certbot's noted way to answer fits what now listens on port 80.

    A way that labfab never chooses was somebody's own choice, and is left alone.
    """
    how, holder = renewal_value(have, "authenticator"), have.ssh.listening.get(80, "")
    command = renewal_value(have, "manual_auth_hook")
    if how == "manual" and renewal.HOOK in command and want.webroot:
        return renewal.answer_command(want.webroot, "answer") in command
    if how == "standalone":
        return holder == ""
    if how == "apache":
        return holder in ("", "apache2")
    return True


def method(have: Facts, want: Settings, wanted: Sequence[str], label: str) -> str:
    """Return how certbot should answer on port 80: webroot, standalone or apache.

    Raises SetupError if the program that already answers there needs a setting.
    """
    holder = have.ssh.listening.get(80, "")
    if webroot_of(have, want) and (holder or want.publish == "apache"):
        return "webroot"
    if holder not in ("", "apache2"):
        raise SetupError(
            f"{holder} answers at port 80: set webroot to the folder that it serves there",
            host=label,
        )
    if not holder and want.publish != "apache":
        return "standalone"
    if any(map(is_address, wanted)):
        raise SetupError(
            "for an address certbot needs the folder that Apache serves at port 80: "
            "set webroot, e.g. /var/www/html",
            host=label,
        )
    return "apache"


def webroot_of(have: Facts, want: Settings) -> str:
    """Return the folder to answer in: the setting, or what an older version had certbot note."""
    noted = renewal_value(have, "webroot_path")
    if not noted and (words := shlex.split(renewal_value(have, "manual_auth_hook"))):
        noted = words[1] if len(words) > 2 else ""
    return want.webroot or noted


def ensure_certbot(
    c: Connection, want: Settings, wanted: Sequence[str], how: str, running: bool
) -> str:
    """Install a certbot that is new enough, and return its path.

    how: as from method(). running: whether it is about to run.
    """
    have = facts(c)
    program = have.acme.program
    if any(map(is_address, wanted)) and (running or not program):
        return ensure_certbot_for_addresses(c, have, want, program)
    packages = ["openssl"]
    if not program:
        packages.append("certbot")
    if want.publish == "apache":
        packages.append("apache2")
    if how == "apache" and (not program or "certbot" in have.system.packages):
        packages.append("python3-certbot-apache")
    platform(c).install(c, *packages, undo="certbot_packages")
    return program or "/usr/bin/certbot"


def ensure_certbot_for_addresses(c: Connection, have: Facts, want: Settings, program: str) -> str:
    """Return the path of a certbot that gets certificates for addresses; its snap, if need be.

    program: the existing certbot; empty: none.
    """
    label, least = Host.of(c).label, FOR_ADDRESSES_WEBROOT if want.webroot else FOR_ADDRESSES
    needs = f"a certificate for an address needs certbot {least[0]}.{least[1]} or newer"
    if program:
        version = tuple(map(int, ask(c, VERSION, program).out.split()))
        if version < least:
            older = ".".join(map(str, version)) or "broken"
            raise SetupError(
                f"{needs}, and {program} is {older}: "
                "replace it with the snap, or give a DNS name in `names`",
                host=label,
            )
        return program
    if not have.acme.snap:
        raise SetupError(
            f"{needs}, which comes as a snap: "
            "install snapd there first, or give a DNS name in `names`",
            host=label,
        )
    why = "install certbot's snap"
    change(c, "snap install --classic certbot", why=why, undo=("certbot_snap",), long=True)
    return "/snap/bin/certbot"


def obtain(
    c: Connection, want: Settings, wanted: Sequence[str], program: str, how: str, reason: str
) -> None:
    """Run certbot to get a certificate.

    how: as from method(). reason: why a new one is needed, for the user.
    """
    have = facts(c)
    acme.refuse_closed(Host.of(c).label, have.firewall)
    server, known = acme.server(want), resolve(c, wanted)
    addresses = [name for name in wanted if is_address(name)]
    domains = [name for name in wanted if not is_address(name)]
    webroot = answer_commands(webroot_of(have, want)) if how == "webroot" else []
    command = NOTE_FILES + ISSUE
    command += WEBROOT if webroot else APACHE if how == "apache" else STANDALONE
    command += DOMAIN * len(domains) + ADDRESS * len(addresses)
    command += SHORT_LIVED if addresses else ""
    command += FORCE if have.acme.renewal else ""
    command += WITH_ERRORS
    change(
        c,
        command,
        *(program, server, want.email, *webroot, *domains, *addresses),
        why=f"get a certificate for {', '.join(wanted)} from {acme.title(server)} ({reason})",
        undo=("lineage",),
        long=True,
        explain=lambda said: acme.explain(said, server, known, want.webroot),
        then={
            **planned_file("acme.renewal", "", "644", "root"),
            **planned_file("acme.lineage", "", "644", "root"),
        },
    )


def answer_commands(webroot: str) -> list[str]:
    """Return the two commands that certbot runs for each name, before and after the check."""
    return [renewal.answer_command(webroot, verb) for verb in ("answer", "clean")]


def resolve(c: Connection, wanted: Sequence[str]) -> acme.Addresses:
    """Return where the names lead, as the host resolves them.

    Raises SetupError for a name that has no address.
    """
    domains = [name for name in wanted if not is_address(name)]
    answer = ask(c, RESOLVE + " %s" * len(domains) + EACH_NAME, *domains)
    own, *found = answer.out.splitlines()
    return acme.addresses(c, own.split(), {name: rest for name, *rest in map(str.split, found)})
