"""Snapshots: back up a lab to your laptop, and restore it from there on any host.

Owns: ~/labfab-backups on the laptop (laptop/archive.py).  Undo: delete the folder of a backup
Kept: notebooks, Jupyter's configuration and kernelspecs, the exact packages, the settings. Every
file has its SHA-256.
"""

from __future__ import annotations

import json as to_json
import posixpath
from pathlib import Path

from fabric import Connection
from invoke import Context

from ... import console
from ...errors import SetupError
from ...facts import facts
from ...facts.reader import PREFIXES
from ...host.alias import alias_of
from ...host.changes import ask
from ...host.session import Host
from ...laptop import archive, transfer
from ...laptop.arrival import Link
from ...laptop.transfer import KEPT
from ...local_state import files as local_files
from ...run.task import host_task, laptop_task
from ...settings import Settings
from ...text import counted
from .. import files
from . import packages, restoring

SETTINGS = "settings.json"
EXISTING = 'for folder in %s %s %s; do if [ -d "$folder" ]; then echo yes; else echo no; fi; done'
# Not notebooks: left out if the notebook folder is the home itself.
PRIVATE = (".cache", ".config", ".jupyter", ".local", ".ssh", *PREFIXES.values())
# Left out of Jupyter's folder: what makes sense only on that host, at that moment.
LEFT_OUT = ("/lab.log", "/migrated", "/tls", "/lab/workspaces")


@host_task(reads=True, help={"to": "Folder for your backups (default: ~/labfab-backups)"})
def create(c: Connection, to: str = "") -> None:
    """Back up the lab to a folder on your laptop.

    It goes to ~/labfab-backups, below the alias and the present time, and is compared by checksums
    afterwards.
    """
    want, host = Settings.of(c), Host.of(c)
    if not facts(c).jupyter.config:
        raise SetupError(
            f"there is no JupyterLab of {want.jupyter_user} to back up: type setup.full first",
            host=host.label,
        )
    files.need_rsync(c)
    if host.planning:
        console.planned(host.label, f"back up to {to or archive.root()}")
        return
    done = make(c, want, to)
    console.say(f"[{host.label}] backed up {archive.summary(done)['files']} files to {done}")
    for line in packages.others(restoring.lock_of(done, want)):
        console.warn(f"this package is on no index, so keep its source too: {line}")
    for name, links in archive.links_left_out(done).items():
        shown = files.first_names([f"{link} -> {target}" for link, target in links.items()])
        console.warn(
            f"{counted(len(links), 'link')} of {name} lead elsewhere: the backup has where to, "
            f"not what is there: {shown}"
        )
    files.warn_of_rsync()


def make(c: Connection, want: Settings, to: str) -> Path:
    """Make a backup and return its folder. to: folder of the backups; empty: the default."""
    alias = alias_of(c, want)
    folder = archive.unfinished(alias, to)
    with local_files.locked(folder.parent):
        every = existing(c, want)
        left = {name: copy(c, want, folder, name, place) for name, place in every.items()}
        write_links(folder, {name: links for name, links in left.items() if links})
        keep_config(c, folder)
        write(folder / packages.file_name(want), packages.listed(c, want))
        write(folder / SETTINGS, to_json.dumps(want._asdict(), indent=2) + "\n")
        about = {
            "alias": alias,
            "host": c.host,
            "account": want.jupyter_user,
            "python": want.python,
            "python_version": packages.version(c, want),
        }
        return archive.finish(folder, about)


def write_links(folder: Path, left: dict[str, dict[str, str]]) -> None:
    """Write which links were not made here, because they lead out; remove an older list."""
    if left:
        write(folder / archive.LINKS, to_json.dumps(left, indent=2) + "\n")
    else:
        (folder / archive.LINKS).unlink(missing_ok=True)


def keep_config(c: Connection, folder: Path) -> None:
    """Write Jupyter's configuration as it was read, if it is a link on the host."""
    config, path = facts(c).jupyter.config, folder / "jupyter" / restoring.CONFIG
    if config and path.parent.is_dir() and (path.is_symlink() or not path.is_file()):
        path.unlink(missing_ok=True)
        write(path, config.content)


