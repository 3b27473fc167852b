"""Activity: what computes on a host, and what it costs.

Owns: nothing; it looks.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import msgspec
from fabric import Connection

from ..facts import below, facts, parse
from ..host import ask
from ..settings import Settings
from . import jupyter

# The token goes from file to curl by a pipe: an argument would show in `ps`.
ACTIVITY = r"""
url=%s user=%s root=%s sock=%s
token=$(tr -d '\n' <%s | sed -nE 's/.*"token": *"([^"]+)".*/\1/p')
call() { curl -fsk -m 20 ${sock:+--unix-socket "$sock"} -K - "$url$1" | base64 | tr -d '\n'; }
get() { printf 'header = "Authorization: token %%s"\n' "$token" | call "$1"; }
echo '[activity]'
echo "kernels=$(get api/kernels)"
echo "sessions=$(get api/sessions)"
ps -u "$user" -o pid=,rss=,pcpu=,args= |
  sed -nE 's,^ *([0-9]+) +([0-9]+) +([0-9.]+) .*kernel-([0-9a-f-]{36})\.json.*,process.\4=\1 \2 \3,p'
command -v nvidia-smi >/dev/null && nvidia-smi --query-compute-apps=pid,used_memory --format=csv,noheader,nounits 2>/dev/null |
  sed -nE 's/^([0-9]+), *([0-9]+).*/gpu.\1=\2/p'
df -Pk "$root" 2>/dev/null | awk 'NR == 2 { print "disk=" $4 " " $3 + $4 " " $6 }'
true
"""


class Kernel(msgspec.Struct, frozen=True):
    """A kernel: what it runs for and what it takes; None where that cannot be known."""

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
        return self.notebook or self.name


class Activity(msgspec.Struct, frozen=True):
    """The kernels of a host and the disk below the notebooks."""

    kernels: list[Kernel]
    disk_free: int | None
    disk_size: int | None
    disk: str

    @property
    def busy(self) -> list[str]:
        return [kernel.label for kernel in self.kernels if kernel.state == "busy"]


def activity(c: Connection) -> Activity:
    """Ask JupyterLab and the host what computes there."""
    want = Settings.of(c)
    home = facts(c).accounts[want.jupyter_user].home
    root = want.root_dir if want.root_dir.startswith("/") else f"{home}/{want.root_dir}"
    config = f"{home}/.jupyter/jupyter_server_config.json"
    said = parse(ask(c, ACTIVITY, want.lab_url(want.lab_port), want.jupyter_user, root, jupyter.socket(c, want), config).out, ("activity",))["activity"]
    free, size, disk = said["disk"].split(" ", 2) if "disk" in said else ("", "", "")
    return Activity(list(kernels(said)), int(free) * 1024 if free else None, int(size) * 1024 if size else None, disk)


def kernels(said: dict[str, str]) -> Iterator[Kernel]:
    """Join what JupyterLab tells of its kernels with what ps and nvidia-smi tell of their processes."""
    sessions = {one["kernel"]["id"]: one for one in documents(said, "sessions") if one.get("kernel")}
    processes, cards = below(said, "process"), below(said, "gpu")
    for one in documents(said, "kernels"):
        pid, rss, cpu = (processes.get(one["id"], "").split() + [""] * 3)[:3]
        yield Kernel(
            one["id"], one["name"], sessions.get(one["id"], {}).get("path", ""), one["execution_state"], idle(one.get("last_activity")),
            int(pid) if pid else None, float(cpu) if cpu else None, int(rss) * 1024 if rss else None,
            int(cards[pid]) * 2**20 if pid in cards else None,
        )  # fmt: skip


def documents(said: dict[str, str], key: str) -> list[dict[str, Any]]:
    """A list that JupyterLab answered with; empty where it did not."""
    try:
        found = json.loads(base64.b64decode(said.get(key, "")) or b"[]")
    except ValueError:
        return []
    return found if isinstance(found, list) else []


def idle(last: str | None) -> int:
    """Seconds since a time that JupyterLab wrote."""
    if not last:
        return 0
    then = datetime.fromisoformat(last.replace("Z", "+00:00")).astimezone(timezone.utc)
    return max(0, int(time.time() - then.timestamp()))
