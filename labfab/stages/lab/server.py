"""Lab: JupyterLab in a tmux session that outlives your logins.

Owns: the tmux session `jupyter`, ~/.jupyter/lab.log.  Undo: lab.stop
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fabric import Connection

from ... import console
from ...errors import SetupError
from ...facts import facts
from ...facts.reader import PREFIXES
from ...host.changes import ask, change
from ...host.session import Host
from ...laptop.notebooks import shown
from ...platforms import platform
from ...run.task import host_task
from ...settings import Settings
from .. import python
from ..jupyter import config
from . import launcher
from .launcher import START

if TYPE_CHECKING:
    from ...facts.records import Account

PATIENCE = 120  # seconds; a cold start on a small machine takes 12
# Asked by the account, whose log may be a link that would lead root anywhere. [b]: this text is no JupyterLab.
WAIT = """\
sock=%s
end=$(( $(date +%%s) + %s ))
while [ $(date +%%s) -lt $end ]; do
  curl -q -fsk -m 5 ${sock:+--unix-socket "$sock"} %s >/dev/null && exit 0
  pgrep -u "$(id -u)" -f '[b]in/jupyter-lab' >/dev/null || break
  sleep 0.1
done
[ ! -f ~/.jupyter/lab.log ] || tail -n 3 ~/.jupyter/lab.log; exit 1
"""
# in_tmux finds the tmux that JupyterLab was started in.
END = "LAB_USER=%s; PREFIX=%s; in_tmux %s kill-session -t =jupyter"
STOP = "kill %s; for i in $(seq 100); do kill -0 %s 2>/dev/null || exit 0; sleep 0.2; done; exit 1"


@host_task(default=True)
def start(c: Connection) -> None:
    """Start JupyterLab unless it answers already."""
    want = Settings.of(c)
    refuse(c, want)
    config.configure(c)
    platform(c).install(c, *packages(c))
    account, have = (
        facts(c).accounts[want.jupyter_user],
        facts(c).lab,
    )  # asked once, for both hold whatever is changed here
    if not account.linger:
        platform(c).keep_running(c, account.name)
    if want.start_command:
        launcher.install(c, want.user, want.start_command)
    if have.api:
        tell_of_restart(c)
        return
    if have.session and have.stale:
        raise SetupError(
            f"{Host.of(c).label}: JupyterLab runs with the configuration of before and does not answer on {want.lab_place}: "
            "when no kernel is busy, lab.stop, then the same again"
        )
    if have.service or not have.session:
        launch_it(c, want, account, have.service)
    wait(c, want)


def due(c: Connection) -> bool:
    """Whether JupyterLab has to be started and nothing but its Python is needed for that."""
    want, have = Settings.of(c), facts(c).lab
    simple = not (want.published or want.start_command or want.reboot)
    return simple and not (have.session or have.service or have.api or have.owner)


def start_early(c: Connection) -> None:
    """Start JupyterLab where its Python needs no more work."""
    if python.is_ready(c):
        start(c)


def packages(c: Connection) -> list[str]:
    """What the system has to have to start it."""
    return ["curl", *([] if facts(c).lab.service else ["tmux"])]


def launch_it(c: Connection, want: Settings, account: Account, by_system: bool) -> None:
    """Have it started, by the system where that is to, else in tmux."""
    if by_system:
        platform(c).service.start(c)
        return
    folder, log = PREFIXES[want.python], f"{account.home}/.jupyter/lab.log"
    change(
        c,
        START,
        folder,
        platform(c).PATH,
        folder,
        user=account.name,
        why="start JupyterLab",
        undo=("session %s %s", account.name, log),
        keep=[log],
        then={"lab.session": "yes"},
    )


def refuse(c: Connection, want: Settings) -> None:
    """Stop where JupyterLab cannot run: no Python, or somebody else on its port."""
    have, label = facts(c).lab, Host.of(c).label
    if not facts(c).python.lab and not Host.of(c).planning:
        where = f"~/{PREFIXES[want.python]} (python: {want.python})"
        raise SetupError(
            f"{label}: JupyterLab is not installed for {want.jupyter_user} in {where}: type python.install first"
        )
    if have.owner and have.owner != want.jupyter_user:
        holder = have.holder or "a program"
        raise SetupError(
            f"{label}: {want.lab_place} is taken by {holder} of {have.owner}: choose another lab_port"
        )


def tell_of_restart(c: Connection) -> None:
    if facts(c).lab.stale:
        console.note("JupyterLab still runs with the configuration of before: lab.restart")


def wait(c: Connection, want: Settings) -> None:
    """Wait until it answers; tell the end of its log when it does not."""
    host = Host.of(c)
    if host.planning:
        return
    with console.working(host.label, "wait for JupyterLab"):
        answer = ask(
            c,
            WAIT,
            config.socket(c, want),
            PATIENCE,
            f"{want.lab_url(want.lab_port)}api",
            user=want.jupyter_user,
        )
    host.forget()
    if not answer.ok:
        raise SetupError(
            f"{host.label}: JupyterLab does not answer on {want.lab_place}: {shown(answer.last_words)}"
        )


@host_task
def stop(c: Connection) -> None:
    """Stop JupyterLab and its kernels."""
    have, want = facts(c).lab, Settings.of(c)
    if have.owner and have.owner != want.jupyter_user:
        raise SetupError(
            f"{Host.of(c).label}: {want.lab_place} belongs to {have.owner}, so it is not yours to stop"
        )
    if have.service and (
        have.pid or have.state not in ("", "inactive", "failed")
    ):  # it may crash again and again, without a port
        platform(c).service.stop(c)
    elif have.pid:
        change(c, STOP, have.pid, have.pid, why="stop JupyterLab")
    elif have.session:
        account = facts(c).accounts[want.jupyter_user]
        change(
            c,
            END,
            account.name,
            PREFIXES[want.python],
            account.home,
            why="end the tmux session jupyter",
        )
