"""Jobs: what can be asked of the notebooks that run on this host (job.py): submit, list, fetch, cancel.

Each prints JSON; what the user can mend is one line on standard error and exit code 1.
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
from pathlib import Path

from job import JOBS, Problem, boot, dumped, parsed, read, runs, write

UNIT = (
    "systemd-run",
    "--user",
    "--quiet",
    "--collect",
    "--property=OOMPolicy=continue",
    "--property=TimeoutStopSec=20",
)
PATIENCE = 20.0  # seconds for a job to begin, or to end
UNDER_WAY = ("queued", "running")


def alive(folder: Path) -> bool:
    """Tell whether somebody holds the job's lock."""
    with contextlib.suppress(FileNotFoundError), open(folder / "lock") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def settled(folder: Path) -> dict:
    """Read a state as it really is: a job that died has not told so itself."""
    state = read(folder)
    if state["state"] not in UNDER_WAY or alive(folder):
        return state
    state = read(folder)  # it may have ended between the two looks
    if state["state"] not in UNDER_WAY or (
        state["state"] == "queued" and time.time() - state["submitted"] < PATIENCE
    ):
        return state
    state["ended"] = (folder / "notebook.ipynb").stat().st_mtime
    if (folder / "cancelled").exists():
        return {**state, "state": "cancelled"}
    if state["state"] == "queued":
        return {**state, "state": "failed", "error": "it never began"}
    why = "the host was restarted" if state["boot"] != boot() else "it was killed from outside"
    if shutil.disk_usage(folder).free < 1_000_000:
        why = "no space left on the host"
    return {**state, "state": "failed", "error": why}


def folders() -> list[Path]:
    """List the jobs, oldest first."""
    found = [path.parent for path in JOBS.glob("*/state.json") if path.parent.name.isdigit()]
    return sorted(found, key=lambda folder: int(folder.name))


def chosen(number: str) -> Path:
    """Find one job, the newest if no number is given."""
    found = [folder for folder in folders() if folder.name == number or not number]
    if not found:
        raise Problem(
            f"there is no job {number}: lab.jobs lists them"
            if number
            else "there are no jobs yet: lab.submit NOTEBOOK"
        )
    return found[-1]


def submit() -> None:
    """Make a job of what standard input asks for, start it, and tell its state."""
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
    kernel = known_kernel(
        wanted["kernel"] or notebook.metadata.get("kernelspec", {}).get("name") or "python3"
    )
    root.mkdir(parents=True, exist_ok=True)
    folder = new_folder()
    try:
        write(folder / "notebook.ipynb", dumped(notebook))
        state = {
            "job": folder.name,
            "notebook": source.name,
            "state": "queued",
            "kernel": kernel,
            "folder": str(root),
        }
        state |= {
            "cell": 0,
            "cells": sum(map(runs, notebook.cells)),
            "submitted": time.time(),
            "started": None,
            "ended": None,
        }
        write(
            folder / "state.json",
            json.dumps({**state, "error": "", "boot": boot(), "pid": 0}).encode(),
        )
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    start(folder)
    print(json.dumps(settled(folder)))


def known_kernel(name: str) -> str:
    from jupyter_client.kernelspec import KernelSpecManager

    known = sorted(KernelSpecManager().find_kernel_specs())
    if name not in known:
        raise Problem(
            f"there is no kernel {name!r} on the host: take one of these with --kernel: {', '.join(known)}"
        )
    return name


def new_folder() -> Path:
    """Make the folder of the next number."""
    JOBS.mkdir(mode=0o700, exist_ok=True)
    last = max((int(path.name) for path in JOBS.iterdir() if path.name.isdigit()), default=0)
    for number in itertools.count(last + 1):
        with contextlib.suppress(FileExistsError):
            (JOBS / str(number)).mkdir(mode=0o700)
            return JOBS / str(number)


def start(folder: Path) -> None:
    """Run a job so that it belongs to no login: under systemd, else in a session of its own."""
    command = [sys.executable, "-B", str(JOBS.parent / "job.py"), folder.name]
    environment = {**os.environ, "XDG_RUNTIME_DIR": f"/run/user/{os.getuid()}"}
    quiet = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
    }
    try:
        subprocess.run(
            [*UNIT, f"--unit=labfab-job-{folder.name}", *command],
            env=environment,
            check=True,
            **quiet,
        )
    except (OSError, subprocess.CalledProcessError):
        subprocess.Popen(command, start_new_session=True, cwd="/", **quiet)
    end = time.monotonic() + PATIENCE
    while read(folder)["state"] == "queued" and time.monotonic() < end:
        time.sleep(0.05)


def show() -> None:
    """Print the states of all jobs, and what time it is here."""
    print(json.dumps({"now": time.time(), "jobs": [settled(folder) for folder in folders()]}))


def fetch(number: str = "") -> None:
    """Print a job's state and its notebook with the outputs so far."""
    folder = chosen(number)
    data = base64.b64encode(zlib.compress((folder / "notebook.ipynb").read_bytes(), 1)).decode()
    print(json.dumps({"state": settled(folder), "notebook": data}))


def cancel(number: str) -> None:
    """End a job and its kernel; what it has written so far is kept."""
    folder = chosen(number)
    if settled(folder)["state"] not in UNDER_WAY:
        raise Problem(f"job {number} has ended already")
    (folder / "cancelled").touch()
    for way in (signal.SIGTERM, signal.SIGKILL):
        end = time.monotonic() + PATIENCE
        with contextlib.suppress(ProcessLookupError):
            if (
                alive(folder) and read(folder)["pid"]
            ):  # the lock is held, so the number is the job's still
                os.kill(read(folder)["pid"], way)
        while alive(folder) and time.monotonic() < end:
            time.sleep(0.05)
    print(json.dumps(settled(folder)))


if __name__ == "__main__":
    try:
        {"submit": submit, "list": show, "fetch": fetch, "cancel": cancel}[sys.argv[1]](
            *filter(None, sys.argv[2:])
        )
    except (Problem, OSError) as problem:
        sys.exit(str(problem))
