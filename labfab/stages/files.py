"""Files: copy them between your laptop and the host, with rsync.

Owns: the files it sends, which setup.undo leaves in place.  Undo: delete it yourself
Nothing is deleted without --delete. On the host, rsync runs as JupyterLab's account.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fabric import Connection

from .. import console, fabric_internals
from ..errors import SetupError
from ..facts import facts
from ..host import rsync_as_account
from ..host.changes import ask, change
from ..host.session import Host
from ..laptop import arrival, destination, patchwork, rsync, transfer
from ..laptop.arrival import Link
from ..laptop.destination import Destination
from ..laptop.openssh import Target
from ..laptop.transfer import MINE, NEW_ONLY, Preview, RemoteEnd, Transfer
from ..platforms import platform
from ..run.task import acquire_run_lock, host_task
from ..settings import Settings
from ..text import counted, one_line
from .tunnel import found_in_config, target_of

# Prints the folder's mode as it was, or is now.
MAKE = "umask 077; mkdir -p -- %s && { stat -L -c %%a %s 2>/dev/null || stat -L -f %%Lp %s; }"
TO = "Destination folder, made if it is missing"
DELETE = "Delete files there that the source lacks; says how many, then asks"
YES = "Delete without asking"
NAMED = 5  # how many of the files to replace are named


@host_task(
    help={
        "local": "File or folder here; FOLDER/ sends its contents",
        "to": f"{TO}, below root_dir",
        "delete": DELETE,
        "yes": YES,
    }
)
def push(c: Connection, local: str, to: str = "", delete: bool = False, yes: bool = False) -> None:
    """Copy files from your laptop to the host."""
    label, source, target = Host.of(c).label, on_laptop(local), on_host(c, to)
    if not os.path.lexists(source.rstrip("/") or "/"):
        raise SetupError(f"{source} is not on this machine: correct the path")
    patchwork.rsync()
    found = preview(c, source, target, delete=delete) if need_rsync(c) else None
    if found is None or found:
        limit = confirm_deletion(c, found, yes, label)
        why = f"push {in_words(found)} to {target.rstrip('/')}"
        send(c, source, target, why=why, delete=limit)


@host_task(
    reads=True,
    help={
        "remote": "File or folder on the host, below root_dir; FOLDER/ gets its contents",
        "to": f"{TO} (default: the current one, but not for FOLDER/)",
        "delete": DELETE,
        "yes": "Delete, and replace files here, without asking",
    },
)
def pull(c: Connection, remote: str, to: str = "", delete: bool = False, yes: bool = False) -> None:
    """Copy files from the host to your laptop."""
    label = Host.of(c).label
    if not console.alone:
        raise SetupError(
            "the files of several hosts would mix: pull from one at a time, each with its own --to",
            host=label,
        )
    folder = target_of_pull(c, remote, to)
    source, target = on_host(c, remote), f"{folder}/".replace("//", "/")
    found, left = None, tuple[Link, ...]()
    if need_rsync(c):
        every = preview(c, source, target, delete=delete, pull=True, options=MINE)
        left = transfer.links_out(source, every)
        found = transfer.without(every, left)
    if found is not None and not found:
        console.say(f"[{label}] nothing to pull")
        say_left_out(left)
        return
    doomed = found.deleted if found else ()
    shown = arrival.marks(folder, doomed)
    confirm_deletion(c, found, yes, "this machine")
    options = MINE if confirm_replacement(c, found, yes) else (*MINE, NEW_ONLY)
    why = f"pull {in_words(found)} to {folder}"
    fetch(c, source, target, why, options=options, found=found)
    if not Host.of(c).planning:
        arrival.delete(Path(target), shown)
    say_left_out(left)
    warn_of_rsync()


def target_of_pull(c: Connection, remote: str, to: str) -> Path:
    """Return the folder here that a pull goes to. Raises SetupError for a dangerous one.

    A host chooses the names of what is in a folder, and that of the home.
    """
    name = "" if remote == "~" else posixpath.basename(remote)
    name = "" if is_contents(name) else name
    if not (name or to):
        raise SetupError(
            f"the host chooses the names in {one_line(remote or 'that folder')}: "
            "say which folder they go to, such as --to results",
            host=Host.of(c).label,
        )
    folder = Path(on_laptop(to or "."))
    project = Path(fabric_internals.project_folder(c.config))
    destination.refuse_dangerous(Destination(folder, name), project)
    return folder


def say_left_out(links: Sequence[Link]) -> None:
    """Name the links that were not taken, because they lead elsewhere."""
    if links:
        shown = [f"{link} -> {link.target}" for link in links]
        console.note(
            f"{counted(len(links), 'link')} not taken, which would lead out of what is copied: "
            f"{first_names(shown)}"
        )


def warn_of_rsync() -> None:
    """Warn if the rsync of this machine may have holes that a hostile host can use."""
    if holes := rsync.known_holes(rsync.require()):
        console.warn(holes)


def is_contents(name: str) -> bool:
    """Return whether a path means a folder's contents, which rsync sees by its last part."""
    return name in ("", ".", "..")


