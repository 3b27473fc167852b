"""Systemd user: on your laptop, a user unit restarts a tunnel's ssh whenever it ends.

Owns: ~/.config/systemd/user/labfab-<alias>.service.  Undo: remove(alias)
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from .. import decode
from ..errors import SetupError
from ..local_state import files, secrets

NAME = "systemd"
AGENT = "systemctl --user import-environment SSH_AUTH_SOCK"
# systemd never gives up, however long the host is away. ssh itself notices a dead connection.
UNIT = """\
# Written by labfab (tunnel.keep); tunnel.forget removes it.
[Unit]
Description=Tunnel to the JupyterLab of {alias}
StartLimitIntervalSec=0

[Service]
ExecStart={command}
StandardError=truncate:{log}
Restart=always
RestartSec=3

[Install]
WantedBy=default.target
"""


def path(alias: str) -> Path:
    """Return the file of the unit."""
    files.check_alias(alias)
    base = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
    return base / "systemd" / "user" / name(alias)


def name(alias: str) -> str:
    """Return the name of the unit."""
    return f"labfab-{alias}.service"


def refuse_without_manager() -> None:
    """Raise SetupError if nothing would start the unit: in a container, WSL 1, another init."""
    code, out = systemctl("show-environment")
    if code:
        why = out.strip().splitlines()[-1] if out.strip() else "it does not answer"
        raise SetupError(
            "a kept tunnel needs systemd's user services, which this machine does not have "
            f"(systemctl --user: {why}): use tunnel.open"
        )


def install(alias: str, argv: list[str], log: Path) -> None:
    """Write the unit and start it, now and at each login."""
    command = " ".join(map(quoted, argv))
    text = UNIT.format(alias=alias, command=command, log=str(log).replace("%", "%%"))
    files.make_private(path(alias).parent)
    files.replace(path(alias), text.encode(), 0o600)
    for words in (["daemon-reload"], ["enable", name(alias)], ["restart", name(alias)]):
        require(*words)


def start(alias: str) -> None:
    """Start the unit, unless it runs."""
    require("start", name(alias))


def stop(alias: str) -> bool:
    """Stop the unit until the next login. Return False if it did not run."""
    ran = systemctl("is-active", "--quiet", name(alias))[0] == 0
    systemctl("stop", name(alias))  # even if it is waiting for its next try
    return ran


def remove(alias: str) -> bool:
    """Stop the unit for good. Return False if there was none."""
    if not path(alias).exists():
        return False
    systemctl("disable", "--now", name(alias))
    path(alias).unlink(missing_ok=True)
    systemctl("daemon-reload")
    return True


def pid(alias: str) -> int:
    """Return the process ID of its ssh, or 0 between two tries."""
    said = systemctl("show", "-p", "MainPID", "--value", name(alias))[1].strip()
    return decode.number(said) or 0


def quoted(word: str) -> str:
    """Quote one argument for ExecStart, where \\, ", % and $ have a meaning."""
    for sign, escaped in (("\\", "\\\\"), ('"', '\\"'), ("%", "%%"), ("$", "$$")):
        word = word.replace(sign, escaped)
    return f'"{word}"'


def require(*words: str) -> None:
    """Run systemctl. Raises SetupError if it fails."""
    code, out = systemctl(*words)
    if code:
        raise SetupError(f"systemctl --user {' '.join(words)} fails: {' '.join(out.split())}")


def systemctl(*words: str) -> tuple[int, str]:
    """Run systemctl --user. Return its exit code and its output."""
    env = secrets.clean_environment()
    env.setdefault("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")  # a login by su has none
    argv = ["systemctl", "--user", *words]
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, env=env, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 127, getattr(error, "strerror", "") or "it does not answer"
    return done.returncode, done.stdout + done.stderr
