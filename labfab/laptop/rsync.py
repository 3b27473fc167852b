"""Rsync: how labfab calls the program, and what its errors mean."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Callable
from typing import IO, cast

from ..errors import SetupError
from . import openssh

Tell = Callable[[str], None]
BROKEN = (10, 12, 20, 30, 35, 255)  # exit codes of an interrupted transfer
VANISHED, TOO_MANY = 24, 25


def require() -> None:
    """Raise SetupError if this machine has no rsync 3: macOS comes with another program."""
    argv = ["rsync", "--version"]
    try:
        said = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        raise SetupError(
            "rsync is missing on this machine: apt install rsync, or on a Mac brew install rsync"
        ) from None
    found = re.match(r"rsync +version v?(\d+)", said)
    if not found or int(found[1]) < 3:
        raise SetupError(
            "the rsync of this machine is not rsync 3: on a Mac brew install rsync, "
            "then open a new terminal"
        )


def run(argv: list[str], tell: Tell | None = None) -> tuple[int, str, str]:
    """Run rsync. Return its exit code, its output and its errors.

    tell: gets the progress while rsync runs; the output is empty then.
    """
    nothing, pipe = subprocess.DEVNULL, subprocess.PIPE
    out = b""
    with tempfile.TemporaryFile() as errors:
        with subprocess.Popen(
            argv, stdin=nothing, stdout=pipe, stderr=errors, env=environment()
        ) as process:
            stdout = cast(IO[bytes], process.stdout)
            while data := os.read(stdout.fileno(), 65536):
                if tell:
                    tell(progress(data.decode(errors="replace")))
                else:
                    out += data
        errors.seek(0)
        said = errors.read().decode(errors="replace")
        return process.returncode, out.decode(errors="replace"), said


def environment() -> dict[str, str]:
    """Return rsync's environment, without our secrets and the user's settings for rsync."""
    ours = ("LABFAB_", "RSYNC_")
    return {key: value for key, value in os.environ.items() if not key.startswith(ours)} | {
        "LC_ALL": "C"
    }


def progress(text: str) -> str:
    """Return the newest state that rsync wrote, as 3.40M 45% 10.51MB/s 0:00:12."""
    states = [state for state in re.split(r"[\r\n]", text) if state.strip()]
    return " ".join(states[-1].split("(")[0].split()) if states else ""


def judge(target: openssh.Target, code: int, errors: str) -> None:
    """Raise SetupError, with one line, if rsync did not copy everything."""
    if code in (0, VANISHED):  # files that have vanished need no copy
        return
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    own = [line for line in lines if line.startswith("rsync")]
    ssh = "\n".join(line for line in lines if line not in own)
    if code == 127 or re.search(r"command not found|rsync: not found", ssh):
        missing = "rsync is missing there: apt install rsync on the host"
        raise SetupError(missing, host=target.name)
    if any(re.search(pattern, ssh) for pattern in openssh.MEANINGS):
        raise openssh.explain(target, ssh)
    raise SetupError(meaning(code, own), host=target.name)


def meaning(code: int, own: list[str]) -> str:
    """Return what happened and what to do. own: the lines that rsync itself wrote."""
    if any("No space left" in line or "Disk quota" in line for line in own):
        return (
            "no space left where the files go: free some and run this again, "
            "and it continues where it stopped"
        )
    if code in BROKEN:
        return (
            "the transfer was interrupted: run the same command again, "
            "and it continues where it stopped"
        )
    if code == TOO_MANY:
        return (
            "more files would be deleted than were shown, so the others were kept: "
            "run this again to see them"
        )
    noise = r"rsync error|.*Broken pipe"
    problems = [re.sub(r"^rsync: (\[\w+\] )?", "", one) for one in own if not re.match(noise, one)]
    first = problems[0] if problems else "it ended without a message"
    gone = re.search(r'(?:link_stat|change_dir) "(.*)" failed: No such file', first)
    if gone:
        return f"there is no {gone[1]}: correct the path"
    more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
    return f"not all could be copied: {first}{more}"
