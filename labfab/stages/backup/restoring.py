"""Restoring: turn a backup into a host's lab, and check it before and after.

Owns: nothing; each change is made and journaled by the stage that it belongs to.
"""

from __future__ import annotations

import posixpath
import shlex
import time
from pathlib import Path
from secrets import token_hex

from fabric import Connection

from ... import console, decode
from ...errors import SetupError
from ...facts import facts
from ...host.account_files import refuse_link
from ...host.alias import alias_of
from ...host.changes import ask, change
from ...host.session import Host
from ...laptop import archive, arrival, patchwork
from ...laptop.transfer import Preview
from ...local_state import secrets
from ...platforms import platform
from ...server import busy_kernels
from ...settings import Settings
from ...text import counted
from .. import files, lab, python
from ..jupyter import config as jupyter
from ..jupyter import publishing
from ..jupyter.publishing import Config
from . import packages

CONFIG = "jupyter_server_config.json"
LISTENING = ("ip", "port", "sock", "sock_mode", "base_url", "root_dir")
PUBLISHED = ("local_hostnames", "allow_remote_access", "trust_xheaders")
TLS = ("certfile", "keyfile", "tornado_settings")
# Keys that describe the other host: its addresses, its certificate and its settings.
HOST_KEYS = {
    "ServerApp": (*LISTENING, *PUBLISHED, *TLS),
    "KernelManager": ("transport",),
    # Whoever had the old host may know it.
    "IdentityProvider": ("token",),
    publishing.NOTE: ("publish", "long_password"),
}
# That file is merged, not copied.
OPTIONS = {"jupyter": (f"--exclude=/{CONFIG}",)}
# A replaced file stays in its folder, with the time added to its name.
KEEP_REPLACED = ("-c", "--backup", "--suffix=.before-%Y%m%dT%H%M%S")
# Run as the account. The first word is the folder, the others are names there.
LACKING = """\
sh -c 'cd "$0" || exit 0
for name; do if [ -e "$name" ] || [ -L "$name" ]; then echo yes; else echo no; fi; done' %s"""
MAKE_LINKS = """\
sh -c 'cd "$0" && while [ $# -gt 0 ]; do
mkdir -p -- "${1%%/*}" && ln -s -- "$2" "$1" || exit 1; shift 2; done' %s"""
PRIVATE_FIRST = "restore it with LABFAB_PUBLISH=tunnel, then jupyter.password and setup.full"


def places(c: Connection, want: Settings) -> dict[str, str]:
    """Return the lab's folders on its host, by their names in a backup."""
    system, account = platform(c), facts(c).accounts.get(want.jupyter_user)
    # In plan mode a bare host has no account yet.
    home = account.home if account else f"{system.HOME_ROOT}/{want.jupyter_user}"
    return {
        "notebooks": posixpath.normpath(want.notebooks(home)),
        "jupyter": f"{home}/.jupyter",
        "kernels": f"{home}/{system.JUPYTER_DATA}/kernels",
    }


def restore(c: Connection, folder: Path, force: bool, yes: bool) -> None:
    """Restore a backup on this host, and prove that all of it arrived.

    folder: of the backup. force: replace files that differ. yes: restart also when kernels are
    busy. Raises SetupError; if files differ without *force*, before any change.
    """
    want, host = Settings.of(c), Host.of(c)
    with console.working(host.label, "check the backup"):
        kept = archive.verify(folder)
    refuse_another_python(want, host.label, kept)
    patchwork.rsync()
    comparable = files.need_rsync(c) and want.jupyter_user in facts(c).accounts
    found = compared(c, want, folder) if comparable else None
    refuse_to_replace(host.label, found or {}, force)
    python.install(c)
    warn_of_version(c, want, kept)
    lock = packages.without_holes(lock_of(folder, want))
    packages.install(c, want, lock)
    restart = configure(c, want, folder, kept, yes)
    for name in present(c, want, folder) if found is None else found:
        send(c, want, folder, name, found[name] if found else None)
    make_links(c, want, folder)
    if restart:
        lab.stop(c)
    lab.start(c)
    if not host.planning:
        prove(c, want, folder, lock)


def present(c: Connection, want: Settings, folder: Path) -> list[str]:
    """Return the names of the parts that the backup has."""
    # A part that is a link has been refused.
    return [name for name in places(c, want) if (folder / name).is_dir()]


def lock_of(folder: Path, want: Settings) -> str:
    """Return the list of packages in a backup. Raises SetupError if there is none."""
    name = packages.file_name(want)
    try:
        return archive.load(folder, name).decode(errors="replace")
    except FileNotFoundError:
        raise SetupError(f"{folder} has no {name}: use another backup") from None


def config_of(folder: Path) -> Config:
    """Return Jupyter's configuration in a backup. Raises SetupError if there is none."""
    try:
        config = decode.parsed(archive.load(folder, "jupyter", CONFIG))
    except (OSError, ValueError):
        config = None
    if not jupyter.is_config(config):
        raise SetupError(
            f"{folder / 'jupyter' / CONFIG} is not a configuration of Jupyter: use another backup"
        )
    return config


