"""check.all sees what is wrong: one sabotage turns one row, and mending turns it back."""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from labfab.check.inspection import CHECKS
from labfab.check.rows import ALWAYS
from tests.conftest import labs, lent_fab
from tests.rig.sabotages import CASES, PACKAGES, Place, token
from tests.rig.verdicts import checked, rows_of, states, turns_one_row

pytestmark = pytest.mark.host

VENV = {"LABFAB_PYTHON": "venv"}


@pytest.fixture(scope="module")
def place(engine, fab_log) -> Iterator[Place]:
    """Set up one machine, with an account beside ours; all is well before the first sabotage and after the last."""
    with ExitStack() as stack:
        fab = stack.enter_context(contextmanager(lent_fab)(fab_log))
        place = Place(labs(engine, fab, stack)("debian12", "check", env=VENV), fab, VENV)
        place.host.run("useradd -m -s /bin/bash side")
        place.host.run(f"cd {PACKAGES}; ls -d jupyter_server-2.*-info >/run/version")
        place.host.run(f"cd {PACKAGES}; ls -d jupyterlab-4.*-info >/run/lab-version")
        assert states(place) == {}
        yield place
        assert states(place) == {}


def test_every_row_is_sabotaged():
    """Those of a host that is published have their sabotages in test_check_https.py; only a Mac sleeps, in test_mac_lab.py."""
    assert {case.row for case in CASES} | {"host-sleep"} == {
        check.id for check in CHECKS if check.publish == ALWAYS
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.row}-{case.state}")
def test_one_sabotage_turns_one_row(place, case):
    turns_one_row(place, case)


def test_all_is_well_nothing_is_changed_by_looking_and_no_secret_is_shown(place):
    before = place.host.checksums()
    done, found = checked(place, "check.all")
    assert found["schema"] == 1 and found["host"] == "homelab"
    assert found["summary"] == {"ok": len(rows_of(place)), "warn": 0, "fail": 0, "not checked": 0}
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
    assert set(found) == {"ssh-boot", "ssh-config", "ports-firewall", "host-revert"}
    assert all(
        why.startswith("needs root: sudo asks for a password") for _, why in found.values()
    ), found


def test_the_table_names_the_task_that_mends(place):
    place.host.run("ufw disable")
    try:
        said = place.fab("-H", "homelab", "check.ports", env=VENV).fails(
            "1 check fails: ports-firewall"
        )
        assert re.search(
            r"^fail +ports-firewall +it is off .*  → firewall\.enable$", said.out, re.MULTILINE
        )
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
