"""Jobs: notebooks that run on the host by themselves, even while the laptop is away.

Owns: ~/.local/share/labfab of the account that runs JupyterLab.
Undo: setup.undo; what jobs have written stays
What happens on the host is in labfab/on_host/jobs.py, which is installed there.
"""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from typing import Any

from fabric import Connection

from ... import console
from ...errors import SetupError
from ...facts import facts
from ...facts.reader import PREFIXES
from ...host.alias import alias_of
from ...host.changes import ask, change, put
from ...host.session import Host
from ...laptop import notebooks
from ...local_state import files
from ...on_host import loader
from ...platforms import platform
from ...run.task import host_task
from ...server import process
from ...settings import Settings
from ...text import one_line

FOLDER = ".local/share/labfab"
PROGRAMS = ("job.py", "jobs.py")
# Reads what is there already, in one round trip.
READ_PROGRAMS = (
    "cd ~/.local/share/labfab 2>/dev/null && echo folder && "
    "for f in %s %s; do [ ! -e $f ] || base64 <$f | tr -d '\\n'; echo; done; true"
)
CALL = "~/%s/bin/python -B ~/.local/share/labfab/jobs.py %s %s"
NONE_YET = "[ -e ~/.local/share/labfab/jobs.py ] || { echo '{\"jobs\": []}'; exit 0; }; "
NONE = "there are no jobs yet: lab.submit NOTEBOOK"
# How many of the newest are shown; --json has them all.
SHOWN = 10
NUMBER = (int, float)
GREATEST = 10**15  # of a number that is a time or a count; infinity is greater
# Of a job's state, as far as it is used here.
FIELDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("job", "state", "notebook", "error"), str),
    **dict.fromkeys(("cell", "cells"), int),
    **dict.fromkeys(("started", "ended"), (*NUMBER, type(None))),
    "submitted": NUMBER,
}
LARGEST = 256_000_000  # bytes of a notebook, unpacked
# Fields that are of use only on the host.
INTERNAL = ("boot", "pid")


@host_task(
    positional=["notebook"],
    help={
        "notebook": "A notebook on your laptop",
        "kernel": "Kernel to run it with (default: the notebook's own)",
        "there": "The notebook is on the host already: give its path below your notebook folder",
    },
)
def submit(c: Connection, notebook: str, kernel: str = "", there: bool = False) -> None:
    """Run a notebook on the host, even while the laptop is away."""
    text = "" if there else notebooks.load(Path(notebook))
    want = Settings.of(c)
    # The first submit since an undo: undoing it ends this job and all later ones.
    first = install_runner(c, want)
    name = notebook if there else Path(notebook).name
    root = want.notebooks(facts(c).accounts[want.jupyter_user].home)
    order = {"name": name, "kernel": kernel, "root": root, "notebook": packed(text)}
    done = change(
        c,
        CALL,
        PREFIXES[want.python],
        "submit",
        "",
        user=want.jupyter_user,
        stdin=json.dumps(order),
        why=f"submit {one_line(name)}",
        undo=("jobs %s", want.jupyter_user) if first else (),
    )
    if done:
        state = checked(parsed(done.out, Host.of(c).label), Host.of(c).label)
        console.note(
            f"job {state['job']} is {state['state']} ({state['cells']} cells, kernel "
            f"{state.get('kernel')}); follow it with lab.jobs, get its results with lab.fetch"
        )


def packed(text: str) -> str:
    """Compress a notebook for its way to the host."""
    return base64.b64encode(zlib.compress(text.encode())).decode() if text else ""


def install_runner(c: Connection, want: Settings) -> bool:
    """Install the job runner, and let its jobs outlive a login.

    Returns False if the runner was there already. Raises SetupError without JupyterLab.
    """
    host, have, user = Host.of(c), facts(c), want.jupyter_user
    if not have.python.lab and not host.planning:
        raise process.not_installed(host, want)
    # In plan mode a bare host has no account yet.
    account = have.accounts.get(user)
    if account is None or not account.linger:
        platform(c).keep_after_logout(c, user)
    folder = f"{facts(c).accounts[user].home}/{FOLDER}"
    found, *programs = [*ask(c, READ_PROGRAMS, *PROGRAMS, user=user).out.split("\n"), "", "", ""]
    if not found:
        make_folder(c, user, folder)
    wanted = {name: (loader.FOLDER / name).read_text() for name in PROGRAMS}
    present = dict(zip(PROGRAMS, map(unpacked, programs), strict=False))
    missing = [name for name in PROGRAMS if present[name] != wanted[name]]
    for name in missing:
        put(
            c,
            f"{folder}/{name}",
            wanted[name],
            why=f"install the job runner, {name}",
            old=None,
            mode="600",
            owner=user,
        )
    return bool(missing)


def make_folder(c: Connection, user: str, folder: str) -> None:
    """Make the folder of the jobs, private to its account."""
    change(
        c,
        "mkdir -p %s && chmod 700 %s",
        folder,
        folder,
        user=user,
        why=f"make {folder}",
        undo=("folder %s", folder),
        keep=[folder],
    )


def unpacked(text: str) -> str:
    """Decode a program that the host showed in base64."""
    return base64.b64decode(text).decode(errors="replace")