def make_links(c: Connection, want: Settings, folder: Path) -> None:
    """Make the links that lead out of a part of the lab, where nothing has their name."""
    targets = places(c, want)
    for part, links in archive.links_left_out(folder).items():
        names = [name for name in links if arrival.is_below(name)] if part in targets else []
        if names and not Host.of(c).planning:
            given = [f"./{name}" for name in names]
            said = ask(
                c, LACKING + " %s" * len(given), targets[part], *given, user=want.jupyter_user
            )
            names = [
                name
                for name, answer in zip(names, said.out.split(), strict=False)
                if answer == "no"
            ]
        if names:
            pairs = [word for name in names for word in (f"./{name}", str(links[name]))]
            change(
                c,
                MAKE_LINKS + " %s" * len(pairs),
                targets[part],
                *pairs,
                user=want.jupyter_user,
                why=f"restore {counted(len(names), 'link')} in {targets[part]}",
            )


def compared(c: Connection, want: Settings, folder: Path) -> dict[str, Preview]:
    """Find out, by checksums, what each part of the backup would change."""
    targets = places(c, want)
    return {
        name: files.preview(
            c,
            f"{folder}/{name}/",
            f"{targets[name]}/",
            options=OPTIONS.get(name, ()),
            checksums=True,
        )
        for name in present(c, want, folder)
    }


def refuse_another_python(want: Settings, label: str, kept: archive.Manifest) -> None:
    """Raise SetupError if the backup's packages came from a different kind of installer."""
    if (kept["python"] == "venv") != (want.python == "venv"):
        raise SetupError(
            f"the backup has python: {kept['python']}, and this host gets python: {want.python}: "
            f"type LABFAB_PYTHON={shlex.quote(str(kept['python']))} in front of the command",
            host=label,
        )


def refuse_to_replace(label: str, found: dict[str, Preview], force: bool) -> None:
    """Raise SetupError if files of the host differ from those of the backup."""
    differ = [name for preview in found.values() for name in preview.replaced]
    if differ and not force:
        raise SetupError(
            f"{len(differ)} files there differ from those of the backup "
            f"({files.first_names(differ)}), nothing was changed: "
            "--force replaces them and keeps the old ones as NAME.before-TIME",
            host=label,
        )


def warn_of_version(c: Connection, want: Settings, kept: archive.Manifest) -> None:
    """Warn if Python has another version: some package versions may not exist for it."""
    if Host.of(c).planning:
        return
    now, then = packages.version(c, want), str(kept["python_version"])
    if now and now.split(".")[:2] != then.split(".")[:2]:
        console.warn(
            f"the backup has Python {then}, this host {now}: "
            "if packages do not fit, set python_version"
        )


def configure(
    c: Connection, want: Settings, folder: Path, kept: archive.Manifest, yes: bool
) -> bool:
    """Restore Jupyter's configuration with the password's hash; the token is this host's own.

    Returns True if a running JupyterLab must be restarted to read it.
    """
    old = facts(c)
    refuse_link(c, want.jupyter_user, old.jupyter.link)
    saved = movable(config_of(folder))
    have = jupyter.parsed(old.jupyter.config, want, Host.of(c).label)
    config = jupyter.merged(jupyter.merged(have, saved), jupyter.wanted(c, want))
    config.setdefault("IdentityProvider", {}).setdefault("token", token_hex(24))
    publishing.refuse_without_certificate(c, want)
    publishing.update(c, want, config)
    publishing.refuse_weak(c, want, config, alias_of(c, want), kept["alias"], how=PRIVATE_FIRST)
    restart = bool(facts(c).lab.api) and config != have
    if restart:
        busy_kernels.require(c, want, yes, "restart")
    jupyter.write(c, want, config, why="restore Jupyter's configuration and password")
    keep_password(c, want, kept["alias"], publishing.hash_of(config))
    return restart


def movable(config: Config) -> Config:
    """Return the part of a configuration that is valid on any host."""
    parts = {
        part: {key: value for key, value in keys.items() if key not in HOST_KEYS.get(part, ())}
        for part, keys in config.items()
    }
    return {part: keys for part, keys in parts.items() if keys}


def keep_password(c: Connection, want: Settings, old_alias: str, hashed: str) -> None:
    """Keep the backup's password, and no other, under this alias.

    hashed: its hash; empty if the backup has none.
    """
    mine = alias_of(c, want)
    if Host.of(c).planning or not hashed:
        return
    for alias in (mine, old_alias):
        value = publishing.stored_password_for(alias, hashed)
        if value:
            Host.of(c).keep_secret(mine, "jupyter-password", value)
            return
    secrets.path_of(mine, "jupyter-password").unlink(missing_ok=True)
    console.note("the password is the backup's; it is not kept on this laptop")


def send(c: Connection, want: Settings, folder: Path, name: str, found: Preview | None) -> None:
    """Push one part if any of it is missing or differs. found: what would change; None: unknown."""
    if found is not None and not found:
        return
    target = places(c, want)[name]
    files.send(
        c,
        f"{folder}/{name}/",
        target,
        why=f"restore {files.in_words(found)} to {target}",
        options=(*map(time.strftime, KEEP_REPLACED), *OPTIONS.get(name, ())),
    )


def prove(c: Connection, want: Settings, folder: Path, lock: str) -> None:
    """Compare files by checksums, and packages. Raises SetupError if any differs."""
    label = Host.of(c).label
    wrong = [
        name
        for preview in compared(c, want, folder).values()
        for name in (*preview.new, *preview.replaced)
    ]
    wrong += packages.missing(c, want, lock)
    if wrong:
        raise SetupError(
            f"{len(wrong)} files or packages differ from the backup ({', '.join(wrong[:3])}): "
            "run this again",
            host=label,
        )
    console.say(
        f"[{label}] files, {len(packages.pins(lock))} packages and the password match "
        f"{folder.parent.name}/{folder.name}"
    )
