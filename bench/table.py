"""Table: medians, ratios and the goals, from the times of each run. Nothing here measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

SSH, LABFAB, ASKED = "ssh host true", "labfab", "labfab, apt asked anew"
PYINFRA, ANSIBLE, MITOGEN = "pyinfra", "Ansible", "Ansible tuned, with Mitogen"
TUNED = "Ansible tuned"
LIST, EMPTY = "fab --list", "fab --list, empty fabfile"
MANY, FEW = "{} on {} hosts", "{} on one host"
NEAR, FAR = "LAN", "100 ms"
NO_CHANGE, FIRST, CHANGE, FLEET, START = (
    "no change",
    "first run",
    "one setting changed",
    "several hosts, no change",
    "start-up",
)
Times = Mapping[
    str, Mapping[str, Mapping[str, Sequence[float]]]
]  # scene -> line -> contender -> seconds of each run


@dataclass(frozen=True)
class Goal:
    """How one contender should do beside others; of several others, the quickest counts.

    at_most: times the other's time. faster: the other's time divided by ours is at least this.
    """

    scene: str
    line: str
    ours: str
    others: tuple[str, ...]
    at_most: float = 0
    faster: float = 0

    @property
    def words(self) -> str:
        bound = (
            f"at most {self.at_most:g} × "
            if self.at_most
            else f"at least {self.faster:g} × faster than "
        )
        return bound + " or ".join(self.others)

    def ratio(self, times: Times) -> float | None:
        """What was reached; None where it was not measured."""
        row = times.get(self.scene, {}).get(self.line, {})
        if not row.get(self.ours) or not all(row.get(name) for name in self.others):
            return None
        ours, others = median(row[self.ours]), min(median(row[name]) for name in self.others)
        return ours / others if self.at_most else others / ours

    def reached(self, times: Times) -> bool | None:
        ratio = self.ratio(times)
        return (
            None
            if ratio is None
            else ratio <= self.at_most
            if self.at_most
            else ratio >= self.faster
        )


def goals(hosts: int = 8) -> list[Goal]:
    """The goals, in the order of the table."""
    bounds = {FAR: (1.5, 8, 6, 15), NEAR: (3, 6, 10, 30)}
    found = []
    for line, (ssh, *faster) in bounds.items():
        found.append(Goal(NO_CHANGE, line, LABFAB, (SSH,), at_most=ssh))
        found += [
            Goal(NO_CHANGE, line, LABFAB, (peer,), faster=one)
            for peer, one in zip((PYINFRA, MITOGEN, ANSIBLE), faster, strict=True)
        ]
    found.append(Goal(FIRST, NEAR, LABFAB, (PYINFRA, TUNED), at_most=0.6))
    found.append(Goal(CHANGE, FAR, LABFAB, (SSH,), at_most=2.5))
    found.append(Goal(FLEET, FAR, MANY.format(LABFAB, hosts), (FEW.format(LABFAB),), at_most=2.5))
    found.append(Goal(START, NEAR, LIST, (EMPTY,), at_most=1.3))
    return found


def time_rows(times: Times) -> list[list[str]]:
    """One row for each contender of each scene: what, line, who, median, range, runs."""
    return [
        [
            scene,
            line,
            name,
            seconds(median(runs)),
            f"{seconds(min(runs))} to {seconds(max(runs))}",
            str(len(runs)),
        ]
        for scene, lines in times.items()
        for line, contenders in lines.items()
        for name, runs in contenders.items()
        if runs
    ]


def goal_rows(times: Times, hosts: int = 8) -> list[list[str]]:
    """One row for each goal: what, line, the goal, what was reached, yes or no."""
    verdicts = {None: "not measured", True: "yes", False: "no"}
    return [
        [
            f"{goal.scene}: {goal.ours}" if goal.ours != LABFAB else goal.scene,
            goal.line,
            goal.words,
            f"{goal.ratio(times):.2f} ×" if goal.ratio(times) is not None else "",
            verdicts[goal.reached(times)],
        ]
        for goal in goals(hosts)
    ]


TIMES_HEAD = ["what", "line", "who", "median, s", "range, s", "runs"]
GOALS_HEAD = ["what", "line", "goal", "reached", "met"]


def seconds(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def plain(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table for a terminal."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [head, *rows]
    ]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table for a page."""
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])
