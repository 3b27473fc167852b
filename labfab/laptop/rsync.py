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
NOT_ALL, VANISHED, TOO_MANY = 23, 24, 25


def require() -> None:
    """Stop where this machine has no rsync 3: that of macOS is another program."""
    try:
        said = subprocess.run(["rsync", "--version"], capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        raise SetupError("rsync is missing on this machine: apt install rsync, or on a Mac brew install rsync") from None
    found = re.match(r"rsync +version v?(\d+)", said)
    if not found or int(found[1]) < 3:
        raise SetupError("the rsync of this machine is not rsync 3: on a Mac brew install rsync, then open a new terminal")


def run(argv: list[str], tell: Tell | None = None) -> tuple[int, str, str]:
    """Run rsync; give its exit code and both outputs, or tell what comes while it runs."""
    out = b""
    with tempfile.TemporaryFile() as errors:
        with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, env=environment()) as process:
            while data := process.stdout.read1(65536):
                if tell:
                    tell(progress(data.decode(errors="replace")))
                else:
                    out += data
        errors.seek(0)
        return process.returncode, out.decode(errors="replace"), errors.read().decode(errors="replace")


def environment() -> dict[str, str]:
    """What a child gets: none of our secrets, and none of the user's habits with rsync."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("LABFAB_", "RSYNC_"))} | {"LC_ALL": "C"}


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
    host = target.hostname or target.alias
    first = re.sub(r"^rsync: (\[\w+\] )?", "", own[0]) if own else "it ended without a word"
    if "command not found" in ssh or "rsync: not found" in ssh or code == 127:
        raise SetupError(f"{host}: rsync is missing there: apt install rsync on the host")
    if any(re.search(pattern, ssh) for pattern in openssh.MEANINGS):
        raise openssh.explain(target, ssh)
    full = next((line for line in own if "No space left" in line or "Disk quota" in line), "")
    if full:
        where = "there" if "[receiver]" in full or "[Receiver" in full else "at the receiving end"
        raise SetupError(f"{host}: no space left {where}: free some and run this again, it goes on where it stopped")
    if code in BROKEN:
        raise SetupError(f"{host}: the transfer was cut off: run the same command again, it goes on where this stopped")
    if code == TOO_MANY:
        raise SetupError(f"{host}: more files would be deleted than were told of, so those stay: run this again to see them")
    gone = re.search(r'link_stat "(.*)" failed: No such file', first)
    if gone:
        raise SetupError(f"{host}: there is no {gone[1]}: correct the path")
    many = f" and {len(own) - 2} more" if code == NOT_ALL and len(own) > 2 else ""
    raise SetupError(f"{host}: not all could be copied: {first}{many}")
