"""Process: start JupyterLab in tmux or by the system's service manager, wait for it, stop it.

Owns: the tmux session `jupyter`, ~/.jupyter/lab.log.  Undo: lab.stop
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fabric import Connection

from .. import console
from ..errors import SetupError
from ..facts import facts
from ..facts.reader import PREFIXES
from ..host.account_files import own_tmux_folder
from ..host.changes import ask, change
from ..host.session import Host
from ..host.shell import Result
from ..local_state.aliases import everyday_user, find_alias
from ..on_host import loader
from ..platforms import platform
from ..settings import Settings
from ..text import one_line
from . import launchlab

if TYPE_CHECKING:
    from ..facts.records import Account, Lab

# The journal files starts and stops under this stage, whichever task causes them.
STAGE = "lab"
# Seconds; a cold start on a small machine takes 12.
PATIENCE = 120
# Seconds that JupyterLab may take to end its kernels, after File > Shut Down for example.
ENDING = 15
# in_tmux finds the tmux that JupyterLab was started in.
END_SESSION = (
    "LAB_USER=%s; PREFIX=%s; in_tmux %s kill-session -t =jupyter || exit; "
    "for i in $(seq 100); do pgrep -u %s -f '[b]in/jupyter-lab' >/dev/null || break; "
    "sleep 0.2; done"
)
STOP = "kill %s; for i in $(seq 100); do kill -0 %s 2>/dev/null || exit 0; sleep 0.2; done; exit 1"
# What a plan knows once JupyterLab has stopped.
STOPPED = {f"lab.{key}": None for key in ("api", "owner", "pid", "session", "holder", "stale")}


def start(c: Connection, want: Settings) -> None:
    """Start a configured JupyterLab unless it answers already; wait until it does.

    Raises SetupError if it does not answer in time, or runs with an old configuration that
    listens elsewhere.
    """
    system, host = platform(c), Host.of(c)
    system.install(c, *packages(c))
    have = facts(c)
    # Read once: none of the changes below makes them stale.
    account, lab = have.accounts[want.jupyter_user], have.lab
    if not account.linger:
        system.keep_after_logout(c, account.name)
    if want.start_command:
        launchlab.install(c, want, command_account(c, want), want.start_command)
    lab = wait_while_changing(c, want, account, ENDING if lab.stale else PATIENCE)
    if lab.api:
        if lab.stale:
            console.note("JupyterLab still runs with its old configuration: lab.restart")
        return
    if lab.session and lab.stale:
        raise SetupError(
            "JupyterLab runs with an old configuration and does not answer on "
            f"{want.lab_place}: when no kernel is busy, type lab.stop, then repeat the command",
            host=host.label,
        )
    if lab.service:
        system.service.start(c)
    elif not lab.session:
        start_in_tmux(c, want, account)
    wait_until_answering(c, want, account)


def command_account(c: Connection, want: Settings) -> str:
    """Return the account whose shell gets the start command: the one that the alias leads to."""
    if find_alias(c):
        return everyday_user(c)
    # In a plan there is no alias yet.
    return want.jupyter_user if platform(c).lets_in(c, want.jupyter_user) else want.user


def wait_while_changing(c: Connection, want: Settings, account: Account, limit: int) -> Lab:
    """Wait for a JupyterLab that is starting or ending, and return what is known of it then.

    After File > Shut Down its session and process last until all kernels have ended.
    limit: seconds; what neither answers nor ends in that time is left alone.
    """
    lab, host = facts(c).lab, Host.of(c)
    if lab.api or host.planning or not (lab.session or service_runs(lab)):
        return lab
    with console.working(host.label, "wait for JupyterLab"):
        poll_lab(c, want, account, limit)
    host.forget()
    return facts(c).lab


def packages(c: Connection) -> list[str]:
    """Return the system packages that JupyterLab's start needs."""
    return ["curl"] if facts(c).lab.service else ["curl", "tmux"]


def start_in_tmux(c: Connection, want: Settings, account: Account) -> None:
    """Start JupyterLab in a tmux session of its account."""
    log = f"{account.home}/.jupyter/lab.log"
    own_tmux_folder(c, account.name)
    change(
        c,
        loader.as_command("start_in_tmux", 2),
        PREFIXES[want.python],
        platform(c).LAB_PATH,
        user=account.name,
        why="start JupyterLab",
        undo=("session %s %s", account.name, log),
        keep=[log],
        then={"lab.session": "yes"},
    )