def call(c: Connection, word: str, number: str = "") -> dict[str, Any]:
    """Run a command of jobs.py on the host; return its answer. Raises SetupError if it fails."""
    want, label = Settings.of(c), Host.of(c).label
    if want.jupyter_user not in facts(c).accounts:
        raise SetupError(f"there is no account {want.jupyter_user}: setup.full", host=label)
    answer = ask(c, NONE_YET + CALL, PREFIXES[want.python], word, number, user=want.jupyter_user)
    if not answer.ok:
        raise SetupError(answer.last_words, host=label)
    found = parsed(answer.out, label)
    states = [*found["jobs"], *([found["state"]] if "state" in found else [])]
    for state in states:
        checked(state, label)
    return found


def parsed(text: str, label: str) -> dict[str, Any]:
    """Parse what the job runner said. It runs as an account that may say anything."""
    try:
        found = json.loads(text, parse_constant=lambda word: None)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise nonsense(label)
    jobs, now = found.setdefault("jobs", []), found.setdefault("now", 0.0)
    if not isinstance(jobs, list) or not isinstance(now, NUMBER) or not is_sane(now):
        raise nonsense(label)
    return found


def checked(state: Any, label: str) -> dict[str, Any]:
    """Return the state of a job. Raises SetupError for anything else."""
    whole = isinstance(state, dict) and all(
        isinstance(state.get(key), kind) and is_sane(state[key]) for key, kind in FIELDS.items()
    )
    if not whole:
        raise nonsense(label)
    found: dict[str, Any] = state
    return found


def is_sane(value: Any) -> bool:
    """Return whether a value is no number, or one that can be calculated with."""
    return not isinstance(value, NUMBER) or abs(value) < GREATEST


def nonsense(label: str) -> SetupError:
    """Return the error for an answer that is none."""
    return SetupError(
        "what the job runner there says makes no sense: lab.submit installs it again, "
        "or look at ~/.local/share/labfab",
        host=label,
    )


@host_task(reads=True, help={"json": "Print JSON, as docs/jobs.md describes it"})
def jobs(c: Connection, json: bool = False) -> None:
    """Show the submitted notebooks and their progress."""
    label = Host.of(c).label
    with console.on_stderr(json):
        answer = call(c, "list")
    found = answer["jobs"]
    if json:
        console.say(as_json(label, found))
        return
    if not found:
        console.say(f"[{label}] {NONE}")
    for state in found[-SHOWN:]:
        console.say(row(state, answer["now"]))
    if len(found) > SHOWN:
        console.note(f"and {len(found) - SHOWN} older: --json shows them all")


def as_json(label: str, states: list[dict[str, Any]]) -> str:
    """Make the JSON document."""
    shown = [
        {key: value for key, value in state.items() if key not in INTERNAL} for state in states
    ]
    return json.dumps({"host": label, "jobs": shown}, indent=2)


def row(state: dict[str, Any], now: float) -> str:
    """Describe a job in one line."""
    since = state["started"] or state["submitted"]
    took = console.duration(max(0.0, (state["ended"] or now) - since))
    cells = f"cell {state['cell']}/{state['cells']}"
    job, stage, name, error = (
        one_line(state[key]) for key in ("job", "state", "notebook", "error")
    )
    words = f"{job:>4}  {stage:<9}  {cells:<10}  {took:>12}  {name}  {error}"
    return words.rstrip()


@host_task(
    reads=True,
    help={
        "job": "Number of the job (default: the newest)",
        "to": "Folder on your laptop (default: the current one)",
        "force": "Overwrite a file of your own with that name",
    },
)
def fetch(c: Connection, job: str = "", to: str = ".", force: bool = False) -> None:
    """Fetch a notebook with the outputs it has so far."""
    host, found = Host.of(c), call(c, "fetch", job)
    if "state" not in found:
        raise SetupError(NONE, host=host.label)
    state, data = found["state"], unzipped(found.get("notebook"), host.label)
    folder, name = files.expanded(to), state["notebook"]
    if host.planning:
        path = one_line(str(notebooks.place(folder, name)))
        console.planned(host.label, f"write {path}")
        return
    place = notebooks.save(alias_of(c, Settings.of(c)), folder, name, data, force)
    error = f": {one_line(state['error'])}" if state["error"] else ""
    cells = f"cell {state['cell']}/{state['cells']}"
    job, stage = one_line(state["job"]), one_line(state["state"])
    console.say(f"[{host.label}] job {job}, {stage} ({cells}{error}): {place}")


def unzipped(text: Any, label: str) -> bytes:
    """Unpack a notebook that the host sent. Raises SetupError for nonsense, and for a bomb."""
    try:
        packed, bounded = base64.b64decode(text), zlib.decompressobj()
        data = bounded.decompress(packed, LARGEST)
    except (TypeError, ValueError, zlib.error):
        raise nonsense(label) from None
    if bounded.unconsumed_tail:
        raise SetupError(
            f"that notebook has more than {LARGEST // 1_000_000} MB: "
            "get it with files.pull, or clear its outputs",
            host=label,
        )
    if not bounded.eof:
        raise nonsense(label)
    return data


@host_task(positional=["job"], help={"job": "Number of the job"})
def cancel(c: Connection, job: str) -> None:
    """End a job; what it has written so far is kept."""
    want, states = Settings.of(c), call(c, "list")["jobs"]
    if job not in [state["job"] for state in states if state["state"] in ("queued", "running")]:
        raise SetupError(f"no job {job} is running: lab.jobs lists them", host=Host.of(c).label)
    given = (PREFIXES[want.python], "cancel", job)
    change(c, CALL, *given, user=want.jupyter_user, why=f"end job {job}")
