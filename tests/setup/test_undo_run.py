"""A whole undo on a model: its order, its guard, and what it reports."""

import io
import json

import pytest

from labfab import setup
from labfab.errors import SetupError
from labfab.host import journal
from labfab.host.shell import Result
from labfab.server import busy_kernels
from tests.fake import ADDRESS, alone, fake

__all__ = ["alone", "fake"]

ENTRIES = [
    journal.entry("user", "add the account lab", ["account lab"], number="1"),
    journal.entry("ssh", "refuse passwords", path="/etc/ssh/x.conf", number="2", sha256="0"),
    journal.entry("system", "upgrade 3 packages", number="3"),
    journal.entry("firewall", "switch the firewall on", ["firewall_off"], number="4"),
]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def journaled(fake):
    """A model with a journal; *undone* collects the numbers of the undone changes."""
    model = fake()
    model.undone, model.stay = [], {}
    text = "\n".join(map(json.dumps, ENTRIES))
    model.answers += [
        ("^cat .*journal.jsonl", Result(0, text, "")),
        ("^rm -rf /var/lib/labfab", Result(0, "", "")),
        ("# What an account has to log in with", lambda: Result(0, model.former, "")),
        ("sshd", Result(0, "", "")),
    ]
    model.former = "[login]\nhome=/root\npassword=P\nelsewhere=yes\n"
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


def test_access_comes_first_and_is_proven(journaled, capsys):
    setup.undo(journaled.c, yes=True)
    said = capsys.readouterr().out
    assert journaled.undone == ["4", "2", "1"]
    assert journaled.guard == ["arm", "disarm"] and journaled.logins == [("root", 22)]
    assert "undone: switch the firewall on" in said and "3 changes undone" in said
    assert f"log in as before: ssh root@{ADDRESS}" in said
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
    setup.undo(model.c, yes=True)
    assert (f"not undone: {why}" in capsys.readouterr().out) is named


def test_where_the_old_login_is_not_proven_nothing_is_undone(journaled):
    """What was undone under the guard does not count: the host has reverted it."""
    journaled.refused_logins = 1
    problem = f"nothing was undone: could not restore the login root@{ADDRESS}:22"
    with pytest.raises(SetupError, match=f"{problem}.*--prompt-for-login-password"):
        setup.undo(journaled.c, yes=True)
    assert journaled.undone == ["4", "2"] and journaled.guard == ["arm", "revert"]


