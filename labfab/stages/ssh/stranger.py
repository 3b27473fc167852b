"""Stranger: asks sshd what it says to somebody who does not log in.

A host may count such a question as an attack, and take no more connections from that address for a
while (PerSourcePenalties of sshd, fail2ban). So it is asked from the host itself, through the login
that is open already. Only where that is impossible, it is asked from here, after the proof.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fabric import Connection

from ...facts import facts
from ...host.connection import NoWayInside, Place
from ...host.session import Host
from ...host.shell import CONNECTION_ERRORS

if TYPE_CHECKING:
    from ...facts.records import Ssh

LOOPBACK = "127.0.0.1"
Ask = Callable[[Place | None], None]


class Stranger:
    """One question in a guarded change. It has three ends: an answer, none, or no way to ask."""

    def __init__(self, c: Connection, ask: Ask) -> None:
        """Prepare the question.

        ask: asks through the place on the host, from here if there is none. Raises SetupError for a
        wrong answer.
        """
        self.c, self.ask, self.asked = c, ask, False

    def from_inside(self) -> None:
        """Ask before the proof. Afterwards sshd has surely read its new configuration."""
        if not Host.of(self.c).planning:
            self.asked = self.put(place_inside(facts(self.c).ssh))

    def from_here(self) -> None:
        """Ask after the proof, unless that was possible before it."""
        if not self.asked:
            self.put(None)

    def put(self, place: Place | None) -> bool:
        """Ask. Returns False if there is no way, or if sshd hangs up."""
        try:
            self.ask(place)
        except (NoWayInside, *CONNECTION_ERRORS):
            return False
        return True


def place_inside(have: Ssh) -> Place:
    """Return where sshd listens, as the host itself calls it."""
    return (have.login_address or LOOPBACK, min(have.ports, default=22))
