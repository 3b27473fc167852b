"""Report: docs/performance.md and its plot, from what was measured."""

from __future__ import annotations

from tests.rig.places import REPO

from . import plot, recipe, table
from .measure import ROUND_TRIP, Found, Plan

PAGE, PLOT = REPO / "docs" / "performance.md", REPO / "docs" / "performance.svg"
ENOUGH, BUSY = 5, 1.5  # runs; load average of a machine that has other work
TEXT = """\
# Performance

<!-- written by `inv bench`: a change by hand is lost with the next run -->

How long `setup.full` takes beside the tools that one would use else, and beside `ssh host true`, which does nothing but
log in. `inv bench` measures it on your machine; absolute times are those of the machine below, so look at the ratios.

{doubts}![How long each tool takes, as bars](performance.svg)

## Goals

{goals}

## Times

Wall seconds of the whole process, from start to exit.

{times}

## What was run

- labfab: {labfab}
- beside it: {peers}
- on the laptop's side: {here}
- hosts: {hosts}
- machine: {machine}; the hosts are containers on the same cores
- line: {line}
{skipped}
## How

- **The same recipe** of {steps} steps, from apt's lists to an answering JupyterLab, written for each tool as its users
  write it: `bench/ansible`, `bench/pyinfra`. All work on the same host, which labfab has set up, with the same account,
  key, port and sudo without a password; the peers get the files that labfab wrote. A run only counts when the tool itself
  reports that nothing was changed. labfab also looks whether the tunnel to JupyterLab is open, which the others do not.
- **The same checks**: whether apt has upgrades, packages, account, sudo, key, what sshd says of itself, the firewall, the
  environment, Jupyter's configuration, whether JupyterLab answers. One differs: labfab remembers what apt said, until
  apt's lists, its sources or dpkg's status change. *{asked}* has that verdict deleted before each run, so that it asks
  apt as the others do.
- **Ansible** is measured as one writes it at first (`bench/ansible/idiomatic`), and tuned, with Mitogen
  (`bench/ansible/tuned`): no module that does its work anew each time, uv instead of the pip module. Both have pipelining,
  a shared connection within the run, and gather no facts.
- **Each run is a new process and a new login**: shared connections are ended before. All tools may keep Python's bytecode.
- **In turn**: A B C, A B C, …, after one uncounted round; medians. {rounds}
- **First run**: a new host each time, without apt's lists; all three install with uv, {index}. The machine's file cache is
  dropped before each, and no host is deleted before all are done, since for minutes ext4 makes files slowly where many went.
  Afterwards what the tools have made is compared: sshd's effective configuration, firewall, account, modes, packages, JupyterLab.
- **One setting changed**: an option of Jupyter's configuration, another value each time; JupyterLab is not restarted.
- **The slow line** ends at the laptop's side only: what a host fetches from mirrors stays quick. The controller has a network
  namespace of its own, and on the wire between it and the hosts each frame is held for half a round trip in each direction.
  TCP runs from end to end, so handshakes and stalls are those of a long line.

## What to keep in mind

- Hosts and laptop share the machine's cores, which makes everything on a LAN, and everything on several hosts, slower than
  it would be: for all tools alike.
- pyinfra runs with `-y`, which leaves out its look ahead. labfab proves every change of access by a fresh login before it
  keeps it; the others do not, so its first run does more. It does what is independent side by side, which two cores that
  are shared with the laptop limit.
- On several hosts the work on the hosts takes turns on those cores: that ratio is the least exact.
"""


def write(found: Found, plan: Plan) -> None:
    """Write the page and the plot anew."""
    PAGE.write_text(page(found, plan))
    PLOT.write_text(plot.svg(found.times))


def page(found: Found, plan: Plan) -> str:
    skipped = "".join(f"- left out: {one}\n" for one in found.skipped)
    return TEXT.format(
        goals=table.markdown(table.GOALS_HEAD, table.goal_rows(found.times, plan.hosts)),
        times=table.markdown(table.TIMES_HEAD, table.time_rows(found.times)),
        doubts=doubts(found, plan),
        line=line(found),
        skipped=skipped,
        steps=len(recipe.STEPS),
        asked=table.ASKED,
        rounds=rounds(plan),
        index="from the same package index on this machine"
        if found.local_index
        else "from the usual package index",
        **found.versions,
    )


def line(found: Found) -> str:
    """The two lines as they were measured."""
    near, far = found.round_trips.get(table.NEAR), found.round_trips.get(table.FAR)
    said = [f"a TCP connection is there in {near:.1f} ms" * bool(near)]
    if far:
        said.append(f"slow: {far:.1f} ms (set to {1000 * ROUND_TRIP:.0f} ms, by {found.delay})")
    return "; ".join(filter(None, said)) or "not measured"


def rounds(plan: Plan) -> str:
    """How often what was run."""
    less = f" ({plan.slow} of pyinfra and Ansible)" if plan.slow != plan.runs else ""
    return f"Counted runs: {plan.runs}{less}, {3 * plan.runs} of the start-up, {plan.first} of each first run."


def doubts(found: Found, plan: Plan) -> str:
    """What makes these numbers worth less than they look."""
    said = [f"each command ran less than {ENOUGH} times"] * (plan.runs < ENOUGH)
    said += [f"the machine was busy with other work (load {found.load:.0f})"] * (found.load > BUSY)
    return (
        f"**These numbers are a mere try**: {' and '.join(said)}. Measure anew with `inv bench`.\n\n"
        if said
        else ""
    )


def printed(found: Found, plan: Plan) -> str:
    """Both tables, for a terminal."""
    times = table.plain(table.TIMES_HEAD, table.time_rows(found.times))
    wanted = [
        row
        for row in table.goal_rows(found.times, plan.hosts)
        if row[0].split(":")[0] in plan.scenes
    ]
    return f"\n{times}\n\n{table.plain(table.GOALS_HEAD, wanted)}\n"
