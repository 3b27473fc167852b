"""Consent: says what an undo would end, and asks before anything is changed."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from fabric import Connection

from .. import console
from ..errors import SetupError
from ..facts import facts
from ..host.journal import Entry
from ..host.session import Host
from ..server import busy_kernels
from ..settings import Settings
from ..text import counted

BACKUPS = "/var/backups/labfab"
# What a stage brought, in words. Others are named as they are.
WORDS = {
    "lab": "JupyterLab",
    "jupyter": "Jupyter's settings",
    "python": "Python",
    "https": "the certificate",
    "proxy": "Apache's site",
    "firewall": "the firewall's rules",
    "system": "packages",
    "ssh": "sshd's settings",
    "keys": "your keys",
    "user": "accounts and sudo",
    "power": "the power settings",
    "files": "file transfers",
}


def require(
    c: Connection, wanted: Sequence[Entry], made: Sequence[str], without_question: str
) -> None:
    """Ask whether to undo these changes. Raises SetupError if not, or if nobody can answer.

    made: the accounts that go. without_question: the command line that does not ask.
    """
    want, label = Settings.of(c), Host.of(c).label
    what = "; ".join(
        [
            f"undo {counted(len(wanted), 'change')} on {label}: {', '.join(parts(wanted))}",
            *busy(c, want, wanted),
            *notebooks(c, want, made),
        ]
    )
    if not sys.stdin.isatty():
        text = f"setup.undo needs --yes, because it would {what}; type: {without_question}"
        raise SetupError(text, host=label)
    if not console.agreed(f"{what}; go on?"):
        raise SetupError("nothing was changed", host=label)


def parts(wanted: Sequence[Entry]) -> list[str]:
    """Return what goes, in words, newest first."""
    stages = dict.fromkeys(entry.stage for entry in reversed(wanted))
    return [WORDS.get(stage, stage) for stage in stages]


def busy(c: Connection, want: Settings, wanted: Sequence[Entry]) -> list[str]:
    """Return what computes right now and would be ended."""
    if not any(entry.stage == "lab" for entry in wanted):
        return []
    try:
        return busy_kernels.reasons(c, want)
    except SetupError as error:
        return [f"what JupyterLab is running is not known ({error.text})"]


def notebooks(c: Connection, want: Settings, made: Sequence[str]) -> Iterator[str]:
    """Yield what becomes of the notebooks."""
    account = facts(c).accounts.get(want.jupyter_user)
    if account and account.name in made:
        yield f"your notebooks are moved to {BACKUPS} there, with the home of {account.name}"
    elif account:
        yield f"your notebooks stay in {want.notebooks(account.home)}"
