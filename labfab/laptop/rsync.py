"""Rsync: how labfab calls the program, and what its errors mean."""

from __future__ import annotations

import os
import re
import select
import subprocess
from collections.abc import Callable
from typing import IO, cast

from ..errors import SetupError
from . import openssh

Tell = Callable[[str], None]
BROKEN = (10, 12, 20, 30, 35, 255)  # exit codes of an interrupted transfer
VANISHED, TOO_MANY = 24, 25
SILENCE = 1800  # seconds without a word from the host, which may compare large files
LONGEST = 256_000_000  # bytes of a list of files
LONGEST_ERRORS = 1_000_000
LAST_WORDS = 500  # milliseconds to wait for more errors once rsync has closed its output
# The first version that has the options used here, and the first without holes that are known.
OLDEST, SAFE = (3, 1), (3, 4, 3)


def require() -> tuple[int, ...]:
    """Return the version of this machine's rsync.

    Raises SetupError if it is none, or older than 3.1: macOS comes with another program.
    """
    argv = ["rsync", "--version"]
    try:
        said = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        raise SetupError(
            "rsync is missing on this machine: apt install rsync, or on a Mac brew install rsync"
        ) from None
    found = re.match(r"rsync +version v?(\d+(?:\.\d+)*)", said)
    version = tuple(map(int, found[1].split("."))) if found else ()
    if version[:1] < OLDEST[:1]:
        raise SetupError(
            "the rsync of this machine is not rsync 3: on a Mac brew install rsync, "
            "then open a new terminal"
        )
    if version < OLDEST:
        raise SetupError("the rsync of this machine is older than 3.1: install a newer one")
    return version


def known_holes(version: tuple[int, ...]) -> str:
    """Return what to know about pulling with this version; empty if there is nothing."""
    if version >= SAFE:
        return ""
    return (
        f"this machine has rsync {'.'.join(map(str, version))}, and a hostile host can attack one "
        "before 3.4.3 (CVE-2024-12086, -12087, -12088 and more): if your system does not fix its "
        "rsync without a new number, as Debian and Ubuntu do, install a newer one"
    )


def run(argv: list[str], tell: Tell | None = None) -> tuple[int, str, str]:
    """Run rsync. Return its exit code, its output and its errors.

    tell: gets the progress while rsync runs; the output is empty then.
    """
    nothing, pipe = subprocess.DEVNULL, subprocess.PIPE
    with subprocess.Popen(
        argv, stdin=nothing, stdout=pipe, stderr=pipe, env=environment()
    ) as process:
        try:
            out, errors = listen(process, tell)
        except BaseException:
            process.terminate()
            raise
    # Names need not be UTF-8.
    return process.returncode, os.fsdecode(out), errors.decode(errors="replace")


def listen(process: subprocess.Popen[bytes], tell: Tell | None) -> tuple[bytes, bytes]:
    """Read what rsync prints until it ends. Raises SetupError for an endless list of files."""
    stdout, stderr = (cast(IO[bytes], end).fileno() for end in (process.stdout, process.stderr))
    out, errors = bytearray(), bytearray()
    ready = select.poll()
    ready.register(stdout, select.POLLIN)
    ready.register(stderr, select.POLLIN)
    pipes = {stdout, stderr}
    # An ssh that stays in the background keeps the pipe of errors open.
    while pipes and (found := ready.poll(None if stdout in pipes else LAST_WORDS)):
        for pipe, _ in found:
            data = os.read(pipe, 65536)
            if not data:
                ready.unregister(pipe)
                pipes.remove(pipe)
            elif pipe == stderr:
                errors += data[: max(0, LONGEST_ERRORS - len(errors))]
            elif tell:
                tell(progress(data.decode(errors="replace")))
            else:
                out += data
        if len(out) > LONGEST:
            raise SetupError(
                f"the host lists more than {LONGEST // 1_000_000} MB of names: "
                "name a smaller folder"
            )
    return bytes(out), bytes(errors)


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


def judge(target: openssh.Target, code: int, errors: str, ssh_said: str = "") -> None:
    """Raise SetupError, with one line, if rsync did not copy everything.

    errors: what came to stderr, also from the host: it is shown, and never taken for ssh's words.
    ssh_said: what ssh itself wrote to its log.
    """
    if code in (0, VANISHED):  # files that have vanished need no copy
        return
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    own = [line for line in lines if line.startswith("rsync")]
    printed = "\n".join(line for line in lines if line not in own)
    if code == 127 or re.search(r"command not found|rsync: not found", printed):
        missing = "rsync is missing there: apt install rsync on the host"
        raise SetupError(missing, host=target.name)
    if openssh.meaning(ssh_said):
        raise openssh.explain(target, ssh_said)
    raise SetupError(meaning(code, own, ssh_said, printed), host=target.name)


def meaning(code: int, own: list[str], ssh_said: str, printed: str) -> str:
    """Return what happened and what to do. own: the lines that rsync itself wrote."""
    if any("No space left" in line or "Disk quota" in line for line in own):
        return (
            "no space left where the files go: free some and run this again, "
            "and it continues where it stopped"
        )
    if code in BROKEN:
        why = f" ({openssh.heard(ssh_said, printed)})" if ssh_said or printed else ""
        return (
            f"the transfer was interrupted{why}: run the same command again, "
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
