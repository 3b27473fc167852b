"""Run: what `inv bench` does, from its flags to the printed table."""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import asdict, replace

from tests.rig.places import RigError, say

from . import measure, report, table, tools

NAMES = {
    "no-change": table.NO_CHANGE,
    "change": table.CHANGE,
    "first": table.FIRST,
    "fleet": table.FLEET,
    "start": table.START,
}


def run(quick: bool, runs: int, only: str) -> None:
    """Measure, print both tables also where it was cut off, and write the page unless only a part was measured."""
    plan = planned(quick, runs, only)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # clears away, as Ctrl-C does
    for peer in (tools.PYINFRA, tools.ANSIBLE):
        tools.ensure(peer)
    found = measure.Found()
    try:
        measure.measure(plan, found)
    finally:
        (tools.PEERS / "latest.json").write_text(json.dumps(asdict(found), indent=2))
        if found.times:
            print(
                report.printed(found, plan),
                *(f"left out: {one}" for one in found.skipped),
                sep="\n",
            )
    if only:
        say("docs/performance.md stays as it is, for only a part was measured")
    else:
        report.write(found, plan)
        say("docs/performance.md and docs/performance.svg are written")


def planned(quick: bool, runs: int, only: str) -> measure.Plan:
    """The plan that the flags ask for. Raises RigError for a part that there is not."""
    plan = measure.QUICK if quick else measure.Plan()
    if runs:
        plan = replace(plan, runs=runs, slow=runs)
    wanted = [name.strip() for name in only.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in NAMES]
    if unknown:
        raise RigError(f"--only {', '.join(unknown)}: there are {', '.join(NAMES)}")
    return replace(plan, scenes=[NAMES[name] for name in wanted]) if wanted else plan
