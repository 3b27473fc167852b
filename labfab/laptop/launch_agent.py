"""Launch agent: on your Mac, launchd restarts a tunnel's ssh whenever it ends.

Owns: ~/Library/LaunchAgents/labfab.<alias>.plist.  Undo: remove(alias)
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from ..errors import SetupError
from ..local_state import files

NAME = "launchd"
AGENT = "ssh-add --apple-use-keychain KEY"


def path(alias: str) -> Path:
    """Return the property list of the agent."""
    files.check_alias(alias)
    return Path.home() / "Library" / "LaunchAgents" / f"{label(alias)}.plist"


def label(alias: str) -> str:
    """Return the name of the agent."""
    return f"labfab.{alias}"


def domain() -> str:
    """Return the domain of agents: this user's logins at the screen."""
    return f"gui/{os.getuid()}"


def refuse_without_manager() -> None:
    """Raise SetupError if nothing would start the agent: launchd does so only for the screen."""
    code, _ = launchctl("print", domain())
    if code:
        raise SetupError(
            "a kept tunnel is an agent of launchd, which needs you to be logged in at this Mac's "
            "screen: use tunnel.open"
        )


def agent(alias: str, argv: list[str], log: Path) -> bytes:
    """Write the agent as a property list."""
    import plistlib

    keys = {
        "Label": label(alias),
        "ProgramArguments": argv,
        "RunAtLoad": True,
        "KeepAlive": True,
        "ThrottleInterval": 3,
        "StandardErrorPath": str(log),
    }
    return plistlib.dumps(keys)


def install(alias: str, argv: list[str], log: Path) -> None:
    """Write the agent and start it, now and at each login."""
    stop(alias)
    files.make_private(path(alias).parent)
    files.replace(path(alias), agent(alias, argv, log), 0o600)
    start(alias)


def start(alias: str) -> None:
    """Start the agent, unless it runs."""
    if launchctl("print", f"{domain()}/{label(alias)}")[0] == 0:
        return
    code, out = launchctl("bootstrap", domain(), str(path(alias)))
    if code:
        raise SetupError(f"launchctl bootstrap {domain()} fails: {' '.join(out.split())}")


def stop(alias: str) -> bool:
    """Stop the agent until the next login. Return False if it did not run."""
    return launchctl("bootout", f"{domain()}/{label(alias)}")[0] == 0


def remove(alias: str) -> bool:
    """Stop the agent for good. Return False if there was none."""
    stop(alias)
    existed = path(alias).exists()
    path(alias).unlink(missing_ok=True)
    return existed


def pid(alias: str) -> int:
    """Return the process ID of its ssh, or 0 between two tries."""
    out = launchctl("print", f"{domain()}/{label(alias)}")[1]
    found = re.search(r"^\s*pid = (\d+)$", out, re.MULTILINE)
    return int(found[1]) if found else 0


def launchctl(*words: str) -> tuple[int, str]:
    """Run launchctl. Return its exit code and its output."""
    argv = ["launchctl", *words]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return 127, getattr(error, "strerror", "") or "it does not answer"
    return done.returncode, done.stdout + done.stderr
