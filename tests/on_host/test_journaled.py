"""Which accounts the journal knows: those that labfab made, and those whose files it has changed."""

import json
import subprocess

import pytest

from labfab.host import journal
from labfab.on_host import loader


def said(tmp_path, *lines: dict) -> set[str]:
    """Ask the word of a journal with these lines, about lab."""
    file = tmp_path / "journal.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    words = loader.script("words", "Linux").replace("/var/lib/labfab/journal.jsonl", str(file))
    asked = f"{words}\njournaled lab /home/lab"
    done = subprocess.run(["sh", "-c", asked], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def entry(number: str, **more) -> dict:
    return journal.entry("user", "a reason", number=number, **more)


UNDONE = {"undone": "1", "time": 1}
MADE = entry("1", undo=["account lab"], keep=["/home/lab"])
WORKED = entry("1", path="/home/lab/.ssh/authorized_keys")


@pytest.mark.parametrize(
    "lines, expected",
    [
        ([], set()),
        ([MADE], {"lab.ours=yes"}),
        ([WORKED], {"lab.known=yes"}),
        ([MADE, UNDONE], set()),
        ([WORKED, UNDONE], set()),
        ([MADE, UNDONE, entry("2", undo=["account lab"])], {"lab.ours=yes"}),
        ([entry("1", undo=["account labor"]), entry("2", path="/home/labor/.profile")], set()),
        # What a stopped run of an earlier version left: it made nobody an owner.
        ([entry("1", undo=["group lab sudo"]), entry("2", undo=["password lab"])], set()),
    ],
)
def test_what_the_journal_says_of_an_account(tmp_path, lines, expected):
    assert said(tmp_path, *lines) == expected


def test_without_a_journal_nobody_is_known(tmp_path):
    words = loader.script("words", "Linux").replace("/var/lib/labfab", str(tmp_path / "none"))
    asked = f"{words}\njournaled lab /home/lab"
    done = subprocess.run(["sh", "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout == ""
