"""Summary: what setup.full prints at the end: addresses, secrets and the remaining steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fabric import Connection

from .. import console
from ..host.session import Host, Login
from ..local_state import secrets
from ..local_state.aliases import proxy_jump
from ..run.runner import Duration, describe
from ..settings import Settings
from ..stages import tunnel
from ..text import counted

PASSWORDS = ("sudo-password", "jupyter-password", "login-of-lab-user")
WIDTH = 14  # columns for the labels, unless one is longer


def summarize(
    host: Host,
    want: Settings,
    alias: str,
    reboot_required: bool,
    took: Sequence[Duration],
    admin: str = "",
) -> None:
    """Print the addresses of the lab, where its secrets are and what is left to do.

    took: how long each stage took; printed only if something was changed. admin: the name that
    leads to the account with sudo, if the alias leads to another.
    """
    if host.changes:
        console.say()
        console.say(f"time: {times(took)}")
    console.say()
    rows = [*addresses(host, want, alias), *kept(host, want, alias), *commands(alias, admin)]
    if host.changes:
        rows += to_do(host, want, alias)
    if reboot_required:
        rows.append(("to do", f"reboot: fab -H {alias} system.reboot"))
    width = max(WIDTH, *(len(label) + 2 for label, _ in rows))
    for label, text in rows:
        console.say(f"{label:<{width}}{text}")


def stopped(
    host: Host,
    want: Settings,
    alias: str,
    stages: Sequence[str],
    firewall_on: bool,
    known_as: str = "",
) -> None:
    """Print what a run that stops leaves behind, and how it goes on; nothing if it changed nothing.

    stages: those that ran to their end. firewall_on: whether it is on now. known_as: the name in
    ~/.ssh/config that leads to the account with sudo; empty: there is none yet.
    """
    if not host.changes:
        return
    typed = ssh_command(host.c, host.login)
    # Of a stage that stopped, some changes may have stayed.
    many = counted(len(host.changes), "change")
    stay = f"{many} {'stays' if len(host.changes) == 1 else 'stay'}"
    places = [str(path) for name in PASSWORDS if (path := secrets.path_of(alias, name)).exists()]
    rows = [
        ("stopped", f"{stay}; complete: {', '.join(stages) or 'no stage'}"),
        ("log in", f"ssh {known_as} (that is {typed})" if known_as else typed),
        ("kept", ", ".join(places) or "no password yet"),
        ("firewall", "on" if firewall_on else "not on yet" if want.firewall else "as it was"),
        ("next", "fix the problem, then type the same command: it resumes here"),
    ]
    console.say()
    for label, text in rows:
        console.say(f"{label:<{WIDTH}}{text}")


def ssh_command(c: Connection, login: Login) -> str:
    """Return how to log in without an alias."""
    port, jump = ["-p", str(login.port)] if login.port != 22 else [], proxy_jump(c)
    return " ".join(["ssh", *port, *(["-J", jump] if jump else []), f"{login.user}@{c.host}"])


def times(took: Sequence[Duration]) -> str:
    """Return how long the run took, and its longer stages."""
    total = console.duration(sum(one.seconds for one in took if not one.parallel))
    return "; ".join([f"{total} in all", *filter(None, describe(took))])


def addresses(host: Host, want: Settings, alias: str) -> Iterator[tuple[str, str]]:
    """Yield the addresses of JupyterLab."""
    if want.published:
        yield "JupyterLab", f"{want.public_url(host.c.host)}lab"
    if want.publish != "https":
        label = "by tunnel" if want.published else "JupyterLab"
        yield label, tunnel.url(alias, want) or "no tunnel is open: tunnel.open"


def kept(host: Host, want: Settings, alias: str) -> Iterator[tuple[str, str]]:
    """Yield the secrets of this lab on a terminal; elsewhere, only where they are kept."""
    known = {
        "jupyter-password": "password",
        "sudo-password": f"sudo of {want.user}",
        "login-of-lab-user": f"login of {want.lab_user}",
    }
    for name, label in known.items():
        value, place = host.stored_secret(want, name), secrets.path_of(alias, name)
        if value and console.terminal():
            yield label, f"{value.reveal()}  (kept in {place})"
        elif value:
            yield label, f"in {place}"


def commands(alias: str, admin: str) -> Iterator[tuple[str, str]]:
    """Yield the everyday commands. admin: the name that leads to the account with sudo."""
    yield "next time", f"fab -H {alias} lab.open"
    yield "shell", f"ssh {alias}"
    if admin not in ("", alias):
        yield "with sudo", f"ssh {admin}"
    yield "all tasks", "fab --list"


def to_do(host: Host, want: Settings, alias: str) -> Iterator[tuple[str, str]]:
    """Yield what labfab cannot do itself."""
    ports = ", ".join(map(str, [host.login.port, *want.public_ports]))
    yield "to do", f"open TCP {ports} in your router or cloud firewall"
    if want.published and want.certificate == "self-signed":
        yield "to do", f"trust this lab in your browsers: fab -H {alias} https.trust"
