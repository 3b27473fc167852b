"""SSH control: how to find an ssh in the background again, and end it.

Constraints:
- A socket's path has at most 104 bytes on macOS, and ssh adds 17 while it creates one.
- A process ID may belong to another program by now, so a process is signaled only if its command
  line is ours.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from ..errors import SetupError
from ..local_state import files
from . import openssh

LONGEST = 86  # bytes
PATIENCE = 3  # seconds for an ssh to answer, or to end


def socket_path(alias: str) -> Path:
    """Choose the socket of a lab: in ~/.ssh, or where the path is short enough."""
    name = "labfab-" + hashlib.sha256(os.fsencode(Path.home() / alias)).hexdigest()[:12]
    for folder in folders():
        # ssh would expand ${ as a variable.
        if len(os.fsencode(folder / name)) <= LONGEST and "${" not in str(folder):
            return folder / name
    raise SetupError(
        "no folder with a short path for ssh's control socket: "
        "set XDG_RUNTIME_DIR to one of your own"
    )


def folders() -> Iterator[Path]:
    """Offer folders that only you can enter. Raises SetupError for one in /tmp that is not."""
    yield files.make_private(Path.home() / ".ssh")
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    if runtime.is_absolute() and is_private(runtime):
        yield runtime
    own = Path(f"/tmp/labfab-{os.getuid()}")
    with contextlib.suppress(FileExistsError):
        own.mkdir(mode=0o700)
    if not is_private(own):  # somebody created it first, to listen in
        raise SetupError(f"{own} is not a folder of yours alone: have it removed")
    yield own


def is_private(folder: Path) -> bool:
    """Return whether a folder is a real one, yours, and closed to others."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077


def option(control: Path) -> list[str]:
    """Return ssh's option for a socket."""
    return ["-S", str(control).replace("%", "%%")]


def command(control: Path, word: str, *options: str) -> list[str]:
    """Return the ssh command that sends a control command to the ssh behind a socket.

    It reads no configuration and resolves no name: it works even if the host is gone, and adds no
    forward but ours.
    """
    return ["ssh", "-F", "none", *option(control), "-O", word, *options, "labfab"]


def ask(control: Path, word: str) -> str:
    """Send a control command to the ssh behind a socket and return its answer."""
    return openssh.run(command(control, word), PATIENCE)[1]


def forward(control: Path, local: str, far: str) -> bool:
    """Let the ssh behind a socket forward a local address. Return False if that is taken."""
    return openssh.run(command(control, "forward", "-L", f"{local}:{far}"), PATIENCE)[0] == 0


def pid(control: Path) -> int:
    """Return the process ID behind a socket, or 0 if none answers."""
    if not control.exists():
        return 0
    found = re.search(r"Master running \(pid=(\d+)\)", ask(control, "check"))
    return int(found[1]) if found else 0


def end(control: Path, known: int) -> bool:
    """End the ssh behind a socket, by force if it does not listen. Return False if none ran.

    known: the process that opened it, for a socket that does not answer; 0 if that is unknown.
    """
    process = pid(control)
    if process:
        ask(control, "exit")
    elif is_ours(known, control):
        process = known
        send(process, signal.SIGTERM)
    if process and not is_gone(process, control):
        send(process, signal.SIGKILL)
    if control.is_socket():
        control.unlink(missing_ok=True)
    return bool(process)


def send(process: int, number: int) -> None:
    """Send a signal to a process, which may have ended by now."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, number)


def is_gone(process: int, control: Path) -> bool:
    """Wait a moment for a process to end, and return whether it has."""
    deadline = time.monotonic() + PATIENCE
    while is_ours(process, control):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def process_identity(process: int) -> str:
    """Identify a process uniquely: by its ID and when it started."""
    try:
        # Field 22 of proc(5): in ticks since boot.
        started = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:  # no /proc on macOS
        return f"{process} {ps(process, 'lstart')}"
    return f"{process} {started} {boot}"


def ps(process: int, column: str) -> str:
    """Return one column that ps prints of a process; empty if there is none."""
    argv = ["ps", "-ww", "-o", f"{column}=", "-p", str(process)]
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:
        return ""


def is_ours(process: int, control: Path) -> bool:
    """Return whether a process is an ssh with this control socket."""
    if process <= 1:
        return False
    try:
        line = Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace")
    except OSError:  # no /proc on macOS
        line = ps(process, "command")
    return re.match(r"\S*ssh\b", line) is not None and option(control)[1] in line
