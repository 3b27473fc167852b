"""Monitoring: what runs on the host, what it costs, and JupyterLab's log.

Owns: nothing; it only reads.
"""

from __future__ import annotations

import contextlib
import json as to_json
import time
from typing import TYPE_CHECKING, Any

from fabric import Connection

from ... import console, decode
from ...certificates import certificate
from ...facts import facts
from ...host.changes import ask
from ...host.session import Host
from ...on_host import loader
from ...platforms import platform
from ...run.task import host_task
from ...settings import Settings
from ...text import one_line

if TYPE_CHECKING:
    from ...facts.records import Facts, Lab
    from ...server.usage import Activity, Kernel

# The account itself reads it. It may have put a link there, which root would follow, or a pipe,
# which would never end.
LOG = (
    "[ ! -f ~/.jupyter/lab.log ] || tail -n %s ~/.jupyter/lab.log 2>/dev/null | "
    r"sed -E 's/(token=)[0-9A-Za-z]+/\1…/g'"
)
DAY = 24 * 3600
UNITS = ((DAY, "d"), (3600, "h"), (60, "min"))


@host_task(reads=True, help={"json": "Print JSON"})
def status(c: Connection, json: bool = False) -> None:
    """Show what runs, since when, and what it costs."""
    with console.on_stderr(json):
        have, want = facts(c), Settings.of(c)
        lab, found = have.lab, None
        if lab.api and lab.owner == want.jupyter_user:
            from ...server import usage

            found = usage.read(c, want, have)
        days = certificate_days(want, have)
    if json:
        console.say(to_json.dumps(document(Host.of(c).label, lab, found, days), indent=2))
    elif found is None:
        console.say(absence(want, lab))
    else:
        manager = f"by {platform(c).service.NAME}" if lab.service else "in tmux"
        console.say(
            f"JupyterLab runs as {lab.owner} (pid {lab.pid}, {manager}) since {lab.since}; "
            f"jupyter_server {lab.api} answers on {want.lab_place}"
        )
        show(found, days)


def absence(want: Settings, lab: Lab) -> str:
    """Report that the account's JupyterLab does not answer, and who has its port."""
    if not lab.owner:
        return "JupyterLab does not run: lab.start"
    holder = f"{lab.holder or 'a program'} of {lab.owner}"
    return (
        f"{want.lab_place} is held by {holder}, "
        f"which is not a Jupyter server of {want.jupyter_user}"
    )


def show(found: Activity, days: int | None) -> None:
    """Print the kernels, one per line, then disk and certificate."""
    for kernel in found.kernels:
        console.say(row(kernel))
    for pid in found.silent:
        console.say(f"  JupyterLab (pid {pid}) does not report what it is running")
    if not found.kernels and not found.silent:
        console.say("  no kernel is running")
    if found.disk_free is not None and found.disk_size:
        console.say(
            f"  disk {one_line(found.disk)}: "
            f"{size(found.disk_free)} free of {size(found.disk_size)}"
        )
    if days is not None:
        console.say(f"  certificate: {days} days left")


def row(kernel: Kernel) -> str:
    """Describe a kernel in one line."""
    state = "busy" if kernel.state == "busy" else f"idle {span(kernel.idle_seconds)}"
    costs = [size(kernel.ram_bytes, "RAM"), size(kernel.gpu_bytes, "GPU")]
    if kernel.cpu_percent is not None:
        costs.insert(0, f"{kernel.cpu_percent:.0f} % CPU")
    words = f"  {kernel.label:<30}  {one_line(kernel.name):<10}  {state:<12}  "
    return (words + ", ".join(filter(None, costs))).rstrip()


def document(label: str, lab: Lab, found: Activity | None, days: int | None) -> dict[str, Any]:
    """Make the JSON document."""
    from ...server.usage import Activity

    activity = found or Activity()
    return {
        "host": label,
        "running": found is not None,
        "version": lab.api,
        "since": lab.since,
        "pid": lab.pid,
        "service": lab.service,
        "certificate_days": days,
        **activity._asdict(),
        "kernels": [kernel._asdict() for kernel in activity.kernels],
    }


def certificate_days(want: Settings, have: Facts) -> int | None:
    """Count the days left to a published JupyterLab's certificate; None without a readable one."""
    file = have.https.cert if want.published else None
    found = certificate.read(file.content) if file else None
    return found.days_left if found else None


def span(seconds: int) -> str:
    """Format a duration in its largest unit."""
    for length, unit in UNITS:
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def size(count: int | None, what: str = "") -> str:
    """Format a number of bytes in GB or MB; empty if it is unknown."""
    if count is None:
        return ""
    text = f"{count / 2**30:.1f} GB" if count >= 2**30 else f"{count / 2**20:.0f} MB"
    return f"{text} {what}".rstrip()


@host_task(
    reads=True,
    help={
        "follow": "Keep printing as it grows, until Ctrl-C",
        "lines": "How many lines from its end",
    },
)
def logs(c: Connection, follow: bool = False, lines: int = 50) -> None:
    """Show JupyterLab's log."""
    account = Settings.of(c).jupyter_user
    size, _ = growth(c, account, 0) if follow else (0, "")
    text = readable(ask(c, LOG, lines, user=account).out.rstrip())
    console.say(text or "the log is empty: lab.start")
    with contextlib.suppress(KeyboardInterrupt):
        while follow:
            # Ask every second: a `tail -f` would outlive a broken connection.
            time.sleep(1)
            size, text = growth(c, account, size)
            if text:
                console.say(text.removesuffix("\n"))


def growth(c: Connection, account: str, start: int) -> tuple[int, str]:
    """Return the log's size in bytes, and what follows its first *start* bytes."""
    answer = ask(c, loader.as_command("log_growth", 1), start, user=account)
    size, _, text = answer.out.partition("\n")
    return decode.number(size) or 0, readable(text)


def readable(text: str) -> str:
    """Make a log harmless for the terminal: it may quote names that would move the cursor."""
    return "\n".join(one_line(line.rstrip("\r").expandtabs()) for line in text.split("\n"))
