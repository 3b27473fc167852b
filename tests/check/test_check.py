"""A row is asked only if the rows it needs are right; people and programs see the same answers."""

import inspect
import json
import re
from pathlib import Path
from types import SimpleNamespace

import paramiko
import pytest

from labfab.check import lab, ports, table
from labfab.check.findings import STATES, NotChecked, Warned, Wrong
from labfab.check.inspection import CHECKS, answer, answers, chosen
from labfab.check.probe import Private
from labfab.check.rows import ALWAYS, AREAS, PUBLISHED, Check, Row
from labfab.errors import SetupError
from labfab.facts.records import Firewall, Power, Updates
from labfab.host.shell import ConnectionLost
from labfab.platforms import debian, macos
from labfab.settings import Settings


def row(id: str, needs=(), raises=None) -> Check:
    def look(_):
        if raises:
            raise raises
        return "as it should be"

    return Check(id, f"{id} is right", "ssh.change-port", tuple(needs), look)


def test_what_a_row_needs_comes_before_it():
    ids = [check.id for check in chosen("", "apache")]
    assert len(ids) == len(set(ids)) == len(CHECKS)
    for check in CHECKS:
        assert check.area in AREAS
        assert all(ids.index(need) < ids.index(check.id) for need in check.needs), check.id


SENDS_SECRETS = re.compile(r"stored_password|stored_token|logged_in\(")


@pytest.mark.parametrize("publish", ALWAYS)
def test_no_secret_is_sent_before_it_is_known_whose_the_port_is(publish):
    """A row that logs in needs lab-owner, and what is published also has proven its certificate."""
    needs = {check.id: check.needs for check in chosen("", publish)}

    def all_needs(id: str) -> set[str]:
        return {id}.union(*map(all_needs, needs[id]))

    sending = {
        check.id
        for check in chosen("", publish)
        if SENDS_SECRETS.search(inspect.getsource(check.ask)) and "wrong" not in check.id
    }
    assert {"lab-password", "lab-token", "lab-kernel", "lab-terminal"} <= sending
    assert all("lab-owner" in all_needs(id) for id in sending)
    assert all("https-names" in all_needs(id) for id in sending if id.startswith("https-"))


@pytest.mark.parametrize(
    ("lab", "powerless", "state"),
    [
        ({"owner": "lab"}, "", "ok"),
        ({"owner": "eve", "holder": "jupyter-lab"}, "", "fail"),
        ({"owner": ""}, "", "not checked"),
        ({"owner": ""}, "no sudo", "not checked"),
    ],
)
def test_whose_the_port_is(lab, powerless, state):
    def needs_root():
        if powerless:
            raise NotChecked(powerless)

    look = vars(seen(lab=SimpleNamespace(**{"holder": ""} | lab))) | {"needs_root": needs_root}
    found = asked("lab-owner", SimpleNamespace(**look))
    assert found.state == state
    if state == "fail":
        assert found.detail == "port 9999 is held by jupyter-lab of eve: no secret was sent there"


@pytest.mark.parametrize(
    ("mode", "owner", "advice"),
    [
        (0o777, "eve", "sudo -u eve chmod go-w /home/eve/.ssh"),
        (0o755, "lab", ""),
        (0o1777, "root", ""),
    ],
)
def test_advice_gives_nobody_the_rights_of_root(mode, owner, advice):
    """What is in eve's home may lead elsewhere: it is mended as eve, or looked at by a person."""
    look = vars(seen()) | {
        "logins": ["eve"],
        "private": lambda kind: (
            [Private(kind, mode, owner, "/home/eve/.ssh")] * (kind == "keys:eve")
        ),
        "by_hand": lambda *words, account="root": f"sudo -u {account} {' '.join(words)}",
    }
    assert asked("secrets-keys", SimpleNamespace(**look)).mend == advice


@pytest.mark.parametrize("publish", ALWAYS)
@pytest.mark.parametrize("area", AREAS)
def test_an_area_brings_what_it_needs(area, publish):
    found = chosen(area, publish)
    ids = {check.id for check in found}
    assert all(set(check.needs) <= ids for check in found)
    assert {check.id for check in CHECKS if check.area == area and publish in check.publish} <= ids


