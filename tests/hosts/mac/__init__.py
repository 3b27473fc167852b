"""The double of a Mac: a Debian that looks and behaves like macOS over SSH.

What it is made of: `tools` (commands of macOS in Python), `sh` (those of Linux that answer as BSD's do), `tree` (files),
`places` (what goes where), `build.sh` (which puts it together while the image is built). The switches that a test may set,
with their usual values, are in tools/state.py.
"""

from ..host import Host
from .tools.state import SWITCHES

FOLDER = "/var/db/double"


def switch(host: Host, name: str, value: str | bool) -> None:
    """Set a switch of a Mac, e.g. switch(host, "full-disk-access", False)."""
    if name not in SWITCHES:
        raise ValueError(f"no switch is called {name}; there are {', '.join(SWITCHES)}")
    text = {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value
    host.run(f"cat >{FOLDER}/{name}", input=text + "\n")


def everybody_may_log_in(host: Host) -> None:
    """Take Remote Login's list of accounts away; a Mac has administrators on it from the start."""
    host.run("dseditgroup -o delete -q com.apple.access_ssh")


def give_homebrew_tmux(host: Host) -> None:
    """Have the tmux of Homebrew where Homebrew puts it."""
    prefix = "/opt/homebrew" if host.run("uname -m") == "arm64" else "/usr/local"
    host.run(f"mkdir -p {prefix}/bin && ln -sf /usr/libexec/double/bin/tmux {prefix}/bin/tmux && chown -R admin:admin {prefix}")