def on_laptop(path: str) -> str:
    """Return a laptop path in full, ending in / if it means a folder's contents."""
    full = os.path.abspath(os.path.expanduser(path)).rstrip("/")
    return full + "/" if is_contents(os.path.basename(path)) else full


def on_host(c: Connection, path: str) -> str:
    """Return a host path in full, below root_dir, or below the home if it begins with ~/.

    It ends in / if it means a folder's contents. Raises SetupError if the account is missing.
    """
    want, host = Settings.of(c), Host.of(c)
    account = facts(c).accounts.get(want.jupyter_user)
    if account is None and not host.planning:
        raise SetupError(
            f"there is no account {want.jupyter_user} yet: type setup.full first", host=host.label
        )
    home = account.home if account else f"{platform(c).HOME_ROOT}/{want.jupyter_user}"
    full = posixpath.join(want.notebooks(home), path)
    if path == "~" or path.startswith("~/"):
        full = posixpath.join(home, path[2:])
    full = posixpath.normpath(full)
    return full + "/" if is_contents(posixpath.basename(path)) else full


def need_rsync(c: Connection) -> bool:
    """Install rsync on the host if it is missing. Raises SetupError if the laptop has none.

    Returns False in plan mode if rsync or the account is missing: then nothing can be compared.
    """
    rsync.require()
    host, have = Host.of(c), facts(c)
    installed = "rsync" in have.system.packages
    known = installed and Settings.of(c).jupyter_user in have.accounts
    if not installed:
        if not host.planning:
            acquire_run_lock(host)
        platform(c).install(c, "rsync")
    return known or not host.planning


class TransferLogin(NamedTuple):
    """The login with which ssh calls the host for a transfer."""

    target: Target
    user: str
    port: int


def login_for(c: Connection, account: str) -> TransferLogin:
    """Return the login for a transfer as an account: its own, if there is one.

    Else it is the one with sudo, never that of lab_user: no account may act as another.
    """
    block, target = found_in_config(c), target_of(c)
    if block is None:
        return TransferLogin(target, c.user, c.port)
    if account == block.everyday_user:
        return TransferLogin(target, account, block.port)
    return TransferLogin(target._replace(alias=block.admin_name), block.user, block.port)


def serving(
    c: Connection, pull: bool = False
) -> contextlib.AbstractContextManager[rsync_as_account.Program]:
    """Offer rsync on the host, as the account that runs JupyterLab. pull: it sends."""
    account = Settings.of(c).jupyter_user
    return rsync_as_account.opened(c, login_for(c, account).user, account, pull)


def transfer_for(
    c: Connection,
    source: str,
    target: str,
    program: rsync_as_account.Program,
    pull: bool = False,
    options: tuple[str, ...] = (),
) -> Transfer:
    """Describe a transfer, with the host's alias or else the login given with -H."""
    login = login_for(c, Settings.of(c).jupyter_user)
    far = RemoteEnd(
        target=login.target,
        user=login.user,
        port=login.port,
        program=program.text,
        timeout=Settings.of(c).connect_timeout,
        errors=program.errors,
    )
    return Transfer(far, source, target, pull=pull, options=options)


def preview(
    c: Connection,
    source: str,
    target: str,
    delete: bool = False,
    pull: bool = False,
    options: tuple[str, ...] = (),
    checksums: bool = False,
) -> Preview:
    """Find out what a transfer would do.

    pull: from the host. options: further options of rsync. checksums: compare what the files
    contain, not only size and time.
    """
    with (
        console.working(Host.of(c).label, "compare"),
        serving(c, pull) as program,
    ):
        return transfer.preview(
            transfer_for(c, source, target, program, pull, options), delete, checksums
        )