def refuse_unless_startable(c: Connection, want: Settings) -> None:
    """Raise SetupError if JupyterLab cannot run: it is not installed, or its port is taken."""
    have, host = facts(c), Host.of(c)
    if not have.python.lab and not host.planning:
        raise not_installed(host, want)
    lab = have.lab
    if lab.owner and lab.owner != want.jupyter_user:
        advice = ": delete that socket" if want.lab_socket else ": choose another lab_port"
        raise SetupError(
            f"{want.lab_place} is taken by {lab.holder or 'a program'} of {lab.owner}{advice}",
            host=host.label,
        )
    refuse_unreachable_socket(c, want)


def refuse_unreachable_socket(c: Connection, want: Settings) -> None:
    """Raise SetupError if the alias, and with it the tunnel, does not lead to the socket's account.

    An earlier version wrote it so.
    """
    known, host = find_alias(c), Host.of(c)
    if want.lab_socket and known and known.everyday_user != want.jupyter_user and not host.planning:
        raise SetupError(
            f"listen: socket is open to {want.jupyter_user} alone, and {known.name} leads to "
            f"{known.everyday_user}: type keys.copy (on a Mac ssh.restrict) first",
            host=host.label,
        )


def prove_owner(c: Connection, want: Settings) -> None:
    """Raise SetupError unless JupyterLab's account, and nobody else, listens where JupyterLab does.

    Call it before a password, a token or a cookie goes there.
    """
    refuse_unless_startable(c, want)
    if not facts(c).lab.owner and not Host.of(c).planning:
        raise SetupError(
            f"nobody listens on {want.lab_place}: see lab.logs, then lab.start",
            host=Host.of(c).label,
        )


def not_installed(host: Host, want: Settings) -> SetupError:
    """Return the error for an account without JupyterLab; it names the task that installs it."""
    where = f"~/{PREFIXES[want.python]} (python: {want.python})"
    return SetupError(
        f"JupyterLab is not installed for {want.jupyter_user} in {where}: "
        "type python.install first",
        host=host.label,
    )


def wait_until_answering(c: Connection, want: Settings, account: Account) -> None:
    """Wait until JupyterLab answers. Raises SetupError with the end of its log if it does not."""
    host = Host.of(c)
    if host.planning:
        return
    with console.working(host.label, "wait for JupyterLab"):
        answer = poll_lab(c, want, account, PATIENCE)
    host.forget()
    if not answer.ok:
        raise SetupError(
            f"JupyterLab does not answer on {want.lab_place}: {one_line(answer.last_words)}",
            host=host.label,
        )


def poll_lab(c: Connection, want: Settings, account: Account, limit: int) -> Result:
    """Ask JupyterLab until it answers, until none is left, or for *limit* seconds."""
    return ask(
        c,
        loader.as_command("wait_for_lab", 5, uses="port_owner"),
        socket_path(want, account),
        limit,
        f"{want.lab_url(want.lab_port)}api",
        PREFIXES[want.python],
        platform(c).LAB_PATH,
        user=account.name,
    )


def socket_path(want: Settings, account: Account | None) -> str:
    """Return the path of JupyterLab's Unix socket, or an empty string if it listens on TCP."""
    return f"{account.home}/{want.lab_socket}" if want.lab_socket and account else ""


def stop(c: Connection, want: Settings) -> None:
    """Stop JupyterLab and its kernels. Raises SetupError if another account runs it."""
    have = facts(c)
    lab = have.lab
    if lab.owner and lab.owner != want.jupyter_user:
        raise SetupError(
            f"{want.lab_place} belongs to {lab.owner}, so it is not yours to stop",
            host=Host.of(c).label,
        )
    if service_runs(lab):
        platform(c).service.stop(c)
        Host.of(c).assume_in_plan(STOPPED)
    elif lab.pid:
        # As the account: whatever process the number names by now, it is one of its own.
        change(c, STOP, lab.pid, lab.pid, user=lab.owner, why="stop JupyterLab", then=STOPPED)
    elif lab.session:
        account = have.accounts[want.jupyter_user]
        given = (account.name, PREFIXES[want.python], account.home, account.name)
        change(c, END_SESSION, *given, why="end the tmux session jupyter", then=STOPPED)


def service_runs(lab: Lab) -> bool:
    """Return whether the service manager runs JupyterLab.

    A unit that keeps crashing has no pid between two attempts.
    """
    return lab.service and (bool(lab.pid) or lab.state not in ("", "inactive", "failed"))