def test_rows_about_browsers_appear_where_something_is_published():
    """Only the redirect is Apache's alone. If nothing is published, none of them is asked."""
    asked = {publish: {check.id for check in chosen("", publish)} for publish in ALWAYS}
    more = {check.id for check in CHECKS if check.publish != ALWAYS}
    assert more == {check.id for check in CHECKS if check.area == "https"} | {"secrets-tls"}
    assert not asked["tunnel"] & more and asked["apache"] == asked["tunnel"] | more
    assert asked["apache"] - asked["https"] == {"https-redirect"}
    assert chosen("https", "tunnel") == [] and {check.publish for check in CHECKS} == {
        ALWAYS,
        PUBLISHED,
        ("apache",),
    }


def test_a_row_that_needs_a_failed_one_names_the_first_cause():
    found = answers(
        None,
        [
            row("ssh-a", raises=Wrong("broken")),
            row("ssh-b", ["ssh-a"]),
            row("ssh-c", ["ssh-b"]),
            row("ssh-d"),
        ],
    )
    assert [(one.state, one.detail) for one in found] == [
        ("fail", "broken"),
        ("not checked", "needs ssh-a"),
        ("not checked", "needs ssh-a"),
        ("ok", "as it should be"),
    ]


def test_a_warning_keeps_nothing_from_being_asked():
    found = answers(None, [row("ssh-a", raises=Warned("odd")), row("ssh-b", ["ssh-a"])])
    assert [one.state for one in found] == ["warn", "ok"]


@pytest.mark.parametrize(
    ("error", "state", "detail", "mend"),
    [
        (Wrong("broken"), "fail", "broken", "ssh.change-port"),
        (Wrong("broken", "chmod 600 x"), "fail", "broken", "chmod 600 x"),
        (SetupError("told in\none line"), "fail", "told in one line", "ssh.change-port"),
        (NotChecked("needs root"), "not checked", "needs root", ""),
        (
            ConnectionResetError("reset"),
            "not checked",
            "the connection to the host failed: reset",
            "",
        ),
        (
            ConnectionLost("box: the connection broke"),
            "not checked",
            "the connection to the host failed: box: the connection broke",
            "",
        ),
    ],
)
def test_what_becomes_of_a_finding(error, state, detail, mend):
    (found,) = answers(None, [row("ssh-a", raises=error)])
    assert (found.state, found.detail, found.mend) == (state, detail, mend)


def test_the_json_is_what_the_page_says():
    found = answers(None, [row("ssh-a", raises=Wrong("broken")), row("lab-b", ["ssh-a"])])
    told = json.loads(table.as_json("homelab", found))
    assert told == {
        "schema": 1,
        "host": "homelab",
        "checks": [
            {
                "id": "ssh-a",
                "area": "ssh",
                "title": "ssh-a is right",
                "state": "fail",
                "detail": "broken",
                "needs": [],
                "mend": "ssh.change-port",
            },
            {
                "id": "lab-b",
                "area": "lab",
                "title": "lab-b is right",
                "state": "not checked",
                "detail": "needs ssh-a",
                "needs": ["ssh-a"],
                "mend": "",
            },
        ],
        "summary": {"ok": 0, "warn": 0, "fail": 1, "not checked": 1},
    }


def test_plain_text_is_aligned_and_names_the_task(capsys):
    table.show(
        "homelab", answers(None, [row("ssh-a", raises=Wrong("broken")), row("lab-bcd", ["ssh-a"])])
    )
    assert capsys.readouterr().out.splitlines() == [
        "fail         ssh-a    broken (wanted: ssh-a is right)  → ssh.change-port",
        "not checked  lab-bcd  lab-bcd is right: needs ssh-a",
        "[homelab] 1 fail, 1 not checked",
    ]


def test_a_terminal_gets_a_table(capsys, monkeypatch):
    monkeypatch.setattr("labfab.console.terminal", lambda: True)
    table.show("homelab", answers(None, [row("ssh-a", raises=Wrong("[red] is no markup"))]))
    said = capsys.readouterr().out
    assert "[red] is no markup" in said and "fix with" in said


