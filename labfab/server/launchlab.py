"""Launchlab: a command on the host that starts JupyterLab and works without labfab.

Owns: ~/.local/bin/launchlab, or the command that the setting start_command names.
Undo: shortcuts.remove
"""

from __future__ import annotations

import base64
import shlex

from fabric import Connection

from .. import console
from ..errors import SetupError
from ..facts import facts
from ..facts.reader import PREFIXES
from ..host.changes import ask, change, fill, put
from ..host.remote_file import File
from ..host.session import Host
from ..on_host import loader
from ..platforms import platform
from ..settings import Settings

NAME = "launchlab"
MARK = "# labfab: starts JupyterLab"
HEAD = f"""\
#!/bin/sh
{MARK} in the tmux session `jupyter`, unless it runs. Do not edit: labfab overwrites it.
"""
# START_BY_HAND ends inside an `if`.
BY_SERVICE = "start_by_service() {\n%selse\n    return 1\nfi\nreturn 0\n}\n"
IN_TMUX = "start_in_tmux() {\n%s}\n"
# Runs in the account's shell, which does not know the words of words.*.sh.
READ_PRESENT = """\
name=%s
cd ~/.local/bin 2>/dev/null || exit 1
[ -e "$name" ] || [ -L "$name" ] || exit 1
{ stat -L -c '%%a %%U' "./$name" || stat -L -f '%%Lp %%Su' "./$name"; } 2>/dev/null
base64 <"./$name" | tr -d '\\n'
"""
CHECK_ON_PATH = "log_in %s %s 2>/dev/null | grep -qx %s"
PROFILE = '\n# labfab: commands of your own\nPATH="$HOME/.local/bin:$PATH"\n'


def text(c: Connection, want: Settings) -> str:
    """Make the command. It starts JupyterLab as lab.start does, with the present settings."""
    system = platform(c)
    main = fill(
        loader.as_command("launchlab", 6, uses="port_owner"),
        want.jupyter_user,
        want.lab_url(want.lab_port),
        want.lab_socket,
        PREFIXES[want.python],
        system.LAB_PATH,
        f"{want.public_url(c.host)}lab" if want.published else "",
    )
    in_tmux = IN_TMUX % loader.shared("start_in_tmux")
    by_service = BY_SERVICE % system.service.START_BY_HAND
    relay = f"RELAY={shlex.quote(loader.perl('relay'))}\n"
    return f"{HEAD}{in_tmux}{by_service}{relay}{main}"


def installed(c: Connection, account: str, name: str) -> File | None:
    """Read the command that an account has. Raises SetupError if it is not labfab's."""
    answer = ask(c, READ_PRESENT, name, user=account)
    if not answer.ok:
        return None
    stat, _, blob = answer.out.partition("\n")
    mode, _, owner = stat.partition(" ")
    content = base64.b64decode(blob).decode(errors="surrogateescape")
    if f"\n{MARK}" not in content:
        raise SetupError(
            f"~{account}/.local/bin/{name} exists and is not labfab's: move it away, "
            "then repeat the command",
            host=Host.of(c).label,
        )
    return File(mode, owner, content)


def install(c: Connection, want: Settings, account: str, name: str) -> bool:
    """Write the command to an account's ~/.local/bin, on the PATH of its login shells.

    Returns False if it was there already.
    """
    path = f"{facts(c).accounts[account].home}/.local/bin/{name}"
    old = installed(c, account, name)
    written = put(c, path, text(c, want), why=f"write {path}", old=old, mode="755", owner=account)
    if written:
        put_on_path(c, account, name)
    return bool(written)


def put_on_path(c: Connection, account: str, name: str) -> None:
    """Add ~/.local/bin to the PATH of an account's login shells, unless they find the command."""
    owner = facts(c).accounts[account]
    if found(c, account, name, owner.home):
        return
    change(
        c,
        "printf %%s %s >>%s",
        PROFILE,
        owner.profile,
        user=account,
        why="let login shells look into ~/.local/bin",
        undo=("lines %s %s %s", owner.profile, *PROFILE.split("\n")[1:3]),
        keep=[owner.profile],
    )
    if not found(c, account, name, owner.home):
        console.warn(
            f"login shells of {account} do not look in ~/.local/bin: "
            f"put it on their PATH, or type .local/bin/{name}"
        )


def found(c: Connection, account: str, name: str, home: str) -> bool:
    """Return whether a login shell finds the command by its name."""
    return ask(c, CHECK_ON_PATH, account, f"command -v {name}", f"{home}/.local/bin/{name}").ok
