"""check.all sees what is wrong: one sabotage turns one row, and mending turns it back."""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from labfab.check.rows import ALWAYS, CHECKS
from tests.conftest import booter, lent_fab

from .fab import Run
from .sabotages import CASES, PACKAGES, Place, do, token

pytestmark = pytest.mark.host

VENV = {"LABFAB_PYTHON": "venv"}
# Their sabotages touch what more than one area looks at: ports, the firewall, /etc/sudoers.d, /var/lib/labfab.
SEEN_ELSEWHERE = ("ports-", "lab-api", "lab-loopback", "secrets-sudo", "secrets-journal", "host-sudo", "host-revert")


@pytest.fixture(scope="module")
def place(engine, fab_log) -> Iterator[Place]:
    """Set up one machine, with an account beside ours; all is well before the first sabotage and after the last."""
    with ExitStack() as stack:
        fab = stack.enter_context(contextmanager(lent_fab)(fab_log))
        place = Place(booter(engine, fab, stack)("debian12", "check", key=fab.key), fab)
        place.host.run("useradd -m -s /bin/bash side")
        fab.on(place.host, "setup.full", env=VENV).ok()
        place.host.run(f"cd {PACKAGES}; ls -d jupyter_server-2.*-info >/run/version")
        assert states(place) == {}
        yield place
        assert states(place) == {}


def checked(place: Place, *words: str, env: dict[str, str] | None = None) -> tuple[Run, dict]:
    """Run a task of check and read its JSON."""
    done = place.fab("-H", "homelab", *words, "--json", env=VENV | (env or {}), timeout=60)
    assert "Traceback" not in done.text, done.text
    found = json.loads(done.out)
    assert done.rc == (1 if found["summary"]["fail"] else 0), done.text
    return done, found


def states(place: Place, task: str = "check.all") -> dict[str, tuple[str, str]]:
    """Each row that is not ok, with its state and, where it was not checked, why."""
    rows = [row for row in checked(place, task)[1]["checks"] if row["state"] != "ok"]
    return {row["id"]: (row["state"], row["detail"] * (row["state"] == "not checked")) for row in rows}


def test_every_row_is_sabotaged():
    """Those of a host that is published have their sabotages in test_check_https.py."""
    assert {case.row for case in CASES} == {check.id for check in CHECKS if check.publish == ALWAYS}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.row}-{case.state}")
def test_one_sabotage_turns_one_row(place, case):
    """A row left over from the case before would show here, or at the latest when all is asked again at the end."""
    do(place, case.breaks)
    try:
        found = states(place, task_for(case.row))
    finally:
        do(place, case.mends)
    assert found.pop(case.row, None) == (case.state, ""), found
    blocked = dependants(case.row) if case.state == "fail" else set()
    assert found == dict.fromkeys(blocked, ("not checked", f"needs {case.row}"))


def task_for(row: str) -> str:
    """The task that asks every row which this one's sabotage could turn: its own area's where no other could see it."""
    areas = {one.partition("-")[0] for one in {row} | dependants(row)}
    return "check.all" if len(areas) > 1 or row.startswith(SEEN_ELSEWHERE) else f"check.{areas.pop()}"


def dependants(row: str) -> set[str]:
    """The rows that cannot be asked while this one fails."""
    found = {row}
    for check in CHECKS * 2:
        if found & set(check.needs):
            found.add(check.id)
    return found - {row}


def test_all_is_well_nothing_is_changed_by_looking_and_no_secret_is_shown(place):
    before = place.host.checksums()
    done, found = checked(place, "check.all")
    assert found["schema"] == 1 and found["host"] == "homelab"
    assert found["summary"] == {"ok": len([check for check in CHECKS if check.publish == ALWAYS]), "warn": 0, "fail": 0, "not checked": 0}
    said = done.text + place.fab("-H", "homelab", "check.all", env=VENV).ok().text
    assert place.host.checksums() == before
    assert not [secret for secret in {token(place), *place.fab.all_secrets()} if secret in said]


def test_without_sudo_it_says_what_it_could_not_look_at(place):
    """The rows that only root can answer say so; the others are asked with the rights of the login."""
    path = place.home / ".config" / "labfab" / "homelab" / "sudo-password"
    kept = path.rename(place.home / "kept")
    try:
        found = states(place)
    finally:
        kept.rename(path)
    assert set(found) == {"ssh-config", "ports-firewall", "host-revert"}
    assert all(why.startswith("needs root: sudo asks for a password") for _, why in found.values()), found


def test_the_table_names_the_task_that_mends(place):
    place.host.run("ufw disable")
    try:
        said = place.fab("-H", "homelab", "check.ports", env=VENV).fails("1 check fails: ports-firewall")
        assert re.search(r"^fail +ports-firewall +.*: it is off  → firewall\.enable$", said.out, re.MULTILINE)
        place.fab("-H", "homelab", "firewall.enable", env=VENV).ok()
    finally:
        place.host.run("ufw --force enable")
    place.fab("-H", "homelab", "check.ports", env=VENV).ok()


def test_a_host_that_does_not_answer_is_one_row(place):
    place.host.pause()
    try:
        found = checked(place, "check.ssh", env={"LABFAB_CONNECT_TIMEOUT": "2"})[1]
    finally:
        place.host.resume()
    assert [row["id"] for row in found["checks"] if row["state"] == "fail"] == ["ssh-reach"]
