"""Usage: what JupyterLab computes, and what its kernels cost.

on_host/lab_usage.sh asks each server with the address and the token that it started with; the
configuration may have changed since.
"""

from __future__ import annotations

import base64
import contextlib
import math
import re
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

from fabric import Connection

from .. import decode
from ..errors import SetupError
from ..facts.reader import parse, with_prefix
from ..host.changes import ask
from ..host.remote_file import Values
from ..host.session import Host
from ..on_host import loader
from ..settings import Settings
from ..text import one_line
from .process import socket_path

if TYPE_CHECKING:
    from ..facts.records import Facts


class Kernel(NamedTuple):
    """A kernel: what it runs for and what it uses; None for what cannot be known."""

    id: str
    name: str
    notebook: str
    state: str
    idle_seconds: int
    pid: int | None = None
    cpu_percent: float | None = None
    ram_bytes: int | None = None
    gpu_bytes: int | None = None

    @property
    def label(self) -> str:
        """Its name, safe for a terminal: a notebook may have any name."""
        return one_line(self.notebook or self.name)


class Activity(NamedTuple):
    """The kernels of a host, and the disk below the notebooks."""

    kernels: list[Kernel] = []
    # In bytes.
    disk_free: int | None = None
    disk_size: int | None = None
    # Where it is mounted.
    disk: str = ""
    # Pids of JupyterLabs that may have kernels and did not answer.
    silent: list[int] = []

    @property
    def busy(self) -> list[str]:
        """The labels of the busy kernels."""
        return [kernel.label for kernel in self.kernels if kernel.state == "busy"]


class KernelAnswer(NamedTuple):
    """One entry of JupyterLab's api/kernels."""

    id: str
    name: str
    execution_state: str
    last_activity: str | None = None


class SessionAnswer(NamedTuple):
    """One entry of JupyterLab's api/sessions: an open notebook."""

    path: str = ""
    kernel: dict[str, Any] | None = None


class Process(NamedTuple):
    """What ps says about a kernel's process: percent and KiB."""

    pid: int
    rss: int
    cpu: float


def read(c: Connection, want: Settings, have: Facts) -> Activity:
    """Ask JupyterLab and the host what computes there. Raises SetupError if that fails."""
    account = have.accounts[want.jupyter_user]
    answer = ask(
        c,
        loader.as_command("lab_usage", 4, uses="port_owner"),
        want.notebooks(account.home),
        want.lab_url(want.lab_port),
        socket_path(want, account),
        have.lab.pid,
        user=account.name,
    )
    values = parse(answer.out, ("activity",)).get("activity")
    if values is None:
        raise SetupError(
            f"cannot ask as {account.name} what computes there: {one_line(answer.last_words)}",
            host=Host.of(c).label,
        )
    activity = Activity(kernels=list(kernels(values)), silent=list(silent(values)))
    disk = re.fullmatch(r"(\d+) (\d+) (.*)", values.get("disk", ""))
    if not disk:
        return activity
    return activity._replace(
        disk_free=int(disk[1]) * 1024, disk_size=int(disk[2]) * 1024, disk=disk[3]
    )


def kernels(values: Values) -> Iterator[Kernel]:
    """Join what JupyterLab says about kernels with what ps and nvidia-smi say about processes."""
    notebooks = dict(open_notebooks(values))
    processes, cards = with_prefix(values, "process"), with_prefix(values, "gpu")
    for answer in with_prefix(values, "kernels").values():
        for kernel in listed(answer, KernelAnswer) or []:
            process = process_of(processes.get(kernel.id, ""))
            card = decode.number(cards.get(str(process.pid), "")) if process else None
            yield Kernel(
                id=kernel.id,
                name=kernel.name,
                notebook=notebooks.get(kernel.id, ""),
                state=kernel.execution_state,
                idle_seconds=idle(kernel.last_activity),
                pid=process.pid if process else None,
                cpu_percent=process.cpu if process else None,
                ram_bytes=process.rss * 1024 if process else None,
                gpu_bytes=card * 2**20 if card is not None else None,
            )


def open_notebooks(values: Values) -> Iterator[tuple[str, str]]:
    """Return the id of each kernel that has a notebook, and that notebook's path."""
    for answer in with_prefix(values, "sessions").values():
        for session in listed(answer, SessionAnswer) or []:
            if session.kernel and isinstance(session.kernel.get("id"), str):
                yield session.kernel["id"], session.path


def process_of(line: str) -> Process | None:
    """Read a line of lab_usage.sh: pid, KiB of memory, percent of a CPU. None: no such line."""
    with contextlib.suppress(ValueError):
        pid, rss, cpu = line.split()
        found = Process(pid=int(pid), rss=int(rss), cpu=float(cpu))
        # JSON has no word for these.
        return found if math.isfinite(found.cpu) else None
    return None


def silent(values: Values) -> Iterator[int]:
    """Return the servers that did not answer, without those that run no program."""
    for pid, answer in with_prefix(values, "kernels").items():
        server = decode.number(pid)
        if server is None or pid not in with_prefix(values, "parent"):
            continue
        if listed(answer, KernelAnswer) is None:
            yield server


def listed(answer: str, kind: type[decode.Kind]) -> list[decode.Kind] | None:
    """Decode JupyterLab's answer, a list in base64; return None if it is not one."""
    try:
        return decode.records(base64.b64decode(answer), kind)
    except ValueError:
        return None


def idle(last: str | None) -> int:
    """Return the seconds since a time that JupyterLab wrote; 0 if it cannot be read."""
    with contextlib.suppress(ValueError, OverflowError):
        then = datetime.fromisoformat((last or "").replace("Z", "+00:00")).astimezone(timezone.utc)
        return max(0, int(time.time() - then.timestamp()))
    return 0
