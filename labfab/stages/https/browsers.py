"""Browsers: let those on your machine trust the lab's own CA, or stop trusting it.

Owns: the certificate `labfab ALIAS` in the browsers' browser_trust.  Undo: https.untrust
These tasks use -H only as a name: the host may be down.
"""

from __future__ import annotations

from collections.abc import Iterable

from invoke.context import Context

from ... import console
from ...certificates import trust as browser_trust
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
    if not Settings.of(c).published:
        console.say(
            f"[{alias}] nothing to do: your browser uses the tunnel, which needs no certificate"
        )
        return
    ca, names = browser_trust.load_ca(alias)
    listed = ", ".join(sorted(names))
    console.say(f"[{alias}] {ca} vouches for {listed} and can vouch for nothing else")
    if c.config.run.dry:
        for store in browser_trust.stores_lacking(alias, ca):
            console.planned(alias, f"add the lab's CA to {store.where}")
    else:
        done = (f"add the lab's CA to {where}" for where in browser_trust.add(alias, ca))
        report(alias, done, "your browsers trust it already")
    for whom, command in browser_trust.by_hand(alias, ca):
        console.note(f"for {whom}: {command}")


@laptop_task(name="untrust")
def untrust(c: Context) -> None:
    """Remove the lab's CA from your browsers."""
    alias = tunnel.target_of(c).alias
    if c.config.run.dry:
        for store in browser_trust.stores_holding(alias):
            console.planned(alias, f"remove the lab's CA from {store.where}")
    else:
        done = (f"remove the lab's CA from {where}" for where in browser_trust.remove(alias))
        report(alias, done, "none of your browsers trusts this lab")
    for command in browser_trust.by_hand_undone(alias):
        console.note(f"to undo what you did by hand: {command}")


def report(alias: str, done: Iterable[str], nothing: str) -> None:
    """Show each change when it is done. nothing: what to say if there was none."""
    said = nothing
    for why in done:
        console.changed(alias, why, 0)
        said = "restart any open browsers: they read it when they start"
    console.note(said)
