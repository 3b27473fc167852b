"""Systemd on your laptop: a user unit that starts a tunnel's ssh again whenever it ends.

Owns: ~/.config/systemd/user/labfab-<alias>.service.  Undo: remove(alias)
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from ..errors import SetupError
from ..local_state import files

NAME = "systemd"
AGENT = "systemctl --user import-environment SSH_AUTH_SOCK"
# However long the host is away, systemd goes on trying; ssh itself finds out that a line is dead.
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
    files.check_alias(alias)
    base = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
    return base / "systemd" / "user" / name(alias)


def name(alias: str) -> str:
    return f"labfab-{alias}.service"


def refuse() -> None:
    """Stop where nobody would start the unit: a container, WSL 1, another init."""
    code, out = systemctl("show-environment")
    if code:
        why = out.strip().splitlines()[-1] if out.strip() else "it does not answer"
        raise SetupError(
            f"a kept tunnel needs systemd's user services, and here are none (systemctl --user: {why}): take tunnel.open"
        )


def install(alias: str, argv: list[str], log: Path) -> None:
    """Write the unit and start it, now and at each login."""
    text = UNIT.format(
        alias=alias, command=" ".join(map(quoted, argv)), log=str(log).replace("%", "%%")
    )
    files.make_private(path(alias).parent)
    files.replace(path(alias), text.encode(), 0o600)
    for words in (["daemon-reload"], ["enable", name(alias)], ["restart", name(alias)]):
        insist(*words)


def start(alias: str) -> None:
    insist("start", name(alias))


def stop(alias: str) -> bool:
    """Stop it until the next login; False when it did not run."""
    ran = systemctl("is-active", "--quiet", name(alias))[0] == 0
    systemctl("stop", name(alias))  # also while it waits for its next try
    return ran


def remove(alias: str) -> bool:
    """Stop it for good; False when there was none."""
    if not path(alias).exists():
        return False
    systemctl("disable", "--now", name(alias))
    path(alias).unlink(missing_ok=True)
    systemctl("daemon-reload")
    return True


def pid(alias: str) -> int:
    """The ssh that runs, 0 between two tries."""
    said = systemctl("show", "-p", "MainPID", "--value", name(alias))[1].strip()
    return int(said) if said.isdigit() else 0


def quoted(word: str) -> str:
    """Write one argument so that systemd reads it as it is."""
    for sign, meant in (("\\", "\\\\"), ('"', '\\"'), ("%", "%%"), ("$", "$$")):
        word = word.replace(sign, meant)
    return f'"{word}"'


def insist(*words: str) -> None:
    code, out = systemctl(*words)
    if code:
        raise SetupError(f"systemctl --user {' '.join(words)} fails: {' '.join(out.split())}")


def systemctl(*words: str) -> tuple[int, str]:
    """Ask systemd; give its exit code and what it said."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("LABFAB_")}
    env.setdefault("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")  # a login by su has none
    try:
        done = subprocess.run(
            ["systemctl", "--user", *words],
            capture_output=True,
            text=True,
            env=env,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 127, getattr(error, "strerror", "") or "it does not answer"
    return done.returncode, done.stdout + done.stderr
