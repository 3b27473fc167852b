"""A whole undo on a model: its order, its guard, and what it reports."""

import json

import pytest

from labfab import setup
from labfab.errors import SetupError
from labfab.host import journal
from labfab.host.shell import Result
from tests.fake import ADDRESS, alone, fake

__all__ = ["alone", "fake"]

ENTRIES = [
    journal.entry("user", "add the account lab", ["account lab"], number="1"),
    journal.entry("ssh", "refuse passwords", path="/etc/ssh/x.conf", number="2", sha256="0"),
    journal.entry("system", "upgrade 3 packages", number="3"),
    journal.entry("firewall", "switch the firewall on", ["ufw_off"], number="4"),
]


@pytest.fixture
def journaled(fake):
    """A model with a journal; *undone* collects the numbers of the undone changes."""
    model = fake()
    model.undone, model.stay = [], {}
    text = "\n".join(map(json.dumps, ENTRIES))
    model.answers += [
        ("^cat .*journal.jsonl", Result(0, text, "")),
        ("^rm -rf /var/lib/labfab", Result(0, "", "")),
        ("sshd", Result(0, "", "")),
    ]
    run = model.run

    def run_or_undo(script, on_line=None, timeout=120):
        if script.startswith("KEPT="):
            number = script.split()[0].rpartition("/")[2]
            model.undone.append(number)
            return Result(0, model.stay.get(number, ""), "")
        if script.startswith(
            "end_torn_line"
        ):  # what was undone in the window is marked after the proof
            return Result(0, "", "")
        return run(script, on_line, timeout)

    model.run = run_or_undo
    return model


def test_access_comes_after_the_rest_and_is_proven(journaled, capsys):
    setup.undo(journaled.c)
    said = capsys.readouterr().out
    assert journaled.undone == ["4", "2", "1"]
    assert journaled.guard == ["arm", "disarm"] and journaled.logins == [("root", 22)]
    assert "undone: switch the firewall on" in said and "3 changes undone" in said
    assert "not undone: upgrade 3 packages" in said


@pytest.mark.parametrize(
    ("stage", "why", "permanent", "named"),
    [
        ("system", "install Command Line Tools for Xcode 26.5-26.5", True, True),
        ("system", "begin the release upgrade", True, True),
        # Older versions did not note what is permanent: on Debian, on a Mac, and what is neither.
        ("system", "upgrade the system (7 packages)", False, True),
        ("system", "install macOS Tahoe 26.6-25G80 and restart", False, True),
        ("system", "fetch the package lists", False, False),
        ("power", "install a cover", False, False),
    ],
)
def test_the_end_names_what_is_permanent(fake, capsys, stage, why, permanent, named):
    model = fake()
    line = journal.entry(stage, why, permanent=permanent, number="1")
    assert ("permanent" in line) is permanent
    model.answers += [
        ("^cat .*journal.jsonl", Result(0, json.dumps(line), "")),
        ("^rm -rf /var/lib/labfab", Result(0, "", "")),
    ]
    setup.undo(model.c)
    assert (f"not undone: {why}" in capsys.readouterr().out) is named


def test_where_the_old_login_is_not_proven_the_account_stays(journaled, capsys):
    """What was undone under the guard does not count: the host has reverted it."""
    journaled.refused_logins = 1
    with pytest.raises(SetupError, match="1 change undone, 1 stay, see above: fix that"):
        setup.undo(journaled.c)
    assert journaled.undone == ["4", "2"] and journaled.guard == ["arm", "revert"]
    reason = f"stays: ssh, user: could not restore the login root@{ADDRESS}:22"
    said = capsys.readouterr().err
    assert reason in said and "LABFAB_LOGIN_PASSWORD" in said


def test_what_stays_is_named_and_counted(journaled, capsys):
    journaled.stay["4"] = "labfab-note: look at it\nlabfab-stays: the rules, for they are yours\n"
    with pytest.raises(SetupError, match="2 changes undone, 1 stay"):
        setup.undo(journaled.c)
    said = capsys.readouterr()
    assert "stays: the rules, for they are yours" in said.err and "look at it" in said.out


def test_what_is_worth_knowing_is_in_the_line_of_its_change(journaled, capsys):
    journaled.stay["4"] = "labfab-note: /x stays, for something is in it\n"
    setup.undo(journaled.c)
    said = capsys.readouterr().out
    assert "undone: switch the firewall on; /x stays, for something is in it" in said


def test_a_stage_takes_all_that_came_after_it(journaled, capsys):
    setup.undo(journaled.c, to="firewall")
    said = capsys.readouterr().out
    assert journaled.undone == ["4"] and journaled.guard == []
    assert "1 change undone" in said and "what stays" not in said


def test_a_dry_run_lists_what_would_be_undone(fake, capsys):
    model = fake(dry=True)
    text = "\n".join(map(json.dumps, ENTRIES))
    model.answers.append(("^cat .*journal.jsonl", Result(0, text, "")))
    setup.undo(model.c)
    said = capsys.readouterr().out
    assert "would undo: switch the firewall on" in said and "3 changes to undo" in said


def test_the_journal_is_shown_to_people_and_to_programs(journaled, capsys):
    setup.journal_(journaled.c)
    assert "firewall  done    switch the firewall on" in capsys.readouterr().out
    setup.journal_(journaled.c, json=True)
    found = json.loads(capsys.readouterr().out)["changes"]
    assert [row["state"] for row in found] == ["done", "done", "stays", "done"]
