"""Modes: every secret, there and here, is closed to others."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence

from .look import Look, Private
from .rows import Unseen, Wrong, check


@check("secrets-keys", "nobody else can add a key", mend="keys.copy", needs=["ssh-login"])
def keys(look: Look) -> str:
    """Look at .ssh and authorized_keys of every account with a login shell."""
    found = list(look.private("keys"))
    bad = [one for one in found if is_open(one, one.kind.partition(":")[2], 0o077 if one.kind == f"keys:{look.want.user}" else 0o022)]
    others = [one for one in bad if one.kind != f"keys:{look.want.user}"]
    return closed(look, found, bad, command(others[0], others[0].kind.partition(":")[2], "go-w") if others else None)


@check("secrets-jupyter", "JupyterLab's secrets are its owner's alone", mend="jupyter.configure", needs=["ssh-login"])
def jupyter(look: Look) -> str:
    found, owner = list(look.private("jupyter")), look.want.jupyter_user
    bad = [one for one in found if is_open(one, owner, 0o077)]
    ours = [one for one in bad if not one.path.endswith((".jupyter", "jupyter_server_config.json"))]
    return closed(look, found, bad, command(ours[0], owner, "go-rwx") if ours else None)


@check("secrets-sudo", "only root can change who may use sudo", needs=["ssh-login"])
def sudoers(look: Look) -> str:
    found = list(look.private("sudo"))
    bad = [one for one in found if is_open(one, "root", 0o022)]
    return closed(look, found, bad, command(bad[0], "root", "go-w") if bad else None)


@check("secrets-journal", "labfab's journal is root's alone", needs=["ssh-login"])
def journal(look: Look) -> str:
    found = list(look.private("journal"))
    bad = [one for one in found if is_open(one, "root", 0o077)]
    return closed(look, found, bad, command(bad[0], "root", "go-rwx") if bad else None)


@check("secrets-host-keys", "the host's private keys are root's alone", needs=["ssh-login"])
def host_keys(look: Look) -> str:
    found = list(look.private("hostkeys"))
    bad = [one for one in found if is_open(one, "root", 0o077)]
    return closed(look, found, bad, command(bad[0], "root", "go-rwx") if bad else None)


@check("secrets-laptop", "the secrets on your laptop are yours alone")
def laptop(look: Look) -> str:
    """Look at the stored passwords, your private key and the folders they are in, as they were before this run."""
    me = str(os.getuid())
    bad = [one for one in look.laptop if is_open(one, me, 0o022 if one.path.endswith("/.ssh") else 0o077)]
    return closed(None, look.laptop, bad, f"chmod go-rwx {shlex.quote(bad[0].path)}" if bad else None)


def is_open(one: Private, owner: str, forbidden: int) -> bool:
    return bool(one.mode & forbidden) or one.owner != owner


def command(one: Private, owner: str, mode: str) -> str:
    """The command that mends what no task does."""
    return f"ssh HOST sudo sh -c {shlex.quote(f'chown {owner} {shlex.quote(one.path)}; chmod {mode} {shlex.quote(one.path)}')}"


def closed(look: Look | None, found: Sequence[Private], bad: Sequence[Private], mend: str | None) -> str:
    """Say how many are right. Raises Wrong with those that are not, Unseen where there is none."""
    if bad:
        raise Wrong("; ".join(f"{one.path} is {one.mode:o} {one.owner}" for one in bad), mend)
    if not found:
        raise Unseen("none is there, or none can be seen without root")
    return f"{len(found)} looked at{look.limits if look else ''}"
