"""The double of a Mac: a Debian that looks and behaves like macOS over SSH.

What it is made of: `tools` (commands of macOS in Python), `sh` (those of Linux that answer as BSD's do), `tree` (files),
`places` (what goes where), `build.sh` (which puts it together while the image is built). The switches that a test may set,
with their usual values, are in tools/state.py.

What is not as on a Mac, so that a test on it proves nothing about it: bash is 5 and not 3.2; the accounts are in /etc/passwd as
well; there is a /proc, and `mount` is Linux's; GNU's tools still do the work behind BSD's options, so their messages and
details are GNU's; Python calls its platform linux; launchd is not process 1 and knows the system's domain only; nothing asks
for consent to read other people's files (TCC) but the switch full-disk-access; texts that nobody captured are made up.
"""

from tests.rig.host import Host

from .tools.state import SWITCHES

FOLDER = "/var/db/double"


def switch(host: Host, name: str, value: str | bool) -> None:
    """Set a switch of a Mac, e.g. switch(host, "full-disk-access", False)."""
    if name not in SWITCHES:
        raise ValueError(f"no switch is called {name}; there are {', '.join(SWITCHES)}")
    text = {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value
    host.run(f"cat >{FOLDER}/{name}", input=text + "\n")


def unlock(host: Host) -> None:
    """Give the password at the screen of a Mac whose FileVault waits for it."""
    host.run("touch /run/double-was-unlocked")


def everybody_may_log_in(host: Host) -> None:
    """Take Remote Login's list of accounts away; a Mac has administrators on it from the start."""
    host.run("dseditgroup -o delete -q com.apple.access_ssh")


def give_homebrew_tmux(host: Host) -> None:
    """Have the tmux of Homebrew where Homebrew puts it."""
    prefix = "/opt/homebrew" if host.run("uname -m") == "arm64" else "/usr/local"
    host.run(
        f"mkdir -p {prefix}/bin && ln -sf /usr/libexec/double/bin/tmux {prefix}/bin/tmux && chown -R admin:admin {prefix}"
    )
