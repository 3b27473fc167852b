"""Trust: whether the browsers of your own machine trust the lab's own certificate.

Owns: the certificate `labfab ALIAS` in the browsers' stores.  Undo: https.untrust
These tasks take -H as a name: the host may be down.
"""

from __future__ import annotations

from invoke import Context

from ... import console
from ...certificates import trust as trusted
from ...run.task import laptop_task
from ...settings import Settings
from .. import tunnel


@laptop_task(name="trust")
def trust(c: Context) -> None:
    """Let your browsers trust the lab's own certificate."""
    alias = tunnel.target_of(c).alias
    if Settings.of(c).certificate == "letsencrypt":
        console.say(f"[{alias}] nothing to do: browsers trust Let's Encrypt already")
        return
    ca, names = trusted.authority(alias)
    console.say(
        f"[{alias}] {ca} vouches for {', '.join(sorted(names))} and can vouch for nothing else"
    )
    if c.config.run.dry:
        for store in trusted.lacking(alias, ca):
            console.planned(alias, f"let {store.where} trust it")
    else:
        told = [
            console.changed(alias, f"let {where} trust it", 0) for where in trusted.add(alias, ca)
        ]
        console.note(
            "browsers that are open learn of it when they start again"
            if told
            else "your browsers trust it already"
        )
    for whom, command in trusted.by_hand(alias, ca):
        console.note(f"for {whom}: {command}")


@laptop_task(name="untrust")
def untrust(c: Context) -> None:
    """Let your browsers trust the lab's certificate no more."""
    alias = tunnel.target_of(c).alias
    if c.config.run.dry:
        for store in trusted.holding(alias):
            console.planned(alias, f"let {store.where} trust this lab no more")
    else:
        told = [
            console.changed(alias, f"let {where} trust this lab no more", 0)
            for where in trusted.remove(alias)
        ]
        console.note(
            "browsers that are open learn of it when they start again"
            if told
            else "no browser of yours trusts this lab"
        )
    for command in trusted.by_hand_undone(alias):
        console.note(f"what you did by hand is left: {command}")
