"""Jobs: notebooks that run on the host by themselves, whatever becomes of the laptop.

Owns: ~/.local/share/labfab of the account that runs JupyterLab.  Undo: setup.undo; what jobs have written stays
What happens on the host is in labfab/on_host/jobs.py, which is put there.
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
from ...on_host import loader
from ...platforms import platform
from ...run.task import host_task
from ...settings import Settings

FOLDER = ".local/share/labfab"
PROGRAMS = ("job.py", "jobs.py")
# What is there already, in one question; nothing of it on a host without that account.
LOOK = "cd ~/.local/share/labfab 2>/dev/null && echo folder && for f in %s %s; do [ ! -e $f ] || base64 <$f | tr -d '\\n'; echo; done; true"
CALL = "~/%s/bin/python -B ~/.local/share/labfab/jobs.py %s %s"
NONE_YET = "[ -e ~/.local/share/labfab/jobs.py ] || { echo '{\"jobs\": []}'; exit 0; }; "
NONE = "there are no jobs yet: lab.submit NOTEBOOK"
SHOWN = 10  # the newest; --json has them all


@host_task(
    positional=["notebook"],
    help={
        "notebook": "A notebook on your laptop",
        "kernel": "Kernel to run it with; without it, the notebook's own",
        "there": "The notebook is on the host already: its path there, from the folder of your notebooks on",
    },
)
def submit(c: Connection, notebook: str, kernel: str = "", there: bool = False) -> None:
    """Run a notebook on the host, with the laptop away too."""
    text = "" if there else notebooks.load(Path(notebook))
    want = Settings.of(c)
    first = prepare(c, want)  # since an undo: its own ends this job and all that follow
    name = notebook if there else Path(notebook).name
    root = want.notebooks(facts(c).accounts[want.jupyter_user].home)
    wanted = {"name": name, "kernel": kernel, "root": root, "notebook": packed(text)}
    done = change(
        c,
        CALL,
        PREFIXES[want.python],
        "submit",
        "",
        user=want.jupyter_user,
        stdin=json.dumps(wanted),
        why=f"submit {notebooks.shown(name)}",
        undo=("jobs %s", want.jupyter_user) if first else (),
    )
    if done:
        state = json.loads(done.out)
        console.note(
            f"job {state['job']} {state['state']}: {state['cells']} cells, kernel {state['kernel']}; lab.jobs, lab.fetch"
        )


def packed(text: str) -> str:
    return base64.b64encode(zlib.compress(text.encode())).decode() if text else ""


def prepare(c: Connection, want: Settings) -> bool:
    """Have on the host what runs a job, and what lets it outlive a login; False where all was there."""
    label, user = Host.of(c).label, want.jupyter_user
    if not facts(c).python.lab and not Host.of(c).planning:
        where = f"~/{PREFIXES[want.python]} (python: {want.python})"
        raise SetupError(
            f"{label}: JupyterLab is not installed for {user} in {where}: type python.install first"
        )
    account = facts(c).accounts.get(user)  # none yet in plan mode on a bare host
    if account is None or not account.linger:
        platform(c).keep_running(c, user)
    place = f"{facts(c).accounts[user].home}/{FOLDER}"
    there, *texts = [*ask(c, LOOK, *PROGRAMS, user=user).out.split("\n"), "", "", ""]
    if not there:
        change(
            c,
            "mkdir -p %s && chmod 700 %s",
            place,
            place,
            user=user,
            why=f"make {place}",
            undo=("folder %s", place),
            keep=[place],
        )
    wanted = {name: (loader.FOLDER / name).read_text() for name in PROGRAMS}
    missing = [
        name
        for name, old in zip(PROGRAMS, texts, strict=False)
        if base64.b64decode(old).decode(errors="replace") != wanted[name]
    ]
    for name in missing:
        put(
            c,
            f"{place}/{name}",
            wanted[name],
            why=f"put {name} there, for jobs",
            old=None,
            mode="600",
            owner=user,
        )
    return bool(missing)


def call(c: Connection, word: str, number: str = "") -> dict[str, Any]:
    """Ask the host something about its jobs."""
    want = Settings.of(c)
    if want.jupyter_user not in facts(c).accounts:
        raise SetupError(f"{Host.of(c).label}: there is no account {want.jupyter_user}: setup.full")
    answer = ask(c, NONE_YET + CALL, PREFIXES[want.python], word, number, user=want.jupyter_user)
    if not answer.ok:
        raise SetupError(f"{Host.of(c).label}: {answer.last_words}")
    return json.loads(answer.out)


@host_task(reads=True, help={"json": "Print JSON, as docs/jobs.md describes it"})
def jobs(c: Connection, json: bool = False) -> None:
    """Tell how the submitted notebooks are getting on."""
    with console.aside(json):
        found = call(c, "list")
    if json:
        console.say(as_json(Host.of(c).label, found["jobs"]))
        return
    if not found["jobs"]:
        console.say(f"[{Host.of(c).label}] {NONE}")
    for state in found["jobs"][-SHOWN:]:
        console.say(row(state, found["now"]))
    if len(found["jobs"]) > SHOWN:
        console.note(f"and {len(found['jobs']) - SHOWN} older: --json shows them all")


def as_json(label: str, states: list[dict[str, Any]]) -> str:
    inner = ("boot", "pid")
    return json.dumps(
        {
            "host": label,
            "jobs": [{k: v for k, v in one.items() if k not in inner} for one in states],
        },
        indent=2,
    )


def row(state: dict[str, Any], now: float) -> str:
    """One job in one line."""
    since = state["started"] or state["submitted"]
    took = console.duration(max(0.0, (state["ended"] or now) - since))
    cells = f"cell {state['cell']}/{state['cells']}"
    name, error = notebooks.shown(state["notebook"]), notebooks.shown(state["error"])
    return (
        f"{state['job']:>4}  {state['state']:<9}  {cells:<10}  {took:>12}  {name}  {error}".rstrip()
    )


@host_task(
    reads=True,
    help={
        "job": "Number of the job; without it, the newest",
        "to": "Folder on your laptop; without it, this one",
        "force": "Overwrite a file of yours that has the name",
    },
)
def fetch(c: Connection, job: str = "", to: str = ".", force: bool = False) -> None:
    """Fetch a notebook with the outputs it has so far."""
    found = call(c, "fetch", job)
    if "state" not in found:
        raise SetupError(f"{Host.of(c).label}: {NONE}")
    state, data = found["state"], zlib.decompress(base64.b64decode(found["notebook"]))
    folder, name = Path(to).expanduser(), state["notebook"]
    if Host.of(c).planning:
        return console.planned(
            Host.of(c).label, f"write {notebooks.shown(str(notebooks.place(folder, name)))}"
        )
    place = notebooks.save(alias_of(c, Settings.of(c)), folder, name, data, force)
    error = f": {notebooks.shown(state['error'])}" if state["error"] else ""
    console.say(
        f"[{Host.of(c).label}] job {state['job']}, {state['state']} (cell {state['cell']}/{state['cells']}{error}): {place}"
    )


@host_task(positional=["job"], help={"job": "Number of the job"})
def cancel(c: Connection, job: str) -> None:
    """End a job; what it has written so far is kept."""
    want = Settings.of(c)
    running = [
        state["job"] for state in call(c, "list")["jobs"] if state["state"] in ("queued", "running")
    ]
    if job not in running:
        raise SetupError(f"{Host.of(c).label}: no job {job} is running: lab.jobs lists them")
    change(
        c, CALL, PREFIXES[want.python], "cancel", job, user=want.jupyter_user, why=f"end job {job}"
    )