def test_states_are_those_of_the_schema():
    assert STATES == ("ok", "warn", "fail", "not checked")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", True),
        ("127.0.0.53%lo", True),
        ("[::1]", True),
        ("[::ffff:127.0.0.1]", True),
        ("0.0.0.0", False),
        ("*", False),
        ("[::]", False),
        ("192.0.2.1%eth0", False),
    ],
)
def test_what_counts_as_loopback(address, expected):
    assert ports.is_loopback(address) is expected


def seen(audit=None, **facts) -> SimpleNamespace:
    """A probe that has found these things."""
    have = {
        "updates": Updates(0, False),
        "pending": 0,
        "firewall": Firewall(True, "deny", frozenset({2222})),
        "sudoers": None,
        "ssh": SimpleNamespace(ports=frozenset({2222}), jail=""),
    }
    return SimpleNamespace(
        audit=audit or {},
        facts=SimpleNamespace(**have | facts),
        want=Settings(),
        limits="",
        needs_root=lambda: None,
        by_hand=lambda *words: f"ssh box {' '.join(words)}",
        platform=debian,
        c=SimpleNamespace(user="lab", port=2222),
        logins=["lab", "root"],
    )


@pytest.mark.parametrize(
    ("percent", "state"),
    [("50", "ok"), ("10", "ok"), ("9.99", "warn"), ("1", "warn"), ("0.99", "fail"), ("0", "fail")],
)
def test_the_fullest_disk_counts(percent, state):
    assert (
        asked("host-disk", seen({"disk.2": "80 /", "disk.3": f"{percent} /home dir"})).state
        == state
    )


@pytest.mark.parametrize(
    ("there", "state"),
    [
        ("1000", "ok"),
        ("1003", "ok"),
        ("1032", "ok"),
        ("1034", "warn"),
        ("970", "ok"),
        ("968", "warn"),
    ],
)
def test_the_time_that_the_question_took_is_no_drift(there, state):
    assert (
        asked("host-clock", seen({"before": "1000", "after": "1003", "clock": there})).state
        == state
    )


@pytest.mark.parametrize(
    ("age", "pending", "interrupted", "state"),
    [
        (3600, 0, False, "ok"),
        (3600, 4, False, "warn"),
        (8 * 86400, 0, False, "warn"),
        (1795000000, 0, False, "warn"),
        (3600, None, False, "not checked"),
        (3600, 0, True, "fail"),
    ],
)
def test_old_lists_know_no_upgrades(age, pending, interrupted, state):
    assert (
        asked("host-updates", seen(updates=Updates(age, interrupted), pending=pending)).state
        == state
    )


@pytest.mark.parametrize(
    ("firewall", "state", "detail"),
    [
        (Firewall(True, "deny", frozenset({2222})), "ok", "lets in 2222"),
        (Firewall(False, "deny", frozenset({2222})), "fail", "it is off"),
        (Firewall(True, "allow", frozenset({2222})), "fail", "incoming by default: allow"),
        (Firewall(True, "deny", frozenset()), "fail", "it refuses 2222"),
        (Firewall(True, "deny", frozenset({22, 2222})), "warn", "it also lets in 22"),
    ],
)
def test_what_the_firewall_must_be(firewall, state, detail):
    found = asked("ports-firewall", seen(firewall=firewall))
    assert (found.state, found.detail) == (state, detail)


def test_sshd_is_judged_login_by_login():
    """Only root must have PermitRootLogin no; otherwise the task disable-root is named."""
    good = (
        "passwordauthentication no;kbdinteractiveauthentication no;"
        "permitemptypasswords no;pubkeyauthentication yes;"
    )
    both = {"sshd.lab": f"{good}permitrootlogin yes;", "sshd.root": f"{good}permitrootlogin no;"}
    assert asked("ssh-config", seen(both)).state == "ok"
    found = asked("ssh-config", seen(both | {"sshd.root": f"{good}permitrootlogin yes;"}))
    assert (found.detail, found.mend) == ("root: permitrootlogin yes", "ssh.disable-root")
    found = asked(
        "ssh-config",
        seen(
            both
            | {"sshd.a.b": good.replace("passwordauthentication no", "passwordauthentication yes")}
        ),
    )
    assert (found.detail, found.mend) == (
        "a.b: passwordauthentication yes",
        "ssh.disable-passwords",
    )
    assert "run `sshd -t`" in asked("ssh-config", seen({"sshd.lab": ""})).detail


