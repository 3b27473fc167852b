"""Firewall: let in SSH and what you publish, refuse the rest.

Owns: ufw's rules.  Undo: ufw disable
"""

from __future__ import annotations

from fabric import Connection

from ..facts import facts
from ..guard import guarded
from ..host import change
from ..platforms import platform
from ..settings import Settings
from ..task import host_task


@host_task(default=True)
def enable(c: Connection) -> None:
    """Let in SSH and what you publish, refuse the rest."""
    platform(c).install(c, "ufw")
    with guarded(c, "switch the firewall on"):
        have, want = facts(c).firewall, Settings.of(c)
        # SSH first: never shut the door you came in by.
        for port in dict.fromkeys([*sorted(facts(c).ssh.ports), *want.public_ports, *want.open_ports]):
            if port not in have.allowed:
                platform(c).allow_port(c, port)
        if have.active and have.incoming != "deny":
            change(
                c, "ufw default deny incoming", why="refuse other incoming traffic",
                undo=("firewall default %s incoming", have.incoming), then={"firewall.incoming": "deny"},
            )  # fmt: skip
        if not have.active:
            change(
                c, "ufw default deny incoming && ufw --force enable", why="switch the firewall on",
                undo=("firewall_off",), keep=["/etc/default/ufw"], then={"firewall.active": "yes"},
            )  # fmt: skip
