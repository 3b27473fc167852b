"""Host key: what to do if a host is new, or shows a different key than before."""

from __future__ import annotations

import sys
from pathlib import Path

import paramiko
from fabric import Connection

from .. import console
from ..errors import SetupError
from ..local_state import known_hosts
from ..local_state.aliases import pinned_as
from ..settings import Settings
from ..text import to_type


class AskAboutHostKey(paramiko.MissingHostKeyPolicy):
    """Accept an unknown host key only if its fingerprint was given, or if the user says yes."""

    def __init__(self, c: Connection, settings: Settings, path: Path) -> None:
        """Create the policy for one connection.

        path: the known_hosts file that an accepted key is written to.
        """
        self.c, self.settings, self.path = c, settings, path

    def missing_host_key(
        self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey
    ) -> None:
        """Accept and pin an unknown key. Raises SetupError if it is refused."""
        shown = known_hosts.fingerprint(key)
        # The keys that are known do not include a revoked one.
        if known_hosts.is_revoked(self.path, *pinned_as(self.c), key):
            raise known_hosts.revoked(self.path, self.c.host, key)
        if self.settings.host_key:
            self.compare(shown)
        else:
            self.ask(shown, key.get_name())
        known_hosts.pin(self.path, *pinned_as(self.c), key)

    def compare(self, shown: str) -> None:
        """Raise SetupError if the key is not the one in the setting host_key."""
        wanted = self.settings.host_key
        if shown != wanted:
            raise SetupError(
                f"{self.c.host} shows {shown}, not the host_key {wanted}: this is another machine"
            )

    def ask(self, shown: str, kind: str) -> None:
        """Ask the user whether the key is right. Without a terminal, refuse it."""
        hint = self.authority_hint()
        if not sys.stdin.isatty():
            raise SetupError(
                f"unknown host key {shown} ({kind}){hint}; "
                f"if it is right, type LABFAB_HOST_KEY={shown} in front of the command",
                host=self.c.host,
            )
        if hint:
            console.note(f"{self.c.host}{hint}")
        question = (
            f"{self.c.host} shows the key {shown} ({kind}) for the first time; "
            f"at its console, {fingerprint_command(kind)} shows it too. Is it right?"
        )
        if not console.agreed(question):
            raise SetupError("host key not accepted, nothing was done", host=self.c.host)

    def authority_hint(self) -> str:
        """Return what to do if a certificate authority vouches for the host.

        paramiko checks no certificates of hosts.
        """
        c = self.c
        if not known_hosts.has_authority(self.path, *pinned_as(c)):
            return ""
        call = f"ssh -p {c.port} {c.user}@{c.host} 'cat /etc/ssh/ssh_host_*_key.pub'"
        return (
            ": known_hosts names a certificate authority for it, which ssh checks and labfab "
            f"cannot, so compare with {call} | ssh-keygen -lf -"
        )


def fingerprint_command(kind: str) -> str:
    """Return the command that shows the host's own fingerprint. kind: of the key."""
    name = next((name for name in ("ed25519", "ecdsa", "rsa") if name in kind), "*")
    return f"ssh-keygen -lf /etc/ssh/ssh_host_{name}_key.pub"


def changed_key(c: Connection, error: paramiko.BadHostKeyException) -> SetupError:
    """Explain a host key that differs from the pinned one."""
    name = known_hosts.host_name(*pinned_as(c))
    return SetupError(
        f"THE HOST KEY HAS CHANGED to {known_hosts.fingerprint(error.key)}: "
        "somebody may be listening in. "
        f"Only if you set the machine up again: {to_type('ssh-keygen -R', name)}",
        host=c.host,
    )
