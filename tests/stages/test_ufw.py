"""The rules in /etc/ufw/user.rules: which open a port to everybody, and how each is deleted."""

import pytest

from labfab.facts import facts, records
from labfab.platforms import debian
from tests import fake as models
from tests.facts.test_facts import read, stand_in

alone, fake = models.alone, models.fake
__all__ = ["read"]
# As ufw 0.36.2 writes them.
OPEN = {
    "allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in": "allow 22/tcp",
    "allow any 22 0.0.0.0/0 any 0.0.0.0/0 in": "allow 22",
    "limit tcp 22 0.0.0.0/0 any 0.0.0.0/0 in": "limit 22/tcp",
    "allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in comment=6d7920706f7274": "allow 22/tcp comment my port",
    "limit any 22 0.0.0.0/0 any 0.0.0.0/0 in comment=7a776569": "limit 22 comment zwei",
    "allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 OpenSSH - in": "allow OpenSSH",
    "limit tcp 22 0.0.0.0/0 any 0.0.0.0/0 My%20SSH - in comment=78": "limit My SSH comment x",
    "allow_log tcp 22 0.0.0.0/0 any 0.0.0.0/0 in": "allow log 22/tcp",
    "limit_log-all tcp 22 0.0.0.0/0 any 0.0.0.0/0 in": "limit log-all 22/tcp",
}
CLOSED = [
    "allow any 22 0.0.0.0/0 any 198.51.100.7 in",
    "allow tcp 22 0.0.0.0/0 any 198.51.100.0/24 in",
    "allow any 22 10.1.2.3 any 0.0.0.0/0 in",
    "allow any 22 0.0.0.0/0 any 0.0.0.0/0 in_eth0",
    "allow udp 22 0.0.0.0/0 any 0.0.0.0/0 in",
    "allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 out",
    "allow tcp 22 0.0.0.0/0 555 0.0.0.0/0 in",
    "allow tcp any 0.0.0.0/0 22 0.0.0.0/0 - OpenSSH in",
    "route:allow any 22 0.0.0.0/0 any 0.0.0.0/0 in",
    "deny tcp 22 0.0.0.0/0 any 0.0.0.0/0 in",
]


@pytest.fixture
def firewall(read, fake, tmp_path):
    """What labfab knows about a host whose ufw has these rules."""

    def give(*tuples: str) -> records.Firewall:
        (tmp_path / "user.rules").write_text(
            "*filter\n" + "".join(f"\n### tuple ### {one}\n-A x\n" for one in tuples)
        )
        path = stand_in(tmp_path, "ufw", "echo Status: active")
        found = read(
            "firewall", path=path, instead=("/etc/ufw/user.rules", f"{tmp_path}/user.rules")
        )
        model = fake()
        model.sections |= found
        return facts(model.c).firewall

    return give


@pytest.mark.parametrize("rule, words", OPEN.items())
def test_a_rule_for_everybody_opens_the_port(firewall, rule, words):
    """The whole rule is known, from action to comment, so it can be deleted and restored."""
    have = firewall(rule)
    assert have.allowed == {22} and [" ".join(one) for one in have.rules[22]] == [words]


@pytest.mark.parametrize("rule", CLOSED)
def test_a_rule_for_somebody_does_not(firewall, rule):
    """A source, interface, own address, direction or protocol: not open to everybody."""
    assert firewall(rule).allowed == set()


def test_a_port_may_have_several_rules_and_a_rule_several_ports(firewall):
    """Both count; a rule for several ports is never deleted."""
    rest = "0.0.0.0/0 any 0.0.0.0/0"
    have = firewall(
        f"limit tcp 22 {rest} in",
        f"allow tcp 22 {rest} OpenSSH - in",
        f"allow tcp 80,443 {rest} in",
    )
    assert have.allowed == {22, 80, 443}
    assert have.rules == {22: [("limit", "22/tcp"), ("allow", "OpenSSH")], 80: [], 443: []}


