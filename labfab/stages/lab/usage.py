"""Activity: what computes on a host, and what it costs.

Owns: nothing; it looks.
"""

from __future__ import annotations

import base64
import contextlib
import re
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any, NamedTuple

from fabric import Connection

from ... import decode
from ...errors import SetupError
from ...facts import facts
from ...facts.reader import below, parse
from ...host.changes import ask
from ...host.remote_file import Values
from ...host.session import Host
from ...laptop.notebooks import shown
from ...settings import Settings
from ..jupyter import config

# Each server is asked where, and with the token that, it says itself: the configuration may have changed since it started.
# Without that note it is asked as the settings say. It is all read by the account, whose links lead root nowhere, and the
# token goes from file to curl by a pipe: an argument would show in `ps`. What has children may have kernels.
ACTIVITY = r"""
root=%s url=%s sock=%s
for pid in $(echo %s); do set -- "$@" "$pid"; done
[ $# -gt 0 ] || set -- $(pgrep -u "$(id -u)" -f '^[^ ]*[Pp]ython[^ ]* [^ ]*bin/jupyter-lab')
told() { sed -nE "s/^.*\"$1\": *\"?([^\",]*)\"?.*/\1/p" "$note" 2>/dev/null | head -n 1; }
at() {
  note=~/.jupyter/jupyter_server_config.json
  for place in ~/".local/share/jupyter/runtime/jpserver-$1.json" ~/"Library/Jupyter/runtime/jpserver-$1.json"; do
    [ ! -f "$place" ] || note=$place
  done
  [ "$note" != ~/.jupyter/jupyter_server_config.json ] || return
  scheme=http; [ "$(told secure)" != true ] || scheme=https
  url=$scheme://127.0.0.1:$(told port)$(told base_url) sock=$(told sock)
}
get() {
  printf 'header = "Authorization: token %%s"\n' "$(told token)" |
    curl -q -fsk -m 20 ${sock:+--unix-socket "$sock"} -K - "$url$1" | base64 | tr -d '\n'
}
echo '[activity]'
for pid in "$@"; do (
  at "$pid"
  echo "kernels.$pid=$(get api/kernels)"
  echo "sessions.$pid=$(get api/sessions)"
  pgrep -P "$pid" >/dev/null && echo "parent.$pid=yes"
) done
ps -u "$(id -u)" -o pid= -o rss= -o pcpu= -o args= |
  sed -nE 's,^ *([0-9]+) +([0-9]+) +([0-9.]+) .*kernel-([0-9a-f-]{36})\.json.*,process.\4=\1 \2 \3,p'
command -v nvidia-smi >/dev/null && nvidia-smi --query-compute-apps=pid,used_memory --format=csv,noheader,nounits 2>/dev/null |
  sed -nE 's/^([0-9]+), *([0-9]+).*/gpu.\1=\2/p'
df -Pk "$root" 2>/dev/null | awk 'NR == 2 { print "disk=" $4 " " $3 + $4 " " $6 }'
true
"""


class Kernel(NamedTuple):
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
        """What to call it on a terminal; a notebook may have any name."""
        return shown(self.notebook or self.name)


class Activity(NamedTuple):
    """The kernels of a host and the disk below the notebooks."""

    kernels: list[Kernel] = []
    disk_free: int | None = None
    disk_size: int | None = None
    disk: str = ""
    silent: list[int] = []  # pids of JupyterLabs that may have kernels and did not tell of them

    @property
    def busy(self) -> list[str]:
        return [kernel.label for kernel in self.kernels if kernel.state == "busy"]


class Told(NamedTuple):
    """What JupyterLab tells of a kernel."""

    id: str
    name: str
    execution_state: str
    last_activity: str | None = None


class Session(NamedTuple):
    """What JupyterLab tells of a notebook that is open."""

    path: str = ""
    kernel: dict[str, Any] | None = None


def activity(c: Connection) -> Activity:
    """Ask JupyterLab and the host what computes there."""
    want = Settings.of(c)
    root = want.notebooks(facts(c).accounts[want.jupyter_user].home)
    given = (root, want.lab_url(want.lab_port), config.socket(c, want), facts(c).lab.pid)
    answer = ask(c, ACTIVITY, *given, user=want.jupyter_user)
    said = parse(answer.out, ("activity",)).get("activity")
    if said is None:
        raise SetupError(
            f"{Host.of(c).label}: cannot ask as {want.jupyter_user} what computes there: {shown(answer.last_words)}"
        )
    disk = re.fullmatch(r"(\d+) (\d+) (.*)", said.get("disk", ""))
    free, size, place = disk.groups() if disk else (None, None, "")
    return Activity(
        list(kernels(said)),
        free and int(free) * 1024,
        size and int(size) * 1024,
        place,
        list(silent(said)),
    )


def kernels(said: Values) -> Iterator[Kernel]:
    """Join what JupyterLab tells of its kernels with what ps and nvidia-smi tell of their processes."""
    open_ = [
        one for answer in below(said, "sessions").values() for one in listed(answer, Session) or []
    ]
    notebooks = {
        one.kernel["id"]: one.path
        for one in open_
        if one.kernel and isinstance(one.kernel.get("id"), str)
    }
    processes, cards = below(said, "process"), below(said, "gpu")
    for one in (
        kernel
        for answer in below(said, "kernels").values()
        for kernel in listed(answer, Told) or []
    ):
        pid, rss, cpu = (processes.get(one.id, "").split() + [""] * 3)[:3]
        yield Kernel(
            one.id,
            one.name,
            notebooks.get(one.id, ""),
            one.execution_state,
            idle(one.last_activity),
            int(pid) if pid else None,
            float(cpu) if cpu else None,
            int(rss) * 1024 if rss else None,
            int(cards[pid]) * 2**20 if pid in cards else None,
        )


def silent(said: Values) -> Iterator[int]:
    """The servers that did not answer, but for those that run nothing."""
    for pid, answer in below(said, "kernels").items():
        if listed(answer, Told) is None and pid in below(said, "parent"):
            yield int(pid)


def listed(answer: str, kind: type[decode.Kind]) -> list[decode.Kind] | None:
    """The list that JupyterLab answered with; None where it did not."""
    try:
        return decode.decode(base64.b64decode(answer), kind)
    except ValueError:
        return None


def idle(last: str | None) -> int:
    """Seconds since a time that JupyterLab wrote."""
    with contextlib.suppress(ValueError, OverflowError):
        then = datetime.fromisoformat((last or "").replace("Z", "+00:00")).astimezone(timezone.utc)
        return max(0, int(time.time() - then.timestamp()))
    return 0
