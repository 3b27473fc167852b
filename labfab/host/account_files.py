"""Home: what lies below an account's home is made and mended by that account.

An account without sudo may put links there. Root, following one, would give it whatever it leads to.
"""

from __future__ import annotations

from collections.abc import Mapping

from fabric import Connection

from ..errors import SetupError
from .changes import change
from .session import Host

# In the folder itself, so that it cannot be exchanged for a link meanwhile; -h never follows a link.
OWN = """\
home=$(cd %s && pwd -P) && cd -P %s || exit
case $PWD in "$home" | "$home"/.ssh | "$home"/.jupyter) ;; *) echo "$PWD is not in $home: a link leads there" >&2; exit 1 ;; esac
if [ -L %s ]; then echo "it is a link" >&2; exit 1; fi
chown -h %s: %s
"""


def refuse_link(c: Connection, account: str, target: str) -> None:
    """Stop where a link in a home leads to what is not the account's. target: where it leads; empty: there is none."""
    if target:
        raise SetupError(
            f"{Host.of(c).label}: a link in the home of {account} leads to {target}, which is not {account}'s: "
            "nothing there was read or changed; remove the link on the host, then run this again"
        )


def own(
    c: Connection,
    account: str,
    home: str,
    path: str,
    why: str,
    undo: str,
    then: Mapping[str, str | None],
) -> None:
    """Give the account a path right below its home, its ~/.ssh or its ~/.jupyter that belongs to somebody else."""
    folder, _, name = path.rpartition("/")
    change(
        c,
        OWN,
        home,
        folder,
        name,
        account,
        name,
        why=why,
        undo=(undo, path),
        keep=[path],
        then=then,
    )


def private_folder(c: Connection, account: str, home: str, name: str, stat: str, key: str) -> None:
    """Make a folder below the home that is the account's alone. stat: its mode and owner, key: the fact of these."""
    path, right = f"{home}/{name}", f"700 {account}"
    mode, _, owner = stat.partition(" ")
    if owner not in ("", account):
        own(c, account, home, path, f"make {path} private", "folder %s", {key: f"{mode} {account}"})
    if mode != "700":
        change(
            c,
            "mkdir -p %s && chmod 700 %s",
            path,
            path,
            user=account,
            why=f"make {path} private",
            undo=("folder %s", path),
            keep=[path],
            then={key: right},
        )
