"""Files: between your laptop and the host, with rsync.

Owns: what it sends, which stays when setup.undo takes the rest back.  Undo: delete it yourself
Nothing is ever deleted without --delete. On the host all is done as the account that runs JupyterLab.
"""

from __future__ import annotations

import os
import posixpath
import sys
import time
from pathlib import Path

from fabric import Connection

from .. import console
from ..errors import SetupError
from ..facts import facts
from ..host import rsync_as_account
from ..host.changes import change
from ..host.session import Host
from ..laptop import patchwork, rsync, transfer
from ..laptop.transfer import Errand, Far, Survey
from ..platforms import platform
from ..run.task import acquire_run_lock, host_task
from ..settings import Settings
from .tunnel import found_in_config, target_of

MAKE = "mkdir -p -- %s"
TO = "Folder that gets it, made if it is missing"
DELETE = "Delete in it what is not in the source; says first how much, and asks"
YES = "Delete without asking"


@host_task(
    help={
        "local": "File or folder here; FOLDER/ sends what is in it",
        "to": f"{TO}, below root_dir",
        "delete": DELETE,
        "yes": YES,
    }
)
def push(c: Connection, local: str, to: str = "", delete: bool = False, yes: bool = False) -> None:
    """Copy files of your laptop to the host."""
    source, place = here(local), there(c, to)
    if not os.path.lexists(source.rstrip("/") or "/"):
        raise SetupError(f"{source} is not on this machine: correct the path")
    patchwork.rsync()
    found = survey(c, source, place, delete=delete) if need_rsync(c) else None
    if found is None or found:
        lose = confirmed(c, found, yes, Host.of(c).label)
        send(c, source, place, why=f"push {told(found)} to {place.rstrip('/')}", delete=lose)


@host_task(
    reads=True,
    help={
        "remote": "File or folder of the host, below root_dir; FOLDER/ gets what is in it",
        "to": TO,
        "delete": DELETE,
        "yes": YES,
    },
)
def pull(
    c: Connection, remote: str, to: str = ".", delete: bool = False, yes: bool = False
) -> None:
    """Copy files of the host to your laptop."""
    if not console.alone:
        raise SetupError(
            f"{Host.of(c).label}: the files of several hosts would mix: pull from one at a time, each with its own --to"
        )
    source, place = there(c, remote), here(to).rstrip("/") + "/"
    found = survey(c, source, place, delete=delete, pull=True) if need_rsync(c) else None
    if found is not None and not found:
        console.say(f"[{Host.of(c).label}] nothing to pull")
        return
    lose = confirmed(c, found, yes, "this machine")
    fetch(c, source, place, f"pull {told(found)} to {place.rstrip('/')}", delete=lose)


def here(path: str) -> str:
    """A path of the laptop, in full; as with rsync a / at its end stands for what is in the folder."""
    inside = os.path.basename(path) in ("", ".", "..")
    return os.path.abspath(os.path.expanduser(path)).rstrip("/") + "/" * inside


def there(c: Connection, path: str) -> str:
    """A path of the host, in full: below root_dir, or below the home where it begins with ~/."""
    want = Settings.of(c)
    account = facts(c).accounts.get(want.jupyter_user)
    if account is None and not Host.of(c).planning:
        raise SetupError(
            f"{Host.of(c).label}: there is no account {want.jupyter_user} yet: type setup.full first"
        )
    home = account.home if account else f"{platform(c).HOMES}/{want.jupyter_user}"
    inside = posixpath.basename(path) in ("", ".", "..")
    below = (
        posixpath.join(home, path[2:])
        if path == "~" or path.startswith("~/")
        else posixpath.join(want.notebooks(home), path)
    )
    return posixpath.normpath(below) + "/" * inside


def need_rsync(c: Connection) -> bool:
    """Have rsync on both sides; False in a plan where it is still missing, or the account, so that nobody can look."""
    rsync.require()
    known = "rsync" in facts(c).system.packages and Settings.of(c).jupyter_user in facts(c).accounts
    if "rsync" not in facts(c).system.packages:
        if not Host.of(c).planning:
            acquire_run_lock(Host.of(c))
        platform(c).install(c, "rsync")
    return known or not Host.of(c).planning


