"""Limit: how often a published JupyterLab's login page can be tried, and what strangers send.

Owns: etc/jupyter/jupyter_server_config.py in the Python environment.  Undo: jupyter.configure with
publish: tunnel

on_host/limited_login.py is that file. It is in the environment, not in ~/.jupyter, because it must
go with it, and JupyterLab starts without it too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fabric import Connection

from ... import console
from ...facts import facts
from ...facts.reader import PREFIXES, planned_file
from ...host.changes import change, put
from ...on_host import loader
from ...settings import Settings

if TYPE_CHECKING:
    from ...facts.records import Account
    from ...host.remote_file import File

PLACE = "etc/jupyter/jupyter_server_config.py"
PROGRAM = "limited_login.py"
MARK = "Written by labfab (jupyter.configure)"


def ensure(c: Connection, want: Settings, account: Account) -> None:
    """Write the limit if JupyterLab is published, and remove it if not. A foreign file stays."""
    have = facts(c)
    old, path = have.jupyter.login, f"{account.home}/{PREFIXES[want.python]}/{PLACE}"
    if old and MARK not in old.content:
        if want.published:
            console.warn(
                f"{path} is not labfab's: it stays, and nothing limits how often the login page "
                "can be tried"
            )
    elif want.published and have.python.lab:
        write(c, path, old, account)
    elif old and not want.published:
        remove(c, path, account)


def write(c: Connection, path: str, old: File | None, account: Account) -> None:
    """Write the file if it differs."""
    text = (loader.FOLDER / PROGRAM).read_text()
    put(
        c,
        path,
        text,
        why="limit how often JupyterLab's login page can be tried",
        old=old,
        mode="600",
        owner=account.name,
        then=planned_file("jupyter.login", text, "600", account.name),
    )


def remove(c: Connection, path: str, account: Account) -> None:
    """Delete the file: only SSH leads to the login page now."""
    change(
        c,
        "rm -f %s",
        path,
        user=account.name,
        why="remove the limit of JupyterLab's login page",
        undo=("restore %s", path),
        keep=[path],
        then={"jupyter.login.stat": None, "jupyter.login.text": None},
    )