PARTIAL = {
    "allow tcp 22 0.0.0.0/0 any 198.51.100.0/24 in comment=6f66": (
        "allow proto tcp from 198.51.100.0/24 to any port 22 comment of"
    ),
    "limit any 22 10.1.2.3 any 0.0.0.0/0 in": "limit from any to 10.1.2.3 port 22",
    "allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in_eth0": (
        "allow in on eth0 proto tcp from any to any port 22"
    ),
    "deny_log tcp 22,80 0.0.0.0/0 any 0.0.0.0/0 in": (
        "deny log proto tcp from any to any port 22,80"
    ),
    "allow tcp 22 0.0.0.0/0 any 198.51.100.7 Open%20SSH - in": (
        "allow from 198.51.100.7 to any app Open SSH"
    ),
}


@pytest.mark.parametrize("rule, words", PARTIAL.items())
def test_a_rule_for_some_senders_is_known_by_the_words_that_write_it(firewall, rule, words):
    have = firewall(rule)
    assert [" ".join(one) for one in have.partial[22]] == [words]
    assert have.opens_for_some(22) is ("deny" not in words)


def test_ranges_and_limits_are_read(firewall):
    rest = "0.0.0.0/0 any 0.0.0.0/0 in"
    have = firewall(
        f"allow tcp 8000:8010 {rest}",
        f"limit tcp 22,80 {rest}",
        f"allow any 5:6 {rest}",
        f"deny tcp 7:9 {rest}",
    )
    assert have.lets_in(8005) and not have.lets_in(7999) and not have.lets_in_udp(8005)
    assert (
        not have.lets_in(8) and have.lets_in_udp(6) and have.lets_in(6) and have.limited == {22, 80}
    )


def test_a_copied_rule_is_for_the_new_port_alone(fake):
    """A profile of ufw and a list of ports stand for others; such a rule also stays."""
    assert " ".join(debian.for_port(("allow", "from", "a", "to", "any", "app", "x"), 9)) == (
        "allow proto tcp from a to any port 9"
    )
    assert debian.for_port(("deny", "from", "a", "to", "any", "port", "22,80"), 9)[-1] == "9"
    model = fake()
    rule = ("deny", "from", "192.0.2.7", "to", "any", "port", "22,80")
    debian.delete_rule(model.c, rule, 22)
    assert model.whys == []


def test_closing_a_port_deletes_each_of_its_rules(fake):
    """It is deleted by its own action; the undo is the same rule with its comment."""
    model = fake()
    model.sections["firewall"]["allowed.22"] = "limit 22/tcp comment=6d79 ;allow OpenSSH"
    debian.close_port(model.c, 22)
    assert [write.command.split(");")[0] for write in model.writes] == [
        "said=$(LC_ALL=C ufw delete limit 22/tcp",
        "said=$(LC_ALL=C ufw delete allow OpenSSH",
    ]
    assert model.whys == ["close port 22 (limit 22/tcp)", "close port 22 (allow OpenSSH)"]
    told = [script for script in model.told if "journal.jsonl" in script]
    assert (
        '"undo": ["firewall limit 22/tcp comment my"]' in told[0]
        and '"undo": ["firewall allow OpenSSH"]' in told[1]
    )
    assert model.sections["firewall"] == {}


def test_nothing_says_closed_where_nothing_was_deleted(fake, capsys):
    """A rule that other ports need stays, and a note says so."""
    model = fake()
    model.sections["firewall"] |= {"allowed.22": "", "allowed.80": ""}
    debian.close_port(model.c, 22)
    assert model.whys == [] and "port 22 stays open in the firewall" in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    "said, code",
    [("Rule deleted", 0), ("Rules updated", 0), ("Could not delete non-existent rule", 1)],
)
def test_ufws_own_words_decide(tmp_path, said, code):
    """ufw also succeeds if there is no such rule."""
    import os
    import subprocess

    path = stand_in(tmp_path, "ufw", f"echo {said}") + os.environ["PATH"]
    done = subprocess.run(
        ["sh", "-c", debian.DELETE_RULE + " x" + debian.DELETED],
        env={"PATH": path},
        capture_output=True,
    )
    assert done.returncode == code
