"""check.https sees what is wrong with a JupyterLab that everybody may call: one sabotage turns one row."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from labfab.check.inspection import CHECKS
from labfab.check.rows import ALWAYS
from tests.conftest import booter, lent_fab
from tests.rig.sabotages import PACKAGES, Place, token
from tests.rig.sabotages_https import BASE, CA, HTTPS_CASES, NAME
from tests.rig.verdicts import checked, not_ok, rows_of, states, turns_one_row

pytestmark = pytest.mark.host

UNIT, HOOK = "/etc/systemd/system/certbot", "/etc/letsencrypt/renewal-hooks/deploy/labfab"
RENEWING = (  # what is done on the host, and what the row says then
    (
        f"printf '[Service]\nType=oneshot\nExecStart=true\n' >{UNIT}.service; "
        f"printf '[Timer]\nOnCalendar=daily\n' >{UNIT}.timer; systemctl daemon-reload; systemctl start certbot.timer",
        "nothing passes a renewed certificate on to JupyterLab: the deploy hook is missing",
    ),
    (
        f"mkdir -p {HOOK[:-7]}; echo '#!/bin/sh' >{HOOK}; chmod 644 {HOOK}",
        "the deploy hook cannot run: its mode is 644",
    ),
    (f"chmod 755 {HOOK}", ""),
    ("systemctl stop certbot.timer", "no timer of certbot runs"),
)


@pytest.fixture(scope="module")
def place(engine, fab_log) -> Iterator[Place]:
    """Publish one machine through Apache; all is well before the first sabotage and after the last."""
    with ExitStack() as stack:
        fab = stack.enter_context(contextmanager(lent_fab)(fab_log))
        host = booter(engine, fab, stack)("debian12", "published", key=fab.key)
        env = {
            "LABFAB_PYTHON": "venv",
            "LABFAB_PUBLISH": "apache",
            "LABFAB_NAMES": f"{NAME},{host.address}",
            "LABFAB_BASE_URL": BASE,
            "LABFAB_USER": "admin",
            "LABFAB_LAB_USER": "lab",
        }
        place = Place(host, fab, env)
        host.run("useradd -m -s /bin/bash side")
        fab.on(host, "setup.full", env=env).ok()
        host.run(f"cd {PACKAGES}; ls -d jupyter_server-2.*-info >/run/version")
        host.run(f"cd {PACKAGES}; ls -d jupyterlab-4.*-info >/run/lab-version")
        assert states(place) == {}
        yield place
        assert states(place) == {}


def test_every_row_about_browsers_is_sabotaged():
    assert {case.row for case in HTTPS_CASES} >= {
        check.id for check in CHECKS if check.publish != ALWAYS
    }


def test_all_is_well_nothing_is_changed_by_looking_and_no_secret_is_shown(place):
    before = place.host.checksums()
    done, found = checked(place, "check.all")
    assert found["summary"] == {"ok": len(rows_of(place)), "warn": 0, "fail": 0, "not checked": 0}
    said = done.text + place.fab("-H", "homelab", "check.https", env=place.env).ok().text
    assert f"{NAME}, {place.host.address}" in said and "this lab's CA" in said
    assert place.host.checksums() == before
    assert not [secret for secret in {token(place), *place.fab.all_secrets()} if secret in said]


@pytest.mark.parametrize("case", HTTPS_CASES, ids=lambda case: f"{case.row}-{case.state}")
def test_one_sabotage_turns_one_row(place, case):
    turns_one_row(place, case)


def test_certbot_renews_and_hands_on(place):
    """Let's Encrypt's certificates are judged by the system's authorities, and have a timer and a hook that works."""
    env = {"LABFAB_CERTIFICATE": "letsencrypt", "LABFAB_EMAIL": "me@example.test"}
    known = env | {"SSL_CERT_FILE": str(place.home / CA)}  # as if the system knew who signed
    try:
        found = not_ok(place, "check.https", env)
        assert found["https-chain"]["detail"].startswith(
            "incomplete chain: the certificate of labfab CA of homelab"
        )
        assert found["https-renewal"]["detail"] == "no timer of certbot runs"
        for act, detail in RENEWING:
            place.host.run(act)
            found = not_ok(place, "check.https", known)
            assert {id: row["detail"] for id, row in found.items()} == (
                {"https-renewal": detail} if detail else {}
            )
    finally:
        place.host.run(
            f"systemctl stop certbot.timer; rm -rf {UNIT}.* /etc/letsencrypt; systemctl daemon-reload"
        )


def test_jupyterlab_publishes_itself(place):
    """The last one: the same host without Apache. Its ports are wanted as long as it publishes, and no longer."""
    place.env["LABFAB_PUBLISH"] = "https"
    assert (
        not_ok(place, "check.https")["https-reach"]["detail"]
        == "nothing listens on port 9999 there"
    )
    place.fab("-H", "homelab", "lab.stop", "setup.full", env=place.env).ok()
    assert set(not_ok(place)) == {"ports-answering", "ports-listening", "ports-firewall"}
    assert place.host.run("ls /etc/labfab/tls") == ""  # its key is gone
    place.host.run(
        "systemctl disable -q --now apache2; ufw delete allow 80/tcp; ufw delete allow 443/tcp"
    )
    found = {row["id"]: row for row in checked(place, "check.all")[1]["checks"]}
    assert {row["state"] for row in found.values()} == {"ok"}
    assert "https-redirect" not in found and found["lab-loopback"]["detail"].endswith(
        "as published"
    )
