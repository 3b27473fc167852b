"""Shortcuts: callhome, connectlab, closelab and launchlab on your laptop, launchlab on the host.

Owns: those names in ~/.local/bin on both sides.  Undo: shortcuts.remove
What they do is in labfab/laptop/shortcuts.py and labfab/server/launchlab.py; they work without
labfab.
"""

from __future__ import annotations

from fabric import Connection
from invoke import Context

from ... import console
from ...errors import SetupError
from ...facts import facts
from ...host.changes import change
from ...host.session import Host
from ...laptop import shortcuts
from ...local_state.aliases import everyday_user, find_alias
from ...run.task import host_task, laptop_task
from ...server import launchlab
from ...settings import Settings
from .. import tunnel


@host_task(default=True)
def install(c: Connection) -> None:
    """Write callhome, connectlab, closelab, launchlab."""
    host, want = Host.of(c), Settings.of(c)
    if not find_alias(c):
        raise SetupError(
            "the shortcuts need an alias, and this host has none yet: setup.full",
            host=host.label,
        )
    target, login = tunnel.target_of(c), everyday_user(c)
    wanted = shortcuts.texts(
        target,
        want.lab_url(want.local_port),
        want.local_port,
        tunnel.remote_place(want),
        facts(c).accounts[want.jupyter_user].home,
        tty=login != want.jupyter_user,
    )
    missing = shortcuts.differing(wanted, target.alias)
    if not launchlab.install(c, want, login, launchlab.NAME) and not host.planning:
        launchlab.put_on_path(c, login, launchlab.NAME)
    for path in missing:
        host.record(f"write {path}", str(path))
        if host.planning:
            console.planned(host.label, f"write {path}", wanted[path])
        else:
            shortcuts.write(path, wanted[path])
            console.changed(host.label, f"write {path}", 0)
    if not host.planning:
        for obstacle in shortcuts.obstacles(wanted):
            console.warn(obstacle)


@laptop_task
def remove(c: Context) -> None:
    """Remove the shortcuts, here and on the host."""
    alias = tunnel.target_of(c).alias
    if c.config.run.dry:
        console.planned(alias, "remove the shortcuts")
        return
    gone = shortcuts.remove(alias)
    for path in gone:
        console.changed(alias, f"remove {path}", 0)
    if not gone:
        console.say(f"[{alias}] there are no shortcuts here")
    if isinstance(c, Connection):
        remove_from_host(c)


@host_task
def remove_from_host(c: Connection) -> None:
    """Remove launchlab from the account that the alias leads to."""
    login = everyday_user(c)
    if launchlab.installed(c, login, launchlab.NAME):
        change(
            c,
            "rm -f ~/.local/bin/%s",
            launchlab.NAME,
            user=login,
            why=f"remove ~/.local/bin/{launchlab.NAME}",
        )
