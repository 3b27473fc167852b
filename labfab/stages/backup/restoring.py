"""Restoring: a backup becomes the lab of a host, checked before and after.

Owns: nothing of its own; each change is made and journaled by the stage that it belongs to.
"""

from __future__ import annotations

import json
import posixpath
import time
from pathlib import Path

from fabric import Connection

from ... import console
from ...errors import SetupError
from ...facts import facts
from ...host.account_files import refuse_link
from ...host.alias import alias_of
from ...host.session import Host
from ...laptop import archive, patchwork
from ...laptop.transfer import Survey
from ...local_state import passwords, secrets
from ...platforms import platform
from ...settings import Settings
from .. import files, python
from ..jupyter import config as jupyter
from ..jupyter import publishing
from ..lab import kernels, server
from . import packages as lock

CONFIG = "jupyter_server_config.json"
# What an address, a certificate or a setting of the other host says has no place on this one.
OF_ITS_HOST = {
    "ServerApp": (
        "ip",
        "port",
        "sock",
        "sock_mode",
        "base_url",
        "root_dir",
        "local_hostnames",
        "allow_remote_access",
        "trust_xheaders",
        "certfile",
        "keyfile",
        "tornado_settings",
    ),
    "KernelManager": ("transport",),
    publishing.NOTE: ("publish", "long_password"),
}
OPTIONS = {"jupyter": (f"--exclude=/{CONFIG}",)}  # that one is merged
PRIVATE_FIRST = "restore it with LABFAB_PUBLISH=tunnel, then jupyter.password and setup.full"
BESIDE = (
    "-c",
    "--backup",
    "--suffix=.before-%Y%m%dT%H%M%S",
)  # what is replaced stays beside, under the time


def places(c: Connection, want: Settings) -> dict[str, str]:
    """The folders of a lab on its host; a plan for a bare host has no home yet."""
    account = facts(c).accounts.get(want.jupyter_user)
    home = account.home if account else f"{platform(c).HOMES}/{want.jupyter_user}"
    return {
        "notebooks": posixpath.normpath(want.notebooks(home)),
        "jupyter": f"{home}/.jupyter",
        "kernels": f"{home}/{platform(c).JUPYTER}/kernels",
    }


def restore(c: Connection, folder: Path, force: bool, yes: bool) -> None:
    """Bring a backup to this host. force: replace what differs. yes: restart also when kernels are busy."""
    want, host = Settings.of(c), Host.of(c)
    with console.working(host.label, "check the backup"):
        kept = archive.verify(folder)
    refuse_another_python(c, want, kept)
    patchwork.rsync()
    found = (
        compared(c, want, folder)
        if files.need_rsync(c) and want.jupyter_user in facts(c).accounts
        else None
    )
    refuse_to_replace(c, found or {}, force)
    python.install(c)
    tell_of_version(c, want, kept)
    packages = (folder / lock.name(want)).read_text()
    lock.install(c, want, packages)
    restart = configure(c, want, folder, kept, yes)
    for name in found if found is not None else present(c, want, folder):
        send(c, want, folder, name, found)
    if restart:
        server.stop(c)
    server.start(c)
    if not host.planning:
        prove(c, want, folder, packages)


def present(c: Connection, want: Settings, folder: Path) -> list[str]:
    """The parts that the backup has."""
    return [name for name in places(c, want) if (folder / name).is_dir()]


def compared(c: Connection, want: Settings, folder: Path) -> dict[str, Survey]:
    """What each part of the backup would change, by checksums."""
    targets = places(c, want)
    return {
        name: files.survey(
            c,
            f"{folder}/{name}/",
            f"{targets[name]}/",
            options=OPTIONS.get(name, ()),
            checksums=True,
        )
        for name in present(c, want, folder)
    }


def refuse_another_python(c: Connection, want: Settings, kept: archive.Manifest) -> None:
    """Stop where the packages of the backup cannot be installed the way they were."""
    if (kept["python"] == "venv") != (want.python == "venv"):
        raise SetupError(
            f"{Host.of(c).label}: the backup has python: {kept['python']}, and this host gets python: {want.python}: "
            f"type LABFAB_PYTHON={kept['python']} in front of the command"
        )


