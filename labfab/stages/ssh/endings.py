"""Endings: who gets in today and would not afterwards.

They are named before the first change. The run goes on only with a yes at a terminal, or if the
setting `accept` has the kind of each.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from fabric import Connection

from ... import console
from ...facts import facts
from ...host.session import Host
from ...run import agreement
from ...settings import Settings
from ..keys import admission, authorized_keys

if TYPE_CHECKING:
    from ...facts.records import Ssh

PASSWORDS, FORCED, CERTIFICATES = "passwords", "forced-commands", "certificates"
VPN = "vpn"
INTERACTIVE = ("passwordauthentication", "kbdinteractiveauthentication")


class Ending(NamedTuple):
    """Something that ends. kind: the word of the setting accept."""

    kind: str
    text: str


def of_passwords(c: Connection) -> list[Ending]:
    """Return the accounts that somebody opens with a password and with nothing else."""
    want, have = Settings.of(c), facts(c).ssh
    others = sorted(have.password_only.keys() - {c.user, want.user, want.lab_user})
    return [
        Ending(PASSWORDS, f"{name} logs in with a password and has no key")
        for name in others
        if password_opens(have, name)
    ]


def password_opens(have: Ssh, name: str) -> bool:
    """Return whether sshd lets an account in with a password."""
    options = have.effective.get(name) or have.effective.get("root", {})
    if name == "root" and options.get("permitrootlogin") != "yes":
        return False
    accepted = any(options.get(option) == "yes" for option in INTERACTIVE)
    return accepted and not admission.shut_by_list(have, name, have.password_only[name])


def of_root(c: Connection) -> list[Ending]:
    """Return what root's keys may do today, and no other account's will."""
    have = facts(c).ssh
    found = []
    limited = authorized_keys.limit_of(c, "root")
    for line, _ in authorized_keys.lines_that_open(c, "root", forced_too=True):
        if limited:
            found.append(Ending(FORCED, f"{line.who} opens root: {limited}"))
            continue
        if line.obstacle(have.revoked) and not line.refuses and line.blob not in have.revoked:
            if line.ended:
                continue
            if "cert-authority" in line.options:
                found.append(Ending(CERTIFICATES, f"what {line.who} signs opens root"))
            else:
                found.append(Ending(FORCED, f"{line.who} may run {line.command} as root"))
    signers = have.effective.get("root", {}).get("trustedusercakeys", "none")
    if signers != "none":
        found.append(Ending(CERTIFICATES, f"certificates of the keys in {signers} open root"))
    return found


def tell(c: Connection, text: str) -> None:
    """Name something that ends, once; the run goes on."""
    host = Host.of(c)
    if host.first_time(text):
        show(host, text)


def show(host: Host, text: str) -> None:
    """Show what ends, and remember it for the plan."""
    say = console.say if host.planning else console.warn
    say(f"[{host.label}] this will end: {text}")
    host.note_ending(text)


def agree(c: Connection, endings: Iterable[Ending]) -> None:
    """Name what ends, and go on only if that is wanted. Raises SetupError if it is not."""
    host, accepted = Host.of(c), Settings.of(c).accept
    new = [one for one in endings if host.first_time(one.text)]
    open_ = [one for one in new if one.kind not in accepted]
    for one in new:
        show(host, one.text)
    kinds, texts = [one.kind for one in open_], "; ".join(one.text for one in open_)
    agreement.refuse_unasked(host, kinds, f"this would end, so nothing was changed: {texts}")
    agreement.confirm(host, kinds)