def send(
    c: Connection,
    source: str,
    target: str,
    why: str,
    delete: int = 0,
    options: tuple[str, ...] = (),
) -> None:
    """Push files, and note it in the journal. delete: how many files it may delete there."""
    host, account = Host.of(c), Settings.of(c).jupyter_user
    folder = target.rstrip("/") or "/"
    undo = ("folder %s", folder)
    made = change(c, MAKE, *[folder] * 3, user=account, why=why, undo=undo, keep=[folder])
    if made is None:
        return
    began = time.monotonic()
    into = folder.rstrip("/") + "/"
    with (
        console.working(host.label, why) as tell,
        serving(c) as program,
    ):
        transfer.run_transfer(transfer_for(c, source, into, program, options=options), tell, delete)
    if source.endswith("/"):
        # rsync gave the folder the mode of the one here, which may be open to others.
        ask(c, "chmod %s %s", made.out.strip(), folder, user=account)
    console.note(f"sent in {console.duration(time.monotonic() - began)}")


def fetch(
    c: Connection,
    source: str,
    target: str,
    why: str,
    delete: int | None = 0,
    options: tuple[str, ...] = (),
    found: Preview | None = None,
) -> None:
    """Pull files, and say so.

    delete: None deletes what the source lacks. found: what it will do, with links to make.
    """
    host = Host.of(c)
    if host.planning:
        console.planned(host.label, why)
        return
    began, folder = time.monotonic(), Path(target)
    arrival.refuse_full(folder, found.size if found else 0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(f"cannot make the folder {target}: {error.strerror}") from None
    with (
        console.working(host.label, why) as tell,
        serving(c, pull=True) as program,
    ):
        transfer.run_transfer(
            transfer_for(c, source, target, program, pull=True, options=options), tell, delete
        )
    make_links(folder, found)
    console.changed(host.label, why, time.monotonic() - began)


def make_links(folder: Path, found: Preview | None) -> None:
    """Make the links that a transfer was to bring. Warn of those that cannot be made."""
    failed = arrival.make_links(folder, transfer.links(found) if found else ())
    if failed:
        console.warn(f"{counted(len(failed), 'link')} could not be made: {first_names(failed)}")


def confirm_deletion(c: Connection, found: Preview | None, yes: bool, where: str) -> int:
    """List the files that --delete would delete, and ask; return how many it may delete.

    found: what the transfer would do; None: not known. yes: do not ask. where: the machine.
    Raises SetupError if the answer is no, or if there is nobody to ask.
    """
    doomed, planning = (found.deleted if found else ()), Host.of(c).planning
    if not doomed:
        return 0
    names, files = first_names(doomed), counted(len(doomed), "file")
    verb = "would be deleted" if planning else "will be deleted"
    console.note(f"--delete: {files} {verb} from {where}: {names}")
    if yes or planning:
        return len(doomed)
    if not sys.stdin.isatty():
        raise SetupError(
            f"{files} would be deleted on {where} ({names}): if that is right, add --yes"
        )
    if not console.agreed(f"delete {files} on {where}?"):
        raise SetupError("nothing was deleted, and nothing was copied")
    return len(doomed)


def confirm_replacement(c: Connection, found: Preview | None, yes: bool) -> bool:
    """Name the files here that a pull would replace, and ask; return whether there are any.

    found: what the pull would do; None: not known. yes: do not ask.
    Raises SetupError if the answer is no, or if there is nobody to ask.
    """
    names = found.overwritten if found else ()
    if not names or Host.of(c).planning:
        return bool(names)
    files, more = counted(len(names), "file"), len(names) - NAMED
    text = ", ".join(map(one_line, names[:NAMED])) + (f" and {more} more" if more > 0 else "")
    if yes:
        console.note(f"replaced on this machine: {text}")
    elif not sys.stdin.isatty():
        raise SetupError(
            f"{files} would be replaced on this machine ({text}): if that is right, add --yes"
        )
    elif not console.agreed(f"replace {files} on this machine ({text})?"):
        raise SetupError("nothing was replaced, and nothing was copied")
    return True


def first_names(names: Sequence[str]) -> str:
    """List the first three names."""
    text = ", ".join(map(one_line, names[:3]))
    return f"{text}, …" if len(names) > 3 else text


def in_words(found: Preview | None) -> str:
    """Describe how much would be copied. None: unknown."""
    if found is None:
        return "files"
    if not found.files:
        return "times and modes of files"
    replaced = f", {len(found.replaced)} of them replaced" if found.replaced else ""
    return f"{counted(found.files, 'file')} ({amount(found.size)}{replaced})"


def amount(size: float) -> str:
    """Format a number of bytes."""
    if size < 1000:
        return f"{size:.0f} bytes"
    for unit in ("kB", "MB"):
        size /= 1000
        if size < 1000:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} GB"
