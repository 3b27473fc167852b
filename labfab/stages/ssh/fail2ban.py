"""Fail2ban: where it watches sshd, it closes the port that sshd listens on.

Owns: /etc/fail2ban/jail.d/zz-labfab.local.  Undo: delete it, then fail2ban-client reload
Whoever has no fail2ban, or no jail for sshd, gets nothing.
"""

from __future__ import annotations

from fabric import Connection

from ...facts import facts
from ...host.changes import change

JAIL = "/etc/fail2ban/jail.d/zz-labfab.local"
TEXT = "# Written by labfab: the port that sshd listens on.\n[sshd]\nport = %s\n"
WRITE = (
    "printf %%s %s >%s.new && mv -f %s.new %s && "
    "if fail2ban-client ping >/dev/null 2>&1; then fail2ban-client reload sshd >/dev/null; fi"
)
NAMES = {"ssh": 22}  # of ports, as in /etc/services


def follow_port(c: Connection) -> None:
    """Make fail2ban's jail for sshd close all ports of sshd."""
    have = facts(c).ssh
    if not have.jail or all(closes(have.jail, port) for port in have.ports):
        return
    ports = ",".join(str(port) for port in sorted(have.ports))
    change(
        c,
        WRITE,
        TEXT % ports,
        *(JAIL, JAIL, JAIL),
        why=f"let fail2ban close port {ports.replace(',', ' and ')} to whom it bans",
        undo=("jail %s", JAIL),
        keep=[JAIL],
        then={"ssh.jail": ports},
    )


def closes(jail: str, port: int) -> bool:
    """Return whether a jail's ports, such as `ssh,8000:8010`, include this one."""
    for part in jail.replace(" ", "").split(","):
        first, _, last = part.partition(":")
        low, high = number(first), number(last or first)
        if low <= port <= high or part == "all":
            return True
    return False


def number(port: str) -> int:
    """Return the number of a port; 0 if it is no number and no name that we know."""
    return NAMES.get(port) or (int(port) if port.isdecimal() else 0)
