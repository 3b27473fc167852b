"""What check says of a host, and whether one sabotage turns one row."""

import json

from labfab.check.inspection import CHECKS
from labfab.check.rows import Check

from .fab import Run
from .sabotages import Case, Place, do

# Their sabotages touch what more than one area looks at: ports, the firewall, /etc/sudoers.d, /var/lib/labfab.
SEEN_ELSEWHERE = (
    "ports-",
    "lab-api",
    "lab-loopback",
    "secrets-sudo",
    "secrets-journal",
    "host-sudo",
    "host-revert",
)


def checked(place: Place, *words: str, env: dict[str, str] | None = None) -> tuple[Run, dict]:
    """Run a task of check and read its JSON."""
    done = place.fab("-H", "homelab", *words, "--json", env=place.env | (env or {}), timeout=60)
    assert "Traceback" not in done.text, done.text
    found = json.loads(done.out)
    assert done.rc == (1 if found["summary"]["fail"] else 0), done.text
    return done, found


def not_ok(
    place: Place, task: str = "check.all", env: dict[str, str] | None = None
) -> dict[str, dict]:
    """Each row that is not ok."""
    return {
        row["id"]: row for row in checked(place, task, env=env)[1]["checks"] if row["state"] != "ok"
    }


def states(place: Place, task: str = "check.all") -> dict[str, tuple[str, str]]:
    """Each row that is not ok, with its state and, where it was not checked, why."""
    return {
        id: (row["state"], row["detail"] * (row["state"] == "not checked"))
        for id, row in not_ok(place, task).items()
    }


def turns_one_row(place: Place, case: Case) -> None:
    """Break one thing, look, mend it. A row left over would show with the next case, or when all is asked at the end."""
    do(place, case.breaks)
    try:
        found = not_ok(place, task_for(place, case.row))
    finally:
        do(place, case.mends)
    row = found.pop(case.row, {"state": "ok", "detail": ""})
    assert row["state"] == case.state and case.says in row["detail"], (row, found)
    blocked = dependants(place, case.row) if case.state == "fail" else set()
    shown = {
        id: (one["state"], one["detail"] * (one["state"] == "not checked"))
        for id, one in found.items()
    }
    # Why a row of `also` was not checked says itself: it needs another one of them.
    expected = dict.fromkeys(blocked, ("not checked", f"needs {case.row}")) | {
        id: (state, shown.get(id, ("", ""))[1]) for id, state in case.also.items()
    }
    assert shown == expected, f"{shown} instead of {expected}"


def task_for(place: Place, row: str) -> str:
    """The task that asks every row which this one's sabotage could turn: its own area's where no other could see it."""
    areas = {one.partition("-")[0] for one in {row} | dependants(place, row)}
    return (
        "check.all" if len(areas) > 1 or row.startswith(SEEN_ELSEWHERE) else f"check.{areas.pop()}"
    )


def dependants(place: Place, row: str) -> set[str]:
    """The rows that cannot be asked while this one fails."""
    found = {row}
    for check in rows_of(place) * 2:
        if found & set(check.needs):
            found.add(check.id)
    return found - {row}


def rows_of(place: Place) -> list[Check]:
    """The rows that are asked of this host."""
    return [check for check in CHECKS if place.env.get("LABFAB_PUBLISH", "tunnel") in check.publish]
