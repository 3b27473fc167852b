"""Shortcuts: callhome, connectlab, closelab and launchlab on your laptop, launchlab on the host.

Owns: those names in ~/.local/bin on both sides.  Undo: shortcuts.remove
What they do is in labfab/laptop/shortcuts.py and launch.py; they work without labfab.
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
from ...local_state.aliases import block_of
from ...run.task import host_task, laptop_task
from ...settings import Settings
from .. import tunnel
from ..lab import launcher


@host_task(default=True)
def install(c: Connection) -> None:
    """Write callhome, connectlab, closelab, launchlab."""
    host, want = Host.of(c), Settings.of(c)
    if not block_of(c):
        raise SetupError(
            f"{host.label}: the shortcuts call it by its alias, which it does not have yet: setup.full makes it"
        )
    target = tunnel.target_of(c)
    home = facts(c).accounts[want.jupyter_user].home
    remote, tty = want.lab_socket or want.lab_port, c.user != want.jupyter_user
    wanted = shortcuts.texts(
        target, want.lab_url(want.local_port), want.local_port, remote, home, tty
    )
    missing = shortcuts.differing(wanted, target.alias)
    if not launcher.install(c, c.user, launcher.NAME) and not host.planning:
        launcher.let_shells_find(c, c.user, launcher.NAME)
    for path in missing:
        host.record(f"write {path}", str(path))
        if host.planning:
            console.planned(host.label, f"write {path}", wanted[path])
        else:
            shortcuts.write(path, wanted[path])
            console.changed(host.label, f"write {path}", 0)
    for obstacle in [] if host.planning else shortcuts.obstacles(wanted):
        console.warn(obstacle)


@laptop_task
def remove(c: Context) -> None:
    """Remove the shortcuts, here and on the host."""
    alias = tunnel.target_of(c).alias
    if c.config.run.dry:
        return console.planned(alias, "remove the shortcuts")
    gone = shortcuts.remove(alias)
    for path in gone:
        console.changed(alias, f"remove {path}", 0)
    if not gone:
        console.say(f"[{alias}] there are no shortcuts here")
    if isinstance(c, Connection):
        take_away(c)


@host_task
def take_away(c: Connection) -> None:
    """Remove the command from the account that logs in."""
    if launcher.there(c, c.user, launcher.NAME):
        change(
            c,
            "rm -f ~/.local/bin/%s",
            launcher.NAME,
            user=c.user,
            why=f"remove ~/.local/bin/{launcher.NAME}",
        )