def tried_as_root(
    monkeypatch, error, sshd="no", powerless="", key="AAAA", held="ssh-ed25519 AAAA me"
) -> Row:
    """Return the answer of ssh-root when the login as root ends with an error."""

    def fresh(*_):
        raise error

    monkeypatch.setattr("labfab.check.ssh.connection.log_in_again", fresh)
    monkeypatch.setattr("labfab.check.ssh.keypair.public_line", lambda _: f"ssh-ed25519 {key} me")
    look = seen(
        {"sshd.root": f"port 22;permitrootlogin {sshd};"},
        accounts={"root": SimpleNamespace(keys=SimpleNamespace(content=held))},
    )
    return asked(
        "ssh-root",
        SimpleNamespace(**vars(look) | {"powerless": powerless, "identity": Path("key")}),
    )


def test_a_key_that_could_not_be_read_proves_nothing(monkeypatch):
    found = tried_as_root(monkeypatch, paramiko.PasswordRequiredException("locked"))
    assert (
        found.state == "not checked" and "passphrase" in found.detail and "ssh-add" in found.detail
    )


@pytest.mark.parametrize(
    ("given", "state", "detail"),
    [
        ({}, "ok", "root's file holds it, and sshd's configuration says PermitRootLogin no"),
        (
            {"key": "BBBB"},
            "ok",
            "root's file does not hold it, and sshd's configuration says PermitRootLogin no",
        ),
        (
            {"powerless": "no sudo"},
            "ok",
            "without root you cannot see whether another key would be",
        ),
        (
            {"sshd": "prohibit-password", "key": "BBBB"},
            "fail",
            "sshd's configuration says PermitRootLogin prohibit-password",
        ),
    ],
)
def test_a_refusal_of_root_is_explained(monkeypatch, given, state, detail):
    """A key that is not in root's file is refused even if root may log in."""
    found = tried_as_root(
        monkeypatch, paramiko.AuthenticationException("Authentication failed."), **given
    )
    assert found.state == state and found.detail.endswith(detail)
    assert state == "fail" or found.detail.startswith("your key is refused for root")


def test_root_is_tried_from_inside_where_fail2ban_would_ban_for_it(monkeypatch):
    places = []

    def fresh(c, user, port, identity, inside):
        places.append(inside)
        raise paramiko.AuthenticationException

    monkeypatch.setattr("labfab.check.ssh.connection.log_in_again", fresh)
    ssh = SimpleNamespace(ports=frozenset({292}), jail="ssh", login_address="192.0.2.7")
    root = SimpleNamespace(keys=SimpleNamespace(content=""))
    for allowed, state in (("no", "ok"), ("yes", "fail")):
        look = seen({"sshd.root": f"permitrootlogin {allowed};"}, ssh=ssh, accounts={"root": root})
        probe = SimpleNamespace(**vars(look) | {"powerless": "", "identity": None})
        assert asked("ssh-root", probe).state == state
    assert places == [("192.0.2.7", 292)] * 2


def test_a_port_on_loopback_counts_for_lab_alone():
    listen = {
        "listen.1": "0.0.0.0:2222 sshd",
        "listen.2": "127.0.0.53%lo:53 systemd-resolve",
        "listen.3": "127.0.0.1:9999 jupyter-lab",
    }
    assert asked("ports-listening", seen(listen)).detail == "2222"
    assert asked("lab-loopback", seen(listen)).detail == "127.0.0.1"
    found = asked("ports-listening", seen(listen | {"listen.4": "*:5432 postgres"}))
    assert found.state == "fail" and found.detail.startswith(
        "5432 (postgres): stop it there, or add it to open_ports"
    )
    found = asked("lab-loopback", seen(listen | {"listen.4": "[::]:9999 jupyter-lab"}))
    assert (found.state, found.detail) == ("fail", "port 9999 listens on [::]")


