"""Firewall: let in SSH and what you publish, refuse the rest.

Owns: ufw's rules; those for what is published have the comment `labfab`.  Undo: ufw disable
"""

from __future__ import annotations

from fabric import Connection

from .. import console
from ..facts import facts
from ..host.changes import change
from ..platforms import platform
from ..run.guard import guarded
from ..run.task import host_task
from ..settings import Settings

OURS = "labfab"  # the comment of a rule that is there for a published JupyterLab alone


@host_task(default=True)
def enable(c: Connection) -> None:
    """Let in SSH and what you publish, refuse the rest."""
    if not platform(c).FIREWALL:
        return platform(c).tell_of_firewall(c)
    platform(c).install(c, platform(c).FIREWALL)
    with guarded(c, "switch the firewall on"):
        have, want = facts(c).firewall, Settings.of(c)
        # SSH first: never shut the door you came in by.
        for port in dict.fromkeys(
            [*sorted(facts(c).ssh.ports), *want.public_ports, *want.open_ports]
        ):
            if port not in have.allowed:
                private = port in facts(c).ssh.ports or port not in want.public_ports
                platform(c).allow_port(c, port, "" if private else OURS)
        for port in forsaken(c, want):
            close(c, port)
        if have.active and have.incoming != "deny":
            change(
                c,
                "ufw default deny incoming",
                why="refuse other incoming traffic",
                undo=("firewall default %s incoming", have.incoming),
                then={"firewall.incoming": "deny"},
            )
        if not have.active:
            change(
                c,
                "ufw default deny incoming && ufw --force enable",
                why="switch the firewall on",
                undo=("firewall_off",),
                keep=["/etc/default/ufw"],
                then={"firewall.active": "yes"},
            )


def close(c: Connection, port: int) -> None:
    """Close a port that was opened for JupyterLab, unless another program has come to need it."""
    holder = facts(c).ssh.listening.get(port, "")
    if holder and not holder.startswith(("jupyter", "python")):
        console.note(
            f"port {port} stays open in the firewall, {holder} listens there; if nothing needs that: ufw delete allow {port}/tcp"
        )
    else:
        platform(c).close_port(c, port, OURS)


def forsaken(c: Connection, want: Settings) -> list[int]:
    """The ports that labfab opened for what was published before, and that nothing needs now."""
    rules = facts(c).firewall.rules
    ours = {port for port in rules if any(rule[-2:] == ("comment", OURS) for rule in rules[port])}
    return sorted(ours - facts(c).ssh.ports - {*want.public_ports, *want.open_ports})