def errand(
    c: Connection,
    source: str,
    place: str,
    program: rsync_as_account.Program,
    pull: bool = False,
    options: tuple[str, ...] = (),
) -> Errand:
    """A transfer by the alias of this host, else by the login given with -H."""
    block, target = found_in_config(c), target_of(c)
    user, port = (block.user, block.port) if block else (c.user, c.port)
    far = Far(target, user, port, program.text, Settings.of(c).connect_timeout, program.errors)
    return Errand(far, source, place, pull, options)


def survey(
    c: Connection,
    source: str,
    place: str,
    delete: bool = False,
    pull: bool = False,
    options: tuple[str, ...] = (),
    checksums: bool = False,
) -> Survey:
    """What a transfer would do."""
    with (
        console.working(Host.of(c).label, "compare"),
        rsync_as_account.opened(c, Settings.of(c).jupyter_user) as program,
    ):
        return transfer.look(errand(c, source, place, program, pull, options), delete, checksums)


def send(
    c: Connection, source: str, place: str, why: str, delete: int = 0, options: tuple[str, ...] = ()
) -> None:
    """Push, and note it in the journal."""
    account = Settings.of(c).jupyter_user
    folder = place.rstrip("/") or "/"
    change(c, MAKE, folder, user=account, why=why, undo=("folder %s", folder), keep=[folder])
    if not Host.of(c).planning:
        began = time.monotonic()
        with (
            console.working(Host.of(c).label, why) as tell,
            rsync_as_account.opened(c, account) as program,
        ):
            transfer.carry(
                errand(c, source, folder.rstrip("/") + "/", program, options=options), tell, delete
            )
        console.note(f"sent in {console.duration(time.monotonic() - began)}")


def fetch(
    c: Connection,
    source: str,
    place: str,
    why: str,
    delete: int | None = 0,
    options: tuple[str, ...] = (),
) -> None:
    """Pull, and tell it."""
    if Host.of(c).planning:
        console.planned(Host.of(c).label, why)
        return
    began = time.monotonic()
    try:
        Path(place).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(f"cannot make the folder {place}: {error.strerror}") from None
    with (
        console.working(Host.of(c).label, why) as tell,
        rsync_as_account.opened(c, Settings.of(c).jupyter_user) as program,
    ):
        transfer.carry(errand(c, source, place, program, pull=True, options=options), tell, delete)
    console.changed(Host.of(c).label, why, time.monotonic() - began)


def confirmed(c: Connection, found: Survey | None, yes: bool, where: str) -> int:
    """How many files may be deleted, once somebody has heard of it and agreed."""
    doomed = found.deleted if found else ()
    if not doomed:
        return 0
    names = f"{', '.join(doomed[:3])}{', …' * (len(doomed) > 3)}"
    many = f"{len(doomed)} file{'s' * (len(doomed) > 1)}"
    console.note(
        f"--delete: {many} would go from {where}: {names}"
        if Host.of(c).planning
        else f"--delete: {many} go from {where}: {names}"
    )
    if yes or Host.of(c).planning:
        return len(doomed)
    if not sys.stdin.isatty():
        raise SetupError(
            f"{many} would be deleted on {where} ({names}): if that is right, add --yes"
        )
    if not console.agreed(f"Delete {many} on {where}?"):
        raise SetupError("nothing was deleted, and nothing was copied")
    return len(doomed)


def told(found: Survey | None) -> str:
    """How much would be copied, in words."""
    if found is None:
        return "files"
    count = f"{found.files} file{'s' * (found.files != 1)}"
    replaced = f", {len(found.replaced)} of them in place of another" if found.replaced else ""
    return (
        f"{count} ({amount(found.size)}{replaced})" if found.files else "times and modes of files"
    )


def amount(size: float) -> str:
    """Bytes for people."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return ""