def on_mac(audit=None, **facts) -> SimpleNamespace:
    """A probe of a Mac that has found these things."""
    want = facts.pop("want", Settings())
    ssh = SimpleNamespace(ports=frozenset({22, 2222}), remote_login=22)
    look = vars(seen(audit, **{"ssh": ssh} | facts)) | {"want": want, "platform": macos}
    return SimpleNamespace(**look | {"by_hand": lambda *words: f"sudo {' '.join(words)}"})


@pytest.mark.parametrize(
    ("active", "said"), [(True, "macOS's own is on"), (False, "macOS's own is off")]
)
def test_the_firewall_of_a_mac_is_only_reported(active, said):
    found = asked("ports-firewall", on_mac(firewall=Firewall(active, "", frozenset())))
    assert found.state == "ok" and found.detail.startswith(said)


def test_a_mac_has_programs_of_its_own_that_listen():
    """No firewall hides them, so it is a warning."""
    listen = {
        "listen.1": "*:22 launchd",
        "listen.2": "*:2222 launchd",
        "listen.3": "127.0.0.1:9999 python3.12",
    }
    assert asked("ports-listening", on_mac(listen)).detail == "22, 2222"
    found = asked("ports-listening", on_mac(listen | {"listen.4": "*:5000 ControlCe"}))
    assert found.state == "warn" and found.detail.startswith(
        "5000 (ControlCe): stop it there, or add it to open_ports"
    )
    assert found.mend == "sudo lsof -nP -iTCP:5000 -sTCP:LISTEN"


@pytest.mark.parametrize(("minutes", "state"), [(0, "ok"), (10, "warn"), (None, "ok")])
def test_a_host_that_sleeps_is_a_warning(minutes, state):
    found = asked("host-sleep", seen(power=Power(minutes)))
    assert found.state == state and ("keep_awake: true" in found.detail) is (state == "warn")


def test_updates_are_reported_in_the_words_of_the_system():
    mac = on_mac(updates=Updates(0, False), pending=2)
    assert asked("host-updates", mac).detail.startswith("2 updates wait (those that need a restart")
    mac = on_mac(updates=Updates(0, False), pending=None)
    assert asked("host-updates", mac).detail == "Apple has not been asked yet"


def published(publish: str, audit=None, **facts) -> SimpleNamespace:
    """A probe of a host that publishes JupyterLab."""
    return SimpleNamespace(**vars(seen(audit, **facts)) | {"want": Settings(publish=publish)})


def test_published_ports_are_wanted_then_and_only_then():
    """JupyterLab's own port if it publishes itself, and Apache's two ports if Apache does."""
    everywhere, apache = (
        {"listen.1": "*:9999 jupyter-lab"},
        {"listen.1": "*:443 apache2", "listen.2": "127.0.0.1:9999 jupyter-lab"},
    )
    assert asked("lab-loopback", published("https", everywhere)).detail == "*, as published"
    assert (
        asked("lab-loopback", published("https", apache)).detail
        == "port 9999 listens on loopback only, but should be published"
    )
    assert asked("lab-loopback", published("apache", everywhere)).detail == "port 9999 listens on *"
    assert (
        asked("lab-loopback", published("apache", apache)).state
        == asked("ports-listening", published("apache", apache)).state
        == "ok"
    )
    assert asked("ports-listening", published("https", apache)).detail.startswith(
        "443 (apache2): stop it there"
    )
    for publish, wanted in (("https", {9999}), ("apache", {80, 443})):
        assert (
            asked(
                "ports-firewall",
                published(publish, firewall=Firewall(True, "deny", frozenset({2222} | wanted))),
            ).state
            == "ok"
        )
        assert asked("ports-firewall", published(publish)).detail.startswith("it refuses ")
        assert (
            asked(
                "ports-firewall", seen(firewall=Firewall(True, "deny", frozenset({2222} | wanted)))
            ).state
            == "warn"
        )


@pytest.mark.parametrize(
    ("publish", "state"), [("tunnel", "warn"), ("https", "fail"), ("apache", "fail")]
)
def test_sudo_without_a_password_fails_on_a_published_host(publish, state):
    assert (
        asked("host-sudo", published(publish, {"root": "yes", "nopasswd.side": "yes"})).state
        == state
    )
    assert asked("host-sudo", published(publish, {"root": "yes"})).state == "ok"


