"""Launchd on your Mac: an agent that starts a tunnel's ssh again whenever it ends.

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
    files.check_alias(alias)
    return Path.home() / "Library" / "LaunchAgents" / f"{label(alias)}.plist"


def label(alias: str) -> str:
    return f"labfab.{alias}"


def domain() -> str:
    return f"gui/{os.getuid()}"


def refuse() -> None:
    """Stop where nobody would start the agent: launchd has them for those who are logged in at the screen."""
    code, _ = launchctl("print", domain())
    if code:
        raise SetupError(
            "a kept tunnel is an agent of launchd, which needs you to be logged in at this Mac's screen: take tunnel.open"
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
    if launchctl("print", f"{domain()}/{label(alias)}")[0] == 0:
        return
    code, out = launchctl("bootstrap", domain(), str(path(alias)))
    if code:
        raise SetupError(f"launchctl bootstrap {domain()} fails: {' '.join(out.split())}")


def stop(alias: str) -> bool:
    """Stop it until the next login; False when it did not run."""
    return launchctl("bootout", f"{domain()}/{label(alias)}")[0] == 0


def remove(alias: str) -> bool:
    """Stop it for good; False when there was none."""
    stop(alias)
    there = path(alias).exists()
    path(alias).unlink(missing_ok=True)
    return there


def pid(alias: str) -> int:
    """The ssh that runs, 0 between two tries."""
    found = re.search(
        r"^\s*pid = (\d+)$", launchctl("print", f"{domain()}/{label(alias)}")[1], re.MULTILINE
    )
    return int(found[1]) if found else 0


def launchctl(*words: str) -> tuple[int, str]:
    """Ask launchd; give its exit code and what it said."""
    try:
        done = subprocess.run(
            ["launchctl", *words], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 127, getattr(error, "strerror", "") or "it does not answer"
    return done.returncode, done.stdout + done.stderr