def write(path: Path, text: str) -> None:
    """Write a file of the backup that only you can read."""
    try:
        local_files.replace(path, text.encode(errors="surrogateescape"), 0o600)
    except OSError as error:
        raise SetupError(f"cannot write {path}: {error.strerror}") from None


def existing(c: Connection, want: Settings) -> dict[str, str]:
    """Return the lab's folders that exist."""
    places = restoring.places(c, want)
    answers = ask(c, EXISTING, *places.values(), user=want.jupyter_user).out.split()
    return {
        name: place
        for (name, place), answer in zip(places.items(), answers, strict=False)
        if answer == "yes"
    }


def copy(c: Connection, want: Settings, folder: Path, name: str, place: str) -> dict[str, str]:
    """Pull one folder and compare it by checksums; pull again, once, what changed meanwhile.

    Returns the links that lead out of it, which are not made here: name, where it leads.
    """
    excluded = (f"--exclude={path}" for path in left_out(c, want, name, place))
    options = (*KEPT, *excluded)
    source, target = f"{place}/", f"{folder}/{name}/"
    files.fetch(c, source, target, f"copy {name}", delete=None, options=options)
    changed, left = differing(c, source, target, options)
    if changed:
        why = f"copy {len(changed)} again, which changed during the copy"
        files.fetch(c, source, target, why, delete=None, options=(*options, "-c"))
        changed, left = differing(c, source, target, options)
    if changed:
        console.warn(
            f"{name}: some files change all the time, so the copies may be from different moments: "
            f"{', '.join(changed[:3])}"
        )
    return {str(link): link.target for link in left}


def differing(
    c: Connection, source: str, target: str, options: tuple[str, ...]
) -> tuple[list[str], tuple[Link, ...]]:
    """Make the missing links; return the files that differ from the host's, and the links left out.

    Files are compared by checksums.
    """
    found = files.preview(
        c, source, target, delete=True, pull=True, options=options, checksums=True
    )
    left = transfer.links_out(source, found)
    files.make_links(Path(target), transfer.without(found, left))
    every = (*found.new, *found.replaced, *found.deleted)
    return [name for name in every if not isinstance(name, Link)], left


def left_out(c: Connection, want: Settings, name: str, place: str) -> list[str]:
    """Return the paths below a folder that do not belong in the backup."""
    if name == "jupyter":
        return list(LEFT_OUT)
    if name != "notebooks":
        return []
    home = facts(c).accounts[want.jupyter_user].home
    private = [posixpath.join(home, path) for path in PRIVATE]
    return [path.removeprefix(place) for path in private if path.startswith(f"{place}/")]


@host_task(
    help={
        "from_": "Folder of the backup, or its name in backup.list; "
        "without it the newest of this alias",
        "force": "Replace files that differ; the old ones stay as NAME.before-TIME",
        "yes": "Restart JupyterLab even if kernels are busy",
    }
)
def restore(c: Connection, from_: str = "", force: bool = False, yes: bool = False) -> None:
    """Restore a backup on this host: files, packages, password.

    What is missing is installed first. Files of the host that differ are never replaced without
    --force.
    """
    restoring.restore(c, archive.find(from_, alias_of(c, Settings.of(c))), force, yes)


@laptop_task(name="list", help={"json": "Print JSON"})
def list_(c: Context, json: bool = False) -> None:
    """Show the backups on this laptop."""
    rows = [archive.summary(folder) for folder in archive.backups()]
    if json:
        console.say(to_json.dumps(rows, indent=2))
        return
    for row in rows:
        about = "damaged"
        if row["whole"]:
            about = f"{row['files']} files of {row['host']}, python: {row['python']}"
        console.say(f"{row['name']}  {about}")
    if not rows:
        console.say(f"there is no backup in {archive.root()}: backup.create")
