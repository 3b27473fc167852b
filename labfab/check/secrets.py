"""Secrets: nobody else can read or replace a secret, on the host or on the laptop."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence

from .findings import NotChecked, Wrong
from .probe import Private, Probe
from .rows import PUBLISHED, check

READ, WRITE, PASS = 0o077, 0o022, 0o011  # what others must not be able to do


@check("secrets-keys", "nobody else can add a key", mend="keys.copy", needs=["ssh-login"])
def keys(probe: Probe) -> str:
    """Look at .ssh and authorized_keys of every account with a login shell."""
    ours = probe.want.user
    found = closed(probe, f"keys:{ours}", ours, READ, by_task=True)
    for user in probe.logins:
        if user != ours:
            found += closed(probe, f"keys:{user}", user, WRITE)
    return checked(probe, found)


@check(
    "secrets-jupyter",
    "JupyterLab's secrets are its owner's alone",
    mend="jupyter.configure",
    needs=["ssh-login"],
)
def jupyter(probe: Probe) -> str:
    """Look at ~/.jupyter and at the files that JupyterLab itself writes there."""
    owner = probe.want.jupyter_user
    found = closed(probe, "jupyter", owner, READ, by_task=True)
    return checked(probe, found + closed(probe, "jupyter-files", owner, READ))


@check(
    "secrets-notebooks",
    "nobody else can look into the notebooks and their home",
    mend="user.add jupyter.configure",
    needs=["ssh-login"],
)
def notebooks(probe: Probe) -> str:
    """Look at the home of JupyterLab's account and at the folder of the notebooks."""
    owner = probe.want.jupyter_user
    account = probe.facts.accounts.get(owner)
    home = account.home if account else ""
    # A web server may pass through the home, to files that it can name.
    found = closed(probe, "home", owner, READ - PASS, by_task=True)
    own = probe.want.notebooks(home).startswith(f"{home}/")
    return checked(probe, found + closed(probe, "notebooks", owner, READ, by_task=own))


@check(
    "secrets-tls",
    "the certificate's key is its owner's alone",
    mend="https.issue",
    needs=["ssh-login"],
    publish=PUBLISHED,
)
def tls(probe: Probe) -> str:
    """Look at the key that is in use, and at all that certbot keeps, including old ones."""
    owner = probe.want.jupyter_user if probe.want.publish == "https" else "root"
    found = closed(probe, "tls", owner, READ, by_task=True)
    found += closed(probe, "tls-folder", owner, WRITE)
    return checked(probe, found + closed(probe, "tls-certbot", "root", READ))


@check("secrets-sudo", "only root can change who may use sudo", needs=["ssh-login"])
def sudoers(probe: Probe) -> str:
    """Look at sudo's files."""
    return checked(probe, closed(probe, "sudo", "root", WRITE))


@check("secrets-journal", "labfab's journal is root's alone", needs=["ssh-login"])
def journal(probe: Probe) -> str:
    """Look at /var/lib/labfab."""
    return checked(probe, closed(probe, "journal", "root", READ))


@check("secrets-host-keys", "the host's private keys are root's alone", needs=["ssh-login"])
def host_keys(probe: Probe) -> str:
    """Look at the private keys of sshd."""
    return checked(probe, closed(probe, "hostkeys", "root", READ))


@check("secrets-laptop", "the secrets on your laptop are yours alone")
def laptop(probe: Probe) -> str:
    """Look at the stored passwords, your private key and their folders, as this run found them."""
    me = str(os.getuid())
    bad = [one for one in probe.laptop if one.owner != me or one.mode & forbidden_here(one)]
    if bad:
        raise Wrong(listed(bad), f"chmod go-rwx {shlex.quote(bad[0].path)}")
    return f"{len(probe.laptop)} looked at"


def forbidden_here(one: Private) -> int:
    """Return the mode bits that a path of the laptop must not have."""
    return WRITE if one.path.endswith("/.ssh") else READ


def closed(
    probe: Probe, kind: str, owner: str, forbidden: int, by_task: bool = False
) -> list[Private]:
    """Return the paths of a kind. Raises Wrong for those that are open to others.

    owner: who must own them, unless root does. forbidden: mode bits. by_task: whether the row's
    task fixes them; else a command does, with no more rights than the owner's: a link of that
    account could lead root elsewhere. For what is not its own there is none.
    """
    found = list(probe.private(kind))
    bad = [one for one in found if one.owner not in (owner, "root") or one.mode & forbidden]
    if not bad:
        return found
    if by_task:
        raise Wrong(listed(bad))
    bits = "go-w" if forbidden == WRITE else "go-rwx"
    if bad[0].owner != owner:
        raise Wrong(f"{listed(bad)}: find out why, and let {owner} replace it", "")
    raise Wrong(listed(bad), probe.by_hand(f"chmod {bits}", bad[0].path, account=owner))


def listed(paths: Sequence[Private]) -> str:
    """Return paths with their modes and owners, as text."""
    return "; ".join(f"{one.path} is {one.mode:o} {one.owner}" for one in paths)


def checked(probe: Probe, found: Sequence[Private]) -> str:
    """Return how many were looked at. Raises NotChecked if there are none."""
    if not found:
        raise NotChecked("there are none, or they cannot be seen without root")
    return f"{len(found)} looked at{probe.limits}"
