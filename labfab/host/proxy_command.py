"""Proxy command: reaches a host through the ProxyCommand of the ssh_config.

Fabric replaces its tokens as if the port were always 22, runs it without a shell, and waits for
ever once it has ended. Here it gets a real socket, and the present port and user.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import threading

from fabric import Connection

from ..errors import SetupError
from ..local_state import alias_block, secrets, ssh_lookup
from ..local_state.aliases import from_config

# As ssh does it, with the user's own shell. Ctrl-C is for labfab, which still needs the connection.
RUN = 'trap "" INT; exec "$0" -c "exec $1"'
LONGEST = 2000  # bytes of its complaints that are read


class ProxySocket(socket.socket):
    """Our end of a ProxyCommand."""

    def start(self, command: str, their_end: socket.socket) -> None:
        """Run the command at the other end."""
        self.command = command
        # A file, because nobody reads a pipe while the connection lasts.
        self.complaints = tempfile.TemporaryFile()  # noqa: SIM115
        shell = os.environ.get("SHELL") or "/bin/sh"
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", RUN, shell, command],
            stdin=their_end.fileno(),
            stdout=their_end.fileno(),
            stderr=self.complaints,
            env=secrets.clean_environment(),
        )
        # Else it would stay as a zombie once it has ended.
        threading.Thread(target=self.process.wait, daemon=True).start()

    def close(self) -> None:
        """Hang up, and end the command as ssh does."""
        if not self.complaints.closed:
            self.said = self.last_words()
            self.complaints.close()
            self.process.send_signal(signal.SIGHUP)
        super().close()

    def last_words(self) -> str:
        """Return the last line that the command wrote as an error."""
        if self.complaints.closed:
            return self.said
        size = os.fstat(self.complaints.fileno()).st_size
        said = os.pread(self.complaints.fileno(), LONGEST, max(0, size - LONGEST))
        lines = [line.strip() for line in said.decode(errors="replace").splitlines()]
        return next((line for line in reversed(lines) if line), "")


def opened(c: Connection) -> ProxySocket:
    """Run the ProxyCommand of a connection, and return a socket that leads to the host.

    Raises SetupError for one that hands its connection over instead of carrying the bytes.
    """
    if from_config(c, "proxyusefdpass") == ["yes"]:
        raise SetupError(
            "your ssh_config says ProxyUseFdpass, which only ssh itself can do: "
            "use a ProxyJump, or a ProxyCommand that carries the bytes",
            host=c.host,
        )
    for value, what in ((c.host, "host name"), (c.original_host, "name"), (c.user, "user name")):
        alias_block.check_word(value, what)
    tokens = {
        **ssh_lookup.tokens_of({"hostname": c.host, "user": c.user}, c.original_host),
        "p": str(c.port),
    }
    mine, theirs = socket.socketpair()
    found = ProxySocket(fileno=mine.detach())
    with theirs:
        found.start(ssh_lookup.replaced(str(c.gateway), tokens), theirs)
    found.settimeout(c.connect_timeout)
    if hasattr(c.client, "reach_through"):
        c.client.reach_through(found)
    return found