def test_without_a_terminal_it_needs_yes_and_says_why(journaled, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    journaled.add_account("lab")
    with pytest.raises(SetupError) as error:
        setup.undo(journaled.c, to="user", force=True)
    said = str(error.value)
    assert "setup.undo needs --yes, because it would undo 3 changes on " in said
    assert ": the firewall's rules, sshd's settings, accounts and sudo; " in said
    assert "your notebooks are moved to /var/backups/labfab there, with the home of lab" in said
    assert said.endswith("setup.undo --to user --force --yes")
    assert journaled.undone == journaled.guard == []


@pytest.mark.parametrize("agreed", [True, False])
def test_on_a_terminal_it_asks_and_says_what_computes(journaled, monkeypatch, agreed):
    asked = []
    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("labfab.console.agreed", lambda text: asked.append(text) or agreed)
    monkeypatch.setattr(busy_kernels, "reasons", lambda c, want: ["a.ipynb is running code"])
    entries = [*ENTRIES, journal.entry("lab", "start JupyterLab", ["session lab x"], number="5")]
    text = "\n".join(map(json.dumps, entries))
    journaled.answers.insert(0, ("^cat .*journal.jsonl", Result(0, text, "")))
    if agreed:
        setup.undo(journaled.c)
        assert journaled.undone == ["4", "2", "5", "1"]
    else:
        with pytest.raises(SetupError, match="nothing was changed"):
            setup.undo(journaled.c)
        assert journaled.undone == []
    assert len(asked) == 1 and asked[0].startswith("undo 4 changes on ")
    assert "; a.ipynb is running code; " in asked[0] and asked[0].endswith("; go on?")


def test_nothing_to_undo_asks_nothing(fake, capsys):
    model = fake()
    model.answers += [
        ("^cat .*journal.jsonl", Result(0, "", "")),
        ("^rm -rf /var/lib/labfab", Result(0, "", "")),
    ]
    setup.undo(model.c)
    assert "nothing to undo" in capsys.readouterr().out


def with_key(model):
    """Let the journal say that labfab gave root the key with which it comes."""
    line = "lines /root/.ssh/authorized_keys 'ssh-ed25519 AAAA'"
    entries = [*ENTRIES, journal.entry("keys", "let your key log in", [line], number="6")]
    text = "\n".join(map(json.dumps, entries))
    model.answers.insert(0, ("^cat .*journal.jsonl", Result(0, text, "")))


def test_a_login_that_cannot_work_stops_it_before_anything_is_undone(journaled):
    with_key(journaled)
    journaled.former = "[login]\nhome=/root\npassword=L\n"
    with pytest.raises(SetupError, match="root has neither a key of yours nor a password"):
        setup.undo(journaled.c, yes=True)
    journaled.former = ""
    with pytest.raises(SetupError, match="nothing was undone: the account root, .* is gone"):
        setup.undo(journaled.c, yes=True)
    assert journaled.undone == journaled.guard == []


def test_a_password_is_asked_for_and_checked_before_anything_is_undone(
    journaled, monkeypatch, capsys
):
    with_key(journaled)
    journaled.former = "[login]\nhome=/root\npassword=P\n"
    journaled.answers += [
        ("printf %s wrong .*perl", Result(1, "", "")),
        ("printf %s right .*perl", Result(0, "", "")),
    ]
    with pytest.raises(SetupError, match="logs in with a password: .*LABFAB_LOGIN_PASSWORD"):
        monkeypatch.setattr("sys.stdin", io.StringIO())
        setup.undo(journaled.c, yes=True)
    assert journaled.undone == journaled.guard == []
    given = ["wrong", "right"]
    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("labfab.console.hidden", lambda *question: given.pop(0))
    setup.undo(journaled.again(), yes=True)
    assert journaled.undone == ["4", "2", "6", "1"] and not given
    assert f"that is not the password of root@{ADDRESS}:22" in capsys.readouterr().err


def test_what_stays_is_named_and_counted(journaled, capsys):
    journaled.stay["4"] = "labfab-note: look at it\nlabfab-stays: the rules, for they are yours\n"
    with pytest.raises(SetupError, match="2 changes undone, 1 stay"):
        setup.undo(journaled.c, yes=True)
    said = capsys.readouterr()
    assert "stays: the rules, for they are yours" in said.err and "look at it" in said.out


def test_what_is_worth_knowing_is_in_the_line_of_its_change(journaled, capsys):
    journaled.stay["4"] = "labfab-note: /x stays, for something is in it\n"
    setup.undo(journaled.c, yes=True)
    said = capsys.readouterr().out
    assert "undone: switch the firewall on; /x stays, for something is in it" in said


def test_a_stage_takes_all_that_came_after_it(journaled, capsys):
    setup.undo(journaled.c, to="firewall", yes=True)
    said = capsys.readouterr().out
    # The firewall decides who gets in too, so the present login is proven.
    assert journaled.undone == ["4"] and journaled.guard == ["arm", "disarm"]
    assert "1 change undone" in said and "what stays" not in said


def test_a_dry_run_lists_what_would_be_undone(fake, capsys):
    model = fake(dry=True)
    text = "\n".join(map(json.dumps, ENTRIES))
    model.answers.append(("^cat .*journal.jsonl", Result(0, text, "")))
    setup.undo(model.c, yes=True)
    said = capsys.readouterr().out
    assert "would undo: switch the firewall on" in said and "3 changes to undo" in said


def test_the_journal_is_shown_to_people_and_to_programs(journaled, capsys):
    setup.journal_(journaled.c)
    assert "firewall  done    switch the firewall on" in capsys.readouterr().out
    setup.journal_(journaled.c, json=True)
    found = json.loads(capsys.readouterr().out)["changes"]
    assert [row["state"] for row in found] == ["done", "done", "stays", "done"]