def listening(port: int, **more) -> SimpleNamespace:
    """A probe of a host whose sshd listens on a port."""
    have = {"remote_login": 0, "socket_activated": False, "first_unprivileged": 1024}
    return seen(ssh=SimpleNamespace(ports=frozenset({port}), **have | more))


@pytest.mark.parametrize(
    ("look", "state", "words"),
    [
        (listening(292), "ok", "292: only root can listen there"),
        (listening(2222), "warn", "any account of the host can take port 2222"),
        (listening(2222, socket_activated=True), "ok", "the system itself holds the socket"),
        (listening(292, first_unprivileged=80), "warn", "ip_unprivileged_port_start is 80"),
    ],
)
def test_a_port_that_any_account_can_take_is_a_warning(look, state, words):
    found = asked("ssh-port", look)
    assert found.state == state and words in found.detail
    assert ("ssh_port: 292" in found.mend) is (state == "warn" and "2222" in words)


def test_one_account_for_sudo_and_a_published_lab_is_a_warning():
    """Behind the tunnel it is said, and no more."""
    told = asked("host-sudo", seen({"root": "yes"})).detail
    assert "code in a notebook can become root" in told and "lab_user" in told
    found = asked("https-account", published("https"))
    assert found.state == "warn" and "lab_user" in found.detail and "may use sudo" in found.detail


@pytest.mark.parametrize(
    ("groups", "rules", "state"),
    [({"jupyter"}, (), "ok"), ({"docker"}, (), "fail"), (set(), ("sudo",), "fail")],
)
def test_an_account_of_its_own_must_not_become_root(groups, rules, state):
    account = SimpleNamespace(uid=1001, groups=frozenset(groups), rules=frozenset(rules))
    look = published("https", accounts={"jupyter": account})
    look.want = look.want._replace(lab_user="jupyter")
    assert asked("https-account", look).state == state


def test_without_rows_one_sentence_says_why(capsys):
    table.show("homelab", [])
    assert (
        capsys.readouterr().out
        == "[homelab] nothing is published (publish: tunnel), so there is nothing to check\n"
    )


def asked(id: str, look) -> Row:
    """Return the answer of one real row."""
    return answer(look, next(check for check in CHECKS if check.id == id)._replace(needs=()), {})


def test_the_page_has_every_row_and_the_task_that_mends_it():
    page = (Path(__file__).parents[2] / "docs" / "check.md").read_text()
    told = dict(re.findall(r"^\| `([a-z]+-[a-z-]+)` \|.*\| (?:`([^`]+)` )?\|$", page, re.MULTILINE))
    assert told == {check.id: check.mend for check in CHECKS}


@pytest.mark.parametrize(
    ("installed", "runs", "told", "mend"),
    [
        (("4.6.6", "2.21.1"), "2.21.1", "", ""),
        (("4.5.11", "2.21"), "", "", ""),
        (("4.6.3", "2.21.1"), "2.21.1", "jupyterlab 4.6.3, older than 4.5.11 or 4.6.4", None),
        (("4.5.10", "2.21.1"), "", "jupyterlab 4.5.10, older than 4.5.11 or 4.6.4", None),
        (("4.6.6", "2.21.0a0"), "", "jupyter_server 2.21.0a0, older than 2.21", None),
        (("4.6.6", "2.21.1"), "2.17.0", "jupyter_server 2.17.0, older than 2.21", lab.RESTART),
        (("4.6.6", "2.17.0"), "2.17.0", "jupyter_server 2.17.0, older than 2.21", None),
    ],
)
def test_a_lab_with_known_holes_is_named(installed, runs, told, mend):
    """Both packages count, and the server that still runs after an upgrade."""
    versions = dict(zip(("jupyterlab", "jupyter_server"), installed, strict=True))
    found = SimpleNamespace(
        facts=SimpleNamespace(
            python=SimpleNamespace(versions=versions), lab=SimpleNamespace(api=runs)
        )
    )
    if not told:
        assert lab.version(found) == "jupyterlab {}, jupyter_server {}".format(*installed)
        return
    with pytest.raises(Wrong, match=re.escape(told)) as error:
        lab.version(found)
    assert error.value.mend == mend and "CVE-2026-" in str(error.value)
