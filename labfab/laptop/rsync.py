"""The rsync program: how it is called from here, and what its errors mean."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Callable

from ..errors import SetupError
from . import openssh

Tell = Callable[[str], None]
BROKEN = (10, 12, 20, 30, 35, 255)  # exit codes of a transfer that was cut off
VANISHED, TOO_MANY = 24, 25


def require() -> None:
    """Stop where this machine has no rsync 3: that of macOS is another program."""
    try:
        said = subprocess.run(
            ["rsync", "--version"], capture_output=True, text=True, check=False
        ).stdout
    except FileNotFoundError:
        raise SetupError(
            "rsync is missing on this machine: apt install rsync, or on a Mac brew install rsync"
        ) from None
    found = re.match(r"rsync +version v?(\d+)", said)
    if not found or int(found[1]) < 3:
        raise SetupError(
            "the rsync of this machine is not rsync 3: on a Mac brew install rsync, then open a new terminal"
        )


def run(argv: list[str], tell: Tell | None = None) -> tuple[int, str, str]:
    """Run rsync; give its exit code and both outputs, or tell what comes while it runs."""
    out = b""
    with tempfile.TemporaryFile() as errors:
        with subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, env=environment()
        ) as process:
            while data := process.stdout.read1(65536):
                if tell:
                    tell(progress(data.decode(errors="replace")))
                else:
                    out += data
        errors.seek(0)
        return (
            process.returncode,
            out.decode(errors="replace"),
            errors.read().decode(errors="replace"),
        )


def environment() -> dict[str, str]:
    """What a child gets: none of our secrets, and none of the user's habits with rsync."""
    return {
        key: value for key, value in os.environ.items() if not key.startswith(("LABFAB_", "RSYNC_"))
    } | {"LC_ALL": "C"}


def progress(text: str) -> str:
    """The newest state that rsync wrote, as 3.40M 45% 10.51MB/s 0:00:12."""
    states = [state for state in re.split(r"[\r\n]", text) if state.strip()]
    return " ".join(states[-1].split("(")[0].split()) if states else ""


def judge(target: openssh.Target, code: int, errors: str) -> None:
    """Raise SetupError with one line when rsync did not do it all."""
    if code in (0, VANISHED):  # files that went away meanwhile need no copy
        return
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    own = [line for line in lines if line.startswith("rsync")]
    ssh = "\n".join(line for line in lines if line not in own)
    missing = code == 127 or re.search(r"command not found|rsync: not found", ssh)
    if not missing and any(re.search(pattern, ssh) for pattern in openssh.MEANINGS):
        raise openssh.explain(target, ssh)
    problem = (
        "rsync is missing there: apt install rsync on the host" if missing else meaning(code, own)
    )
    raise SetupError(f"{target.hostname or target.alias}: {problem}")


def meaning(code: int, own: list[str]) -> str:
    """What happened and what to do, from the exit code and rsync's own lines."""
    if any("No space left" in line or "Disk quota" in line for line in own):
        return "no space left where the files go: free some and run this again, it goes on where it stopped"
    if code in BROKEN:
        return "the transfer was cut off: run the same command again, it goes on where this stopped"
    if code == TOO_MANY:
        return "more files would be deleted than were told of, so those stay: run this again to see them"
    told = [
        re.sub(r"^rsync: (\[\w+\] )?", "", line)
        for line in own
        if not re.match(r"rsync error|.*Broken pipe", line)
    ]
    first = told[0] if told else "it ended without a word"
    gone = re.search(r'(?:link_stat|change_dir) "(.*)" failed: No such file', first)
    if gone:
        return f"there is no {gone[1]}: correct the path"
    return f"not all could be copied: {first}{f' and {len(told) - 1} more' * (len(told) > 1)}"
