"""Account files: files in an account's home are created and repaired as that account.

An account without sudo may put links there. If root followed one, the account would get access to
the link's target.
"""

from __future__ import annotations

from collections.abc import Mapping

from fabric import Connection

from ..errors import SetupError
from ..on_host import loader
from .changes import ask, change
from .session import Host


def refuse_link(c: Connection, account: str, target: str) -> None:
    """Raise SetupError if a link in a home leads to something that the account does not own.

    target: where the link leads; empty if there is no such link.
    """
    if target:
        raise SetupError(
            f"a link in the home of {account} leads to {target}, which is not {account}'s: "
            "nothing there was read or changed; "
            f"remove the link there, as {account}, then run this again",
            host=Host.of(c).label,
        )


def own_tmux_folder(c: Connection, account: str) -> None:
    """Give an account's tmux its folder in /tmp, if another account of the host made it first."""
    if Host.of(c).planning:
        return  # nobody plans for it, and the question costs a round trip
    found = ask(c, "foreign_tmux %s", account)
    if found.ok:
        place, _, owner = found.out.strip().partition(" ")
        why = f"move {place} away, which {owner} made in the way of {account}'s tmux"
        change(c, "own_tmux %s", account, why=why)


def chown_in_home(
    c: Connection,
    account: str,
    home: str,
    path: str,
    why: str,
    undo: str,
    then: Mapping[str, str | None],
) -> None:
    """Give the account ownership of a path in its home that belongs to somebody else.

    path: directly below its home, its ~/.ssh or its ~/.jupyter.
    """
    folder, _, name = path.rpartition("/")
    change(
        c,
        loader.as_command("chown_in_home", 4),
        home,
        folder,
        name,
        account,
        why=why,
        undo=(undo, path),
        keep=[path],
        then=then,
    )


def is_open(mode: str) -> bool:
    """Return whether other accounts may do anything with a path.

    mode: octal; empty: not known.
    """
    return bool(int(mode or "0", 8) & 0o077)


def close_folder(c: Connection, account: str, path: str, mode: str, key: str, value: str) -> None:
    """Close a folder of an account to all others. mode: octal. key, value: the fact, afterwards."""
    change(
        c,
        "chmod %s %s",
        mode,
        path,
        user=account,
        why=f"close {path} to other accounts",
        undo=("mode %s", path),
        keep=[path],
        then={key: value},
    )


def private_folder(c: Connection, account: str, home: str, name: str, stat: str, key: str) -> None:
    """Make a folder in a home that only its account can read.

    stat: the folder's mode and owner now; empty if it is missing. key: the fact that holds stat.
    """
    path, right, why = f"{home}/{name}", f"700 {account}", f"make {home}/{name} private"
    mode, _, owner = stat.partition(" ")
    if owner not in ("", account):
        chown_in_home(c, account, home, path, why, "folder %s", {key: f"{mode} {account}"})
    if mode != "700":
        change(
            c,
            "mkdir -p %s && chmod 700 %s",
            path,
            path,
            user=account,
            why=why,
            undo=("folder %s", path),
            keep=[path],
            then={key: right},
        )
