"""Algorithms: sshd offers no weak ones, and does not wait for strangers for ever.

Owns: KexAlgorithms, HostKeyAlgorithms, Ciphers, MACs, LoginGraceTime, MaxAuthTries, MaxStartups
and PerSourceMaxStartups in labfab's own file of sshd.  Undo: setup.undo --to ssh
What this sshd offers decides, never its version. Weak algorithms are subtracted from the defaults,
so that a later sshd still adds its new ones.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import TYPE_CHECKING

from fabric import Connection

from ... import console
from ...errors import SetupError
from ...facts import facts
from ...host import connection
from ...host.alias import alias_of
from ...host.session import Host
from ...host.shell import CONNECTION_ERRORS
from ...laptop import openssh
from ...local_state import known_hosts, secrets
from ...local_state.aliases import pinned_as
from ...platforms import algorithms, platform
from ...run.guard import guarded
from ...run.task import host_task
from ...settings import Settings
from ..keys import authorized_keys
from . import fail2ban
from .stranger import Stranger

if TYPE_CHECKING:
    from ...facts.records import Ssh
    from ...host.connection import Place
    from ...host.remote_file import Values
    from ...platforms.base import Platform

WHY = "stop offering weak algorithms"
SHUT_OUT = (
    "clients from before 2017 or so cannot log in after this (OpenSSH 6.4, PuTTY 0.67, JSch "
    "0.1.55, libssh2 1.10); harden_ssh: false keeps them working"
)
LIMITS = "give strangers less time and fewer connections to try a login"
# Option -> the most that is left of it; None where sshd sets no limit. An agent may hold six keys,
# and somebody may have to type a passphrase, so these are no smaller.
MOST = {"LoginGraceTime": 60, "MaxAuthTries": 10, "PerSourceMaxStartups": 16}
TRIES, PAUSE = 30, 0.3  # seconds
NO_LIMIT = {"LoginGraceTime": "0", "PerSourceMaxStartups": "none"}
# sshd begins to drop logins at random from 10 on; one address must not bring that about alone.
MAX_STARTUPS = {"10:30:100": "32:30:100"}


@host_task
def harden(c: Connection) -> None:
    """Stop sshd from offering weak algorithms."""
    authorized_keys.copy(c)
    fail2ban.follow_port(c)
    host, system, have = Host.of(c), platform(c), facts(c).ssh
    left, limits = remaining(have), too_generous(have)
    if not (left or limits):
        return
    if left:
        refuse_to_shut_out(c, host, have, left)
        console.note(SHUT_OUT)
    stranger = Stranger(c, lambda inside: require_strong(c, left, inside))
    with guarded(c, WHY if left else LIMITS, then=stranger.from_here):
        if limits:
            system.set_options(c, limits, why=LIMITS, then=facts_of(limits))
        if left:
            subtract(c, system, have, left)
        system.reload_sshd(c)
        stranger.from_inside()


def remaining(have: Ssh) -> dict[str, list[str]]:
    """Return what is left of each option that has weak algorithms, by option.

    Where nothing would be left, the option stays as it is, and a warning says so.
    """
    left = {}
    for option in algorithms.WEAK:
        offered = have.algorithms(option)
        weak = algorithms.weak(option, offered)
        if not weak:
            continue
        if len(weak) == len(offered):
            console.warn(f"sshd has no strong {option}, only {', '.join(weak)}: they stay")
            continue
        everything = have.server[option.lower()].split(",")
        left[option] = [one for one in everything if one not in algorithms.weak(option, everything)]
    return left


def too_generous(have: Ssh) -> dict[str, str]:
    """Return the limits that this sshd knows and that are missing or too high, with ours."""
    found = {}
    for option, most in MOST.items():
        value = have.server.get(option.lower(), "")
        if value and (value == NO_LIMIT.get(option) or (value.isdigit() and int(value) > most)):
            found[option] = str(most)
    startups = have.server.get("maxstartups", "")
    if "PerSourceMaxStartups" in found and startups in MAX_STARTUPS:
        found["MaxStartups"] = MAX_STARTUPS[startups]
    return found


def subtract(c: Connection, system: Platform, have: Ssh, left: dict[str, list[str]]) -> None:
    """Subtract what is weak from sshd's lists.

    Our line replaces that of another file, which may have left out more than sshd's defaults do.
    Then we write what is left of that line.
    """
    gone = {option: algorithms.patterns(option, have.algorithms(option)) for option in left}
    lines = {option: f"-{','.join(patterns)}" for option, patterns in gone.items()}
    named = ", ".join(pattern for patterns in gone.values() for pattern in patterns)
    after = {option: ",".join(names) for option, names in left.items()}
    system.set_options(c, lines, why=f"stop offering {named}", then=facts_of(after))
    if Host.of(c).planning:
        return
    now = facts(c).ssh.server
    other = {option: names for option, names in after.items() if now.get(option.lower()) != names}
    if other:
        why = f"keep what another file leaves out of {', '.join(other)}"
        system.set_options(c, other, why=why, then=facts_of(other))


def require_strong(c: Connection, left: Collection[str], inside: Place | None) -> None:
    """Raise SetupError if a stranger is still offered what is weak.

    `systemctl reload` returns before sshd has read its configuration: for a moment it answers as
    before, then its sockets are closed.
    """
    still: list[str] = []
    for _ in range(TRIES if left else 0):
        try:
            offered = algorithms.offered_by(c, Host.of(c).login.port, inside)
            still = [name for option in left for name in algorithms.weak(option, offered[option])]
            if not still:
                return
        except connection.NoWayInside:
            raise
        except (*CONNECTION_ERRORS, ValueError):
            pass
        time.sleep(PAUSE)
    if still:  # else the fresh login says what is wrong
        raise SetupError(f"sshd still offers {', '.join(still)}: look at `sshd -T` there")


def facts_of(options: dict[str, str]) -> Values:
    """Return the facts of an sshd with these options, for plan mode."""
    return {f"ssh.sshd.{option.lower()}": value for option, value in options.items()}


def refuse_to_shut_out(c: Connection, host: Host, have: Ssh, left: dict[str, list[str]]) -> None:
    """Make sure that this machine's ssh can still log in and knows a host key that stays.

    Raises SetupError, before anything is changed, if it cannot.
    """
    after = {}
    for option in algorithms.WEAK:
        offered = have.algorithms(option)
        gone = algorithms.weak(option, offered) if option in left else []
        after[option] = [name for name in offered if name not in gone]
    if lacking := algorithms.common(openssh.capabilities(c.host), after):
        raise SetupError(
            f"this machine's ssh has none of the {lacking} that would be left: update OpenSSH, "
            "look for such a line in ~/.ssh/config, or set harden_ssh: false",
            host=host.label,
        )
    if "HostKeyAlgorithms" in left and not host.planning:
        pin_a_key_that_stays(c, host, have)


def pin_a_key_that_stays(c: Connection, host: Host, have: Ssh) -> None:
    """Pin a host key that sshd will still show, read over the login that is already trusted."""
    path, port = connection.known_hosts_path(), host.login.port
    stays = {
        kind: blob
        for kind, blob in have.host_keys.items()
        if kind == "ssh-rsa" or not algorithms.weak("HostKeyAlgorithms", [kind])
    }
    if any(key.get_name() in stays for key in known_hosts.pinned(path, *pinned_as(c, port))):
        return
    before = connection.pinned_fingerprints(*pinned_as(c, port)) | Host.of(c).pinned_keys()
    for kind, blob in stays.items():
        key = known_hosts.key_of(kind, blob)
        if key is not None:
            known_hosts.pin(path, *pinned_as(c, port), key)
    # What this laptop keeps for the host is for the keys by which it is known from now on, too.
    alias = alias_of(c, Settings.of(c))
    if secrets.belongs_to(alias, before):
        secrets.bind(alias, before | connection.pinned_fingerprints(*pinned_as(c, port)))
