"""Survey: who uses a machine, and for what, before labfab changes it.

Owns: nothing; it only reads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from fabric import Connection

from ... import console
from ...errors import SetupError
from ...facts import facts
from ...host.session import Host
from ...run.task import host_task
from ...settings import Settings
from ...text import counted, json_text, to_type
from .. import firewall
from ..ssh import endings, hardening
from . import packages

if TYPE_CHECKING:
    from ...facts.records import Facts, Survey, WaysIn

SCHEMA = 1
ENDS, WARNS = "will end", "look at"  # how a row is marked
# Free space that Python with JupyterLab takes, in KiB.
NEEDED = {"venv": 800_000, "miniforge": 2_500_000, "miniconda": 2_500_000, "anaconda": 8_000_000}
CLOCK_OFF = 120  # seconds from which on certificates and one-time passwords begin to fail
# They write their own configuration again, over ours.
MANAGERS = {"puppet", "chef-client", "salt-minion", "cfengine3"}
LIMITS = {"maxstartups", "persourcemaxstartups", "persourcepenalties"}
BANS = {"fail2ban", "crowdsec", "sshguard", "denyhosts"}
# Shells in which the commands of the guides do not work as written.
UNUSUAL_SHELLS = {"fish", "tcsh", "csh", "nu", "xonsh", "elvish"}


class Row(NamedTuple):
    """One line of the survey. mark: ENDS, WARNS or empty."""

    area: str
    text: str
    mark: str = ""


@host_task(name="survey", reads=True, help={"json": "Print JSON; docs/undo.md describes it"})
def survey(c: Connection, json: bool = False) -> None:
    """Show who uses the machine, and what a setup would end."""
    with console.on_stderr(json):
        found = rows(c)
    if json:
        console.say(json_text(document(Host.of(c).label, found)))
    else:
        show(Host.of(c).label, found)


def is_new(c: Connection) -> bool:
    """Return whether labfab has not worked on this host yet."""
    account = facts(c).accounts.get(Settings.of(c).user)
    return account is None or not (account.ours or account.known)


def rows(c: Connection) -> list[Row]:
    """Return what the machine is used for, area by area."""
    have = facts(c)
    found = [Row("system", f"{have.system.name}, {have.system.machine}")]
    for area in AREAS:
        found += area(c, have, have.survey)
    return found


def warn(c: Connection) -> None:
    """Say, before the first change, what may keep a setup from working.

    Raises SetupError for what certainly does.
    """
    have = facts(c)
    refuse_mounts(c, have.survey)
    if Host.of(c).planning:
        return  # the plan shows the whole survey
    for row in [*room(c, have, have.survey), *watchers(c, have, have.survey)]:
        if row.mark == WARNS and Host.of(c).first_time(row.text):
            console.warn(f"[{Host.of(c).label}] {row.text}")


def refuse_mounts(c: Connection, found: Survey) -> None:
    """Raise SetupError if no program can be written to, or run in, the home of JupyterLab."""
    for option, why in (("noexec", "no program runs there"), ("ro", "nothing can be written")):
        if option in found.mounts.get(found.home, ()):
            raise SetupError(
                f"{found.home} is mounted with {option}, so {why}: "
                + to_type(f"mount -o remount,{'exec' if option == 'noexec' else 'rw'}", found.home),
                host=Host.of(c).label,
            )


def logins(c: Connection, have: Facts, found: Survey) -> Iterator[Row]:
    """Yield who logs in and how, and who will not any more."""
    for name, ways in sorted(found.accounts.items()):
        if text := described(ways):
            shell = ways.shell.rpartition("/")[2]
            unusual = f"; its shell is {shell}" if shell in UNUSUAL_SHELLS else ""
            yield Row("logins", f"{name}: {text}{unusual}")
    for name, count in sorted(found.sessions.items()):
        yield Row("logins", f"{name} is logged in ({counted(count, 'session')})")
    if hardening.passwords_accepted(c):
        yield from (Row("logins", one.text, ENDS) for one in endings.of_passwords(c))
    if hardening.root_accepted(c):
        yield from (Row("logins", one.text, ENDS) for one in endings.of_root(c))


def described(ways: WaysIn) -> str:
    """Return the ways into an account in words; empty if there is none."""
    texts = [counted(ways.keys, "key")] if ways.keys else []
    if ways.forced:
        texts[0] += f" ({ways.forced} for one command only)"
    if ways.password:
        texts.append("a password")
    admin = ", may use sudo" if ways.groups & {"sudo", "admin", "wheel"} else ""
    return " and ".join(texts) + admin if texts else ""


def sshd(c: Connection, have: Facts, found: Survey) -> Iterator[Row]:
    """Yield where sshd listens, and which lines decide who gets in."""
    ports = ", ".join(map(str, sorted(have.ssh.ports))) or "none"
    yield Row("sshd", f"listens on port {ports}")
    if have.ssh.login_port:
        way = ", through a gateway" if c.gateway else ""
        here = f"{have.ssh.login_address} port {have.ssh.login_port}".strip()
        yield Row("sshd", f"this login came in on {here}{way}")
    for line in have.ssh.lines:
        if line.number:  # 0: where ours would stand
            yield Row("sshd", str(line))
    for option in sorted(LIMITS & have.ssh.server.keys()):
        yield Row("sshd", f"{option} {have.ssh.server[option]}")


def ports(c: Connection, have: Facts, found: Survey) -> Iterator[Row]:
    """Yield what answers others, and what the firewall would refuse."""
    for kind, listens in (("TCP", have.firewall.listens), ("UDP", have.firewall.listens_udp)):
        for port, program in sorted(listens.items()):
            yield Row("ports", f"{program} answers on {kind} port {port}")
    if have.firewall.forwards > 1:
        yield Row("ports", "the host forwards traffic of others")
    if have.firewall.tunnel:
        yield Row("ports", f"this login came through {have.firewall.tunnel}")
    if not Settings.of(c).firewall:
        yield Row("ports", "the host's firewall stays as it is (firewall: false)")
        return
    if found_firewalls := firewall.others(have):
        yield Row("ports", f"a firewall of its own: {'; '.join(found_firewalls)}", WARNS)
        return  # setup.full stops there
    state = "refuses what no rule allows" if have.firewall.closes else "lets everything in"
    yield Row("ports", f"the firewall {state}")
    way_in, others_use = firewall.shut(Settings.of(c), have, c.port)
    for text in (*(one.text for one in way_in), *others_use):
        yield Row("ports", text, ENDS)


def installs(c: Connection, have: Facts, found: Survey) -> Iterator[Row]:
    """Yield what apt would install, upgrade and remove."""
    if names := packages.needed(c):
        yield Row("packages", f"to install: {', '.join(names)}")
    if have.upgrades:
        mark = ENDS if "removed: " in have.upgrades else ""
        yield Row("packages", f"an upgrade changes {have.upgrades}", mark)


def names(c: Connection, have: Facts, found: Survey) -> Iterator[Row]:
    """Yield what has names that labfab would use, and homes without an account."""
    for name in sorted(found.groups):
        yield Row("names", f"the group {name} exists, and no account of that name", WARNS)
    for unit, state in sorted(found.units.items()):
        yield Row("names", f"the unit {unit} exists ({state})")
    for home in found.old_homes:
        yield Row("names", f"{home} belongs to no account any more", WARNS)


def watchers(c: Connection, have: Facts, found: Survey) -> Iterator[Row]:
    """Yield what bans, limits, or writes its own configuration over ours."""
    for unit in sorted(found.active):
        name = unit.removesuffix(".service")
        if name in MANAGERS:
            yield Row("programs", f"{name} may take back what labfab changes", WARNS)
        elif name in BANS:
            yield Row("programs", f"{name} may ban you after failed logins", WARNS)
        else:
            yield Row("programs", f"{name} is active")
    if found.logind_kills:
        yield Row("programs", "logind ends what a login has started (KillUserProcesses)")
    for module, place in sorted(found.pam.items()):
        yield Row("programs", f"{module} in {place}")
    for line in found.proxies:
        yield Row("programs", f"proxy: {line}")


def room(c: Connection, have: Facts, found: Survey) -> Iterator[Row]:
    """Yield free space, memory, mount options, clock and resolvers."""
    for place, free in found.free.items():
        options = sorted({"noexec", "ro"} & found.mounts.get(place, frozenset()))
        yield Row("room", ", ".join([f"{place}: {in_gib(free)} free", *options]))
    needed, left = NEEDED[Settings.of(c).python], found.free.get(found.home)
    if left is not None and left < needed and not have.python.lab:
        text = f"JupyterLab takes about {in_gib(needed)}, and {found.home} has {in_gib(left)} free"
        yield Row("room", text, WARNS)
    if found.memory:
        yield Row("room", f"memory: {in_gib(found.memory)}, swap: {in_gib(found.swap)}")
    off = found.clock - int(time.time()) if found.clock else 0
    if abs(off) > CLOCK_OFF:
        way = "ahead of" if off > 0 else "behind"
        text = f"its clock is {console.duration(abs(off))} {way} yours: timedatectl set-ntp true"
        yield Row("room", text, WARNS)
    if found.memory and not found.resolvers:
        yield Row("room", "/etc/resolv.conf names no server, so it can look up no name", WARNS)
    else:
        yield Row("room", f"name servers: {', '.join(found.resolvers) or 'unknown'}")


def in_gib(kib: int) -> str:
    """Return a size in GiB."""
    return f"{kib / 1024**2:.1f} GiB"


AREAS: tuple[Callable[[Connection, Facts, Survey], Iterable[Row]], ...]
AREAS = (logins, sshd, ports, installs, names, watchers, room)


def show(label: str, found: list[Row]) -> None:
    """Print the rows, and what to do about those that are marked."""
    width = max(len(row.area) for row in found)
    last = ""
    for row in found:
        area, last = row.area if row.area != last else "", row.area
        mark = f"{row.mark}: " if row.mark else ""
        console.say(f"{area:<{width}}  {mark}{row.text}")
    ends = sum(row.mark == ENDS for row in found)
    looks = sum(row.mark == WARNS for row in found)
    said = [f"{counted(ends, 'thing')} will end"] if ends else ["nothing that others use will end"]
    said += [f"{looks} to look at"] if looks else []
    console.say(f"[{label}] {', '.join(said)}")


def document(label: str, found: list[Row]) -> dict[str, object]:
    """Return the survey as JSON, as docs/undo.md describes it."""
    areas: dict[str, list[dict[str, str]]] = {}
    for row in found:
        areas.setdefault(row.area, []).append({"text": row.text, "mark": row.mark})
    return {
        "schema": SCHEMA,
        "host": label,
        "areas": areas,
        "ends": [row.text for row in found if row.mark == ENDS],
    }
