"""Kernels: what computes on the host, what it costs, and what may be ended for a restart.

Owns: nothing; it looks, and stops and starts through lab.
"""

from __future__ import annotations

import contextlib
import json as to_json
import sys
import time
from typing import TYPE_CHECKING, Any

from fabric import Connection

from ... import console
from ...certificates import certificate
from ...errors import SetupError
from ...facts import facts
from ...host.changes import ask
from ...host.session import Host
from ...laptop.notebooks import shown
from ...platforms import platform
from ...run.task import host_task
from ...settings import Settings
from . import server

if TYPE_CHECKING:
    from .usage import Activity

# Read by the account itself: it may have put a link there, which would lead root anywhere, or a pipe, where nobody would come back.
LOG = r"[ ! -f ~/.jupyter/lab.log ] || tail -n %s ~/.jupyter/lab.log 2>/dev/null | sed -E 's/(token=)[0-9A-Za-z]+/\1…/g'"
# Asked each second: a `tail -f` would outlive a connection that breaks.
MORE = r"""
log=~/.jupyter/lab.log; from=%s; size=$([ -f "$log" ] && wc -c <"$log" || echo 0)
size=$((size)); echo "$size"; [ "$size" -gt 0 ] || exit 0
[ "$from" -le "$size" ] || from=0
tail -c "+$((from + 1))" "$log" 2>/dev/null | head -c "$((size - from))" | sed -E 's/(token=)[0-9A-Za-z]+/\1…/g'
"""
DAY = 24 * 3600


@host_task(reads=True, help={"json": "Print JSON"})
def status(c: Connection, json: bool = False) -> None:
    """Tell what runs, since when, and what it takes."""
    with console.aside(json):
        have, want = facts(c).lab, Settings.of(c)
        found = computing(c) if have.api and have.owner == want.jupyter_user else None
        days = certificate_days(c, want)
    if json:
        console.say(to_json.dumps(document(c, found, days), indent=2))
    elif found is None and have.owner:
        holder = f"{have.holder or 'a program'} of {have.owner}"
        console.say(
            f"{want.lab_place} is held by {holder}, which is no Jupyter server of {want.jupyter_user}"
        )
    elif found is None:
        console.say("JupyterLab does not run: lab.start")
    else:
        how = f"pid {have.pid}, {f'by {platform(c).service.NAME}' if have.service else 'in tmux'}"
        where = f"jupyter_server {have.api} answers on {want.lab_place}"
        console.say(f"JupyterLab runs as {have.owner} ({how}) since {have.since}; {where}")
        show(found, days)


def show(found: Activity, days: int | None) -> None:
    """Print the kernels, one a line, then disk and certificate."""
    for kernel in found.kernels:
        state = (
            shown(kernel.state) if kernel.state == "busy" else f"idle {span(kernel.idle_seconds)}"
        )
        cpu = f"{kernel.cpu_percent:.0f} % CPU" if kernel.cpu_percent is not None else ""
        costs = [cpu, size(kernel.ram_bytes, "RAM"), size(kernel.gpu_bytes, "GPU")]
        console.say(
            f"  {kernel.label:<30}  {shown(kernel.name):<10}  {state:<12}  {', '.join(filter(None, costs))}".rstrip()
        )
    for pid in found.silent:
        console.say(f"  JupyterLab (pid {pid}) does not tell what it computes")
    if not found.kernels and not found.silent:
        console.say("  no kernel runs")
    if found.disk_free is not None and found.disk_size:
        console.say(f"  disk {found.disk}: {size(found.disk_free)} free of {size(found.disk_size)}")
    if days is not None:
        console.say(f"  certificate: {days} days left")


def document(c: Connection, found: Activity | None, days: int | None) -> dict[str, Any]:
    """The state for programs."""
    from .usage import Activity

    have, activity = facts(c).lab, found or Activity()
    told = activity._asdict() | {"kernels": [kernel._asdict() for kernel in activity.kernels]}
    return {
        "host": Host.of(c).label,
        "running": found is not None,
        "version": have.api,
        "since": have.since,
        "pid": have.pid,
        "service": have.service,
        "certificate_days": days,
        **told,
    }


def computing(c: Connection) -> Activity:
    """What computes there."""
    from .usage import activity

    return activity(c)


def certificate_days(c: Connection, want: Settings) -> int | None:
    """Days until the certificate of a published JupyterLab ends; None where there is none, or it is damaged."""
    file = facts(c).https.cert if want.published else None
    found = certificate.read(file.content) if file else None
    return found.days_left if found else None


def span(seconds: int) -> str:
    """A time in its largest unit."""
    for length, unit in ((DAY, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def size(count: int | None, what: str = "") -> str:
    """Bytes in GB or MB; empty where unknown."""
    if count is None:
        return ""
    text = f"{count / 2**30:.1f} GB" if count >= 2**30 else f"{count / 2**20:.0f} MB"
    return f"{text} {what}".rstrip()


@host_task(
    reads=True,
    help={"follow": "Go on as it grows, until Ctrl-C", "lines": "How many of the last lines"},
)
def logs(c: Connection, follow: bool = False, lines: int = 50) -> None:
    """Show JupyterLab's log."""
    account = Settings.of(c).jupyter_user
    size, _ = more(c, account, 0) if follow else (0, "")
    console.say(
        readable(ask(c, LOG, lines, user=account).out.rstrip()) or "the log is empty: lab.start"
    )
    with contextlib.suppress(KeyboardInterrupt):
        while follow:
            time.sleep(1)
            size, text = more(c, account, size)
            if text:
                console.say(text.removesuffix("\n"))


def more(c: Connection, account: str, start: int) -> tuple[int, str]:
    """The log's size, and what came after this many bytes."""
    size, _, text = ask(c, MORE, start, user=account).out.partition("\n")
    return int(size), readable(text)


def readable(text: str) -> str:
    """A log for the terminal: it may quote names that would move the cursor."""
    return "\n".join(shown(line.rstrip("\r").expandtabs()) for line in text.split("\n"))


@host_task(help={"yes": "Also when kernels are busy"})
def restart(c: Connection, yes: bool = False) -> None:
    """Restart JupyterLab; asks when kernels are busy."""
    consent(c, yes, "restart")
    server.stop(c)
    server.start(c)


def consent(c: Connection, yes: bool, what: str) -> None:
    """Ask whether kernels at work may be ended. Raises SetupError for a no, and where nobody can be asked.

    JupyterLab may run with other settings than those of now, or not answer: what it may compute counts as at work.
    """
    have = facts(c).lab
    if (
        have.owner not in ("", Settings.of(c).jupyter_user)
        or not (have.pid or have.session or have.service)
        or Host.of(c).planning
    ):
        return
    found = computing(c)
    doing = [f"{', '.join(found.busy)} computes right now"] * bool(found.busy)
    doing += [f"JupyterLab (pid {pid}) does not tell what it computes" for pid in found.silent]
    if found.kernels and not doing:
        console.note(f"{len(found.kernels)} idle kernels lose their variables")
    if not doing or yes:
        return
    working = f"{Host.of(c).label}: {', '.join(doing)}"
    if not sys.stdin.isatty():
        raise SetupError(f"{working}, and a {what} would end that: wait, or add --yes")
    if not console.agreed(f"{working}; {what} all the same?"):
        raise SetupError(f"{Host.of(c).label}: left as it is")
