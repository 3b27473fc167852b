"""Jobs: answers labfab's questions about the notebooks that run on this host (job.py).

The commands are submit, list, fetch and cancel. Each prints JSON. A problem that the user can
fix is one line on standard error, with exit code 1.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .job import JOBS, Problem, boot, dumped, parsed, read, runs, write
else:  # on the host the two files are not a package
    from job import JOBS, Problem, boot, dumped, parsed, read, runs, write

UNIT = (
    "systemd-run",
    "--user",
    "--quiet",
    "--collect",
    "--property=OOMPolicy=continue",
    "--property=TimeoutStopSec=20",
)
PATIENCE = 20.0  # seconds for a job to start, or to end
UNFINISHED = ("queued", "running")


def alive(folder: Path) -> bool:
    """Return whether somebody holds the job's lock."""
    with contextlib.suppress(FileNotFoundError), open(folder / "lock") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def current(folder: Path) -> dict[str, Any]:
    """Return a job's state, corrected if the job died: it could not report that itself."""
    state = read(folder)
    if state["state"] not in UNFINISHED or alive(folder):
        return state
    state = read(folder)  # it may have ended since the first look
    if state["state"] not in UNFINISHED:
        return state
    if state["state"] == "queued" and time.time() - state["submitted"] < PATIENCE:
        return state
    state["ended"] = (folder / "notebook.ipynb").stat().st_mtime
    if (folder / "cancelled").exists():
        return {**state, "state": "cancelled"}
    return {**state, "state": "failed", "error": cause(folder, state)}


def cause(folder: Path, state: dict[str, Any]) -> str:
    """Return why a job died."""
    if state["state"] == "queued":
        return "it never began"
    if shutil.disk_usage(folder).free < 1_000_000:
        return "no space left on the host"
    return "the host was restarted" if state["boot"] != boot() else "it was killed from outside"


def folders() -> list[Path]:
    """List the jobs, oldest first."""
    found = [path.parent for path in JOBS.glob("*/state.json") if path.parent.name.isdigit()]
    return sorted(found, key=lambda folder: int(folder.name))


def chosen(number: str) -> Path:
    """Find one job, the newest if no number is given. Raises Problem if there is none."""
    found = [folder for folder in folders() if folder.name == number or not number]
    if found:
        return found[-1]
    if number:
        raise Problem(f"there is no job {number}: lab.jobs lists them")
    raise Problem("there are no jobs yet: lab.submit NOTEBOOK")


def submit() -> None:
    """Make the job that standard input describes, start it, and print its state."""
    wanted = json.load(sys.stdin)
    root = Path(wanted["root"])
    source = root / wanted["name"]
    if wanted["notebook"]:
        text = zlib.decompress(base64.b64decode(wanted["notebook"])).decode()
    elif source.is_file():
        text, root = source.read_text(), source.parent
    else:
        raise Problem(f"there is no {source}")
    notebook = parsed(text, wanted["name"])
    own = notebook.metadata.get("kernelspec", {}).get("name")
    kernel = known_kernel(wanted["kernel"] or own or "python3")
    root.mkdir(parents=True, exist_ok=True)
    folder = new_folder()
    try:
        state = {
            "job": folder.name,
            "notebook": source.name,
            "state": "queued",
            "kernel": kernel,
            "folder": str(root),
            "cell": 0,
            "cells": sum(map(runs, notebook.cells)),
            "submitted": time.time(),
            "started": None,
            "ended": None,
            "error": "",
            "boot": boot(),
            "pid": 0,
        }
        write(folder / "notebook.ipynb", dumped(notebook))
        write(folder / "state.json", json.dumps(state).encode())
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    start(folder)
    print(json.dumps(current(folder)))


def known_kernel(name: str) -> str:
    """Return the name of a kernel. Raises Problem if the host does not have it."""
    from jupyter_client.kernelspec import KernelSpecManager

    known = sorted(KernelSpecManager().find_kernel_specs())
    if name not in known:
        raise Problem(
            f"there is no kernel {name!r} on the host: "
            f"choose one of these with --kernel: {', '.join(known)}"
        )
    return name


def new_folder() -> Path:
    """Make the folder with the next number."""
    JOBS.mkdir(mode=0o700, exist_ok=True)
    last = max((int(path.name) for path in JOBS.iterdir() if path.name.isdigit()), default=0)
    for number in itertools.count(last + 1):
        with contextlib.suppress(FileExistsError):
            (JOBS / str(number)).mkdir(mode=0o700)
            break
    return JOBS / str(number)


def start(folder: Path) -> None:
    """Run a job detached from this login: under systemd, else in a session of its own."""
    command = [sys.executable, "-B", str(JOBS.parent / "job.py"), folder.name]
    environment = {**os.environ, "XDG_RUNTIME_DIR": f"/run/user/{os.getuid()}"}
    nothing = subprocess.DEVNULL
    try:
        subprocess.run(
            [*UNIT, f"--unit=labfab-job-{folder.name}", *command],
            env=environment,
            stdin=nothing,
            stdout=nothing,
            stderr=nothing,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        subprocess.Popen(
            command,
            stdin=nothing,
            stdout=nothing,
            stderr=nothing,
            cwd="/",
            start_new_session=True,
        )
    end = time.monotonic() + PATIENCE
    while read(folder)["state"] == "queued" and time.monotonic() < end:
        time.sleep(0.05)


def show() -> None:
    """Print the states of all jobs, and the time of this host's clock."""
    print(json.dumps({"now": time.time(), "jobs": [current(folder) for folder in folders()]}))


def fetch(number: str = "") -> None:
    """Print a job's state and its notebook with the outputs so far."""
    folder = chosen(number)
    data = base64.b64encode(zlib.compress((folder / "notebook.ipynb").read_bytes(), 1)).decode()
    print(json.dumps({"state": current(folder), "notebook": data}))


def cancel(number: str) -> None:
    """End a job and its kernel. Keep what it has written so far."""
    folder = chosen(number)
    if current(folder)["state"] not in UNFINISHED:
        raise Problem(f"job {number} has ended already")
    (folder / "cancelled").touch()
    for way in (signal.SIGTERM, signal.SIGKILL):
        end = time.monotonic() + PATIENCE
        with contextlib.suppress(ProcessLookupError):
            # While the lock is held, the process ID still belongs to the job.
            if alive(folder) and read(folder)["pid"]:
                os.kill(read(folder)["pid"], way)
        while alive(folder) and time.monotonic() < end:
            time.sleep(0.05)
    print(json.dumps(current(folder)))


COMMANDS: dict[str, Callable[..., None]] = {
    "submit": submit,
    "list": show,
    "fetch": fetch,
    "cancel": cancel,
}

if __name__ == "__main__":
    try:
        COMMANDS[sys.argv[1]](*filter(None, sys.argv[2:]))
    except (Problem, OSError) as problem:
        sys.exit(str(problem))
