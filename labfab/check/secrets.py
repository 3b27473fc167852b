"""Modes: every secret, there and here, is closed to others."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence

from .probe import Look, Private
from .rows import PUBLISHED, Unseen, Wrong, check

READ, WRITE = 0o077, 0o022  # what others must not be able to do


@check("secrets-keys", "nobody else can add a key", mend="keys.copy", needs=["ssh-login"])
def keys(look: Look) -> str:
    """Look at .ssh and authorized_keys of every account with a login shell."""
    ours = look.want.user
    found = closed(look, f"keys:{ours}", ours, READ, by_task=True)
    for user in look.logins:
        found += closed(look, f"keys:{user}", user, WRITE) if user != ours else []
    return counted(look, found)


@check(
    "secrets-jupyter",
    "JupyterLab's secrets are its owner's alone",
    mend="jupyter.configure",
    needs=["ssh-login"],
)
def jupyter(look: Look) -> str:
    owner = look.want.jupyter_user
    found = [
        *closed(look, "jupyter", owner, READ, by_task=True),
        *closed(look, "jupyter-files", owner, READ),
    ]
    return counted(look, found)


@check(
    "secrets-tls",
    "the certificate's key is its owner's alone",
    mend="https.issue",
    needs=["ssh-login"],
    publish=PUBLISHED,
)
def tls(look: Look) -> str:
    """Look at the key that is served, and at those that certbot keeps, the old ones as well."""
    owner = look.want.jupyter_user if look.want.publish == "https" else "root"
    found = closed(look, "tls", owner, READ, by_task=True) + closed(
        look, "tls-folder", owner, WRITE
    )
    return counted(look, found + closed(look, "tls-certbot", "root", READ))


@check("secrets-sudo", "only root can change who may use sudo", needs=["ssh-login"])
def sudoers(look: Look) -> str:
    return counted(look, closed(look, "sudo", "root", WRITE))


@check("secrets-journal", "labfab's journal is root's alone", needs=["ssh-login"])
def journal(look: Look) -> str:
    return counted(look, closed(look, "journal", "root", READ))


@check("secrets-host-keys", "the host's private keys are root's alone", needs=["ssh-login"])
def host_keys(look: Look) -> str:
    return counted(look, closed(look, "hostkeys", "root", READ))


@check("secrets-laptop", "the secrets on your laptop are yours alone")
def laptop(look: Look) -> str:
    """Look at the stored passwords, your private key and the folders they are in, as they were before this run."""
    me = str(os.getuid())
    bad = [
        one
        for one in look.laptop
        if one.owner != me or one.mode & (WRITE if one.path.endswith("/.ssh") else READ)
    ]
    if bad:
        raise Wrong(told(bad), f"chmod go-rwx {shlex.quote(bad[0].path)}")
    return f"{len(look.laptop)} looked at"


def closed(
    look: Look, kind: str, owner: str, forbidden: int, by_task: bool = False
) -> list[Private]:
    """Give the paths of a kind. Raises Wrong for those that are open to others; by_task: the row's task mends them."""
    found = list(look.private(kind))
    bad = [one for one in found if one.owner not in (owner, "root") or one.mode & forbidden]
    if not bad:
        return found
    path = shlex.quote(bad[0].path)
    command = (
        f"chmod {'go-w' if forbidden == WRITE else 'go-rwx'} {path}"
        if bad[0].owner == owner
        else f"chown {owner} {path}"
    )
    raise Wrong(told(bad), None if by_task else look.by_hand(command))


def told(bad: Sequence[Private]) -> str:
    return "; ".join(f"{one.path} is {one.mode:o} {one.owner}" for one in bad)


def counted(look: Look, found: Sequence[Private]) -> str:
    """Say how many are right. Raises Unseen where there is none."""
    if not found:
        raise Unseen("none is there, or none can be seen without root")
    return f"{len(found)} looked at{look.limits}"