def refuse_to_replace(c: Connection, found: dict[str, Survey], force: bool) -> None:
    """Stop where files of the host differ from those of the backup."""
    differ = [name for survey in found.values() for name in survey.replaced]
    if differ and not force:
        names = f"{', '.join(differ[:3])}{', …' * (len(differ) > 3)}"
        raise SetupError(
            f"{Host.of(c).label}: {len(differ)} files there differ from those of the backup ({names}), nothing was changed: "
            "--force replaces them and keeps the old ones beside"
        )


def tell_of_version(c: Connection, want: Settings, kept: archive.Manifest) -> None:
    """Say so where Python itself is another one: some versions of packages may not exist for it."""
    now = "" if Host.of(c).planning else lock.version(c, want)
    if now and now.split(".")[:2] != str(kept["python_version"]).split(".")[:2]:
        console.warn(
            f"the backup has Python {kept['python_version']}, this host {now}: should packages not fit, say so with python_version"
        )


def configure(
    c: Connection, want: Settings, folder: Path, kept: archive.Manifest, yes: bool
) -> bool:
    """Restore Jupyter's configuration with hash and token; whether a JupyterLab that runs must be restarted for it."""
    refuse_link(c, want.jupyter_user, facts(c).jupyter.link)
    saved = movable(json.loads((folder / "jupyter" / CONFIG).read_text()))
    have = jupyter.parsed(c, facts(c).jupyter.config)
    config = jupyter.merged(jupyter.merged(have, saved), jupyter.wanted(c, want))
    publishing.refuse_unready(c, want)
    publishing.fit(c, want, config)
    publishing.refuse_weak(c, want, config, alias_of(c, want), kept["alias"], how=PRIVATE_FIRST)
    running = bool(facts(c).lab.api) and config != have
    if running:
        kernels.consent(c, yes, "restart")
    jupyter.write(c, want, config, why="restore Jupyter's configuration, password and token")
    keep_password(
        c, want, kept["alias"], config.get("IdentityProvider", {}).get("hashed_password", "")
    )
    return running


def movable(config: jupyter.Config) -> jupyter.Config:
    """What of a configuration holds on any host."""
    parts = {
        part: {key: value for key, value in has.items() if key not in OF_ITS_HOST.get(part, ())}
        for part, has in config.items()
    }
    return {part: has for part, has in parts.items() if has}


def keep_password(c: Connection, want: Settings, old_alias: str, hashed: str) -> None:
    """Have the password of the backup under this alias too, and no other one."""
    mine = alias_of(c, want)
    if Host.of(c).planning or not hashed:
        return
    for alias in (mine, old_alias):
        value = secrets.load(alias, "jupyter-password")
        if value and passwords.verify(hashed, value.reveal()):
            secrets.store(mine, "jupyter-password", value, replace=True)
            return
    secrets.place(mine, "jupyter-password").unlink(missing_ok=True)
    console.note("the password is that of the backup; it is not kept on this laptop")


def send(
    c: Connection, want: Settings, folder: Path, name: str, found: dict[str, Survey] | None
) -> None:
    """Push one part where anything of it is missing or differs."""
    if found is None or found[name]:
        place = places(c, want)[name]
        why = f"restore {files.told(found and found[name])} to {place}"
        files.send(
            c,
            f"{folder}/{name}/",
            place,
            why,
            options=(*map(time.strftime, BESIDE), *OPTIONS.get(name, ())),
        )


def prove(c: Connection, want: Settings, folder: Path, packages: str) -> None:
    """Compare all of it by checksums, and the packages. Raises SetupError when something is not as in the backup."""
    label = Host.of(c).label
    wrong = [
        name
        for survey in compared(c, want, folder).values()
        for name in (*survey.new, *survey.replaced)
    ]
    wrong += lock.missing(c, want, packages)
    if wrong:
        raise SetupError(
            f"{label}: {len(wrong)} files or packages are not as in the backup ({', '.join(wrong[:3])}): run this again"
        )
    console.say(
        f"[{label}] files, {len(lock.pins(packages))} packages and the password are as in {folder.parent.name}/{folder.name}"
    )
