"""A stranger's text on your terminal: nothing in it moves the cursor, hides, reorders or pretends."""

import json
import os
import pty
import re
import sys
import threading
import time
import unicodedata

import pytest

from labfab import console, text
from labfab.check import table
from labfab.check.findings import FAIL, OK
from labfab.check.rows import Check, Row
from labfab.errors import SetupError
from labfab.fleet import recap, view
from labfab.fleet.member import FAILED, WORKING, Member
from labfab.stages import files
from labfab.stages.lab import notebook_jobs

BAD = (
    "\x00\x07\x08\x0b\x0c\x0d\x1b\x7f\x80\x85\x90\x9b\x9c\x9d\xad\u061c\u180e\u200b\u200c\u200d\u200e"
    "\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff\ufff9\U000e0041"
    "\u115f\u3164\u2800\udc9b"
)
HOSTILE = (
    "\x1b]0;PWNED\x07\x1b]52;c;cHduZWQ=\x1b\\\x1b[2J\x9b31m\r[box] all is well\n[box] all is well"
    + BAD
)


def test_whatever_unicode_calls_control_or_format_is_replaced():
    for number in range(sys.maxunicode + 1):
        character = chr(number)
        category = unicodedata.category(character)
        harmful = category in ("Cc", "Cf", "Cs", "Zl", "Zp") and character not in "\t\n"
        if harmful or number < 128:
            expected = "?" if harmful else character
            assert text.printable(character) == expected, hex(number)
    assert set(text.printable(BAD)) == {"?"}


@pytest.mark.parametrize(
    "plain", ["ü", "日本", "Привет", "a\xa0b", "→ …", "👍🏽", "\u0301", "\ue0b0"]
)
def test_what_people_write_stays(plain):
    assert text.printable(plain) == text.one_line(plain) == plain
    assert json.loads(text.json_text([plain])) == [plain] and plain in text.json_text([plain])


def test_one_line_is_one_line():
    assert text.one_line("a \r\n\t b\nc\u2028d") == "a b c?d"


def test_one_line_takes_no_longer_for_many_blanks():
    """A host may put a million of them in a log."""
    began = time.monotonic()
    assert text.one_line(" " * 10**6 + "x") == " " * 10**6 + "x"
    assert time.monotonic() - began < 10


def test_json_keeps_everything_and_shows_nothing():
    said = text.json_text({"x": HOSTILE, HOSTILE: ["\n"]})
    assert json.loads(said) == {"x": HOSTILE, HOSTILE: ["\n"]}
    assert text.printable(said) == said


def check(id: str) -> Check:
    return Check(id=id, title="it is so", mend="", needs=(), ask=lambda probe: "")


def rows() -> list[Row]:
    return [Row(check("ssh-x"), OK, HOSTILE), Row(check("ssh-y"), FAIL, HOSTILE, HOSTILE)]


def member(state: str) -> Member:
    found = Member("box", None)
    found.state, found.now, found.error, found.problem = state, HOSTILE, HOSTILE, HOSTILE
    found.said = [text.printable(line) for line in HOSTILE.splitlines()]
    return found


def work() -> None:
    with console.working("box", HOSTILE) as tell:
        tell(HOSTILE)


def block() -> None:
    shown = view.Block([member(WORKING), member(FAILED)], sys.stdout)
    shown.warn(member(FAILED), HOSTILE)
    shown.put(HOSTILE)
    shown.answer(member(FAILED))
    shown.draw()


JOB = dict.fromkeys(("job", "state", "notebook", "error", "kernel", "folder"), HOSTILE) | {
    "cell": 1,
    "cells": 2,
    "started": 1.0,
    "submitted": 1.0,
    "ended": 2.0,
}

SOURCES = {
    "line": lambda: console.say(HOSTILE.replace("\n", "")),
    "note": lambda: console.note(HOSTILE),
    "warning": lambda: console.warn(HOSTILE),
    "change": lambda: console.changed("box", HOSTILE, 3),
    "plan": lambda: console.planned("box", HOSTILE, HOSTILE.replace("\n", "")),
    "progress": work,
    "check": lambda: table.show(HOSTILE, rows()),
    "check as lines": lambda: table.print_lines(rows()),
    "check as JSON": lambda: print(table.as_json(HOSTILE, rows())),
    "error": lambda: print(SetupError(HOSTILE, host=HOSTILE)),
    "jobs": lambda: console.say(notebook_jobs.row(JOB, 3.0)),
    "jobs as JSON": lambda: console.say(notebook_jobs.as_json(HOSTILE, [JOB])),
    "names": lambda: console.say(files.first_names([HOSTILE])),
    "recap": lambda: print(recap.table([member(FAILED)], None)),
    "recap as JSON": lambda: print(recap.document([member(FAILED)])),
    "fleet": block,
    "fleet in a pipe": lambda: view.View([], sys.stdout).failed(member(FAILED)),
}
OURS = (console.CLEAR, "\x1b[K", "\x1b[J", "\r\n")


def shown(monkeypatch, source) -> str:
    """What reaches a terminal, without the colors of tables and the moves of our own."""
    parent, child = pty.openpty()
    heard = bytearray()

    def listen() -> None:
        while True:
            try:
                data = os.read(parent, 65536)
            except OSError:
                return
            if not data:
                return
            heard.extend(data)

    listener = threading.Thread(target=listen)
    listener.start()
    with (
        open(child, "w", encoding="utf-8", errors="strict") as screen,
        monkeypatch.context() as patch,
    ):
        patch.setattr(sys, "stdout", screen)
        patch.setattr(sys, "stderr", screen)
        patch.setattr(console, "alone", True)
        patch.setenv("COLUMNS", "4000"), patch.setenv("TERM", "xterm")
        try:
            source()
        finally:
            patch.setattr(console, "moving", False)
    listener.join(10)
    os.close(parent)
    return heard.decode()


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_nothing_of_it_reaches_the_terminal(monkeypatch, source):
    said = shown(monkeypatch, source)

    plain = re.sub(r"\x1b\[[0-9;]*m|\x1b\[\d+A\r|\r?\x1b\[[KJ]|\r\n", "\n", said)
    assert "all is well" in plain
    assert text.printable(plain) == plain
    # Colors and moves of ours are whole sequences; none of the stranger's is among them.
    assert "\x1b]" not in said and "\x1b[2J" not in said and "\x9b" not in said


@pytest.mark.parametrize(
    "source",
    ["note", "warning", "change", "check as lines", "error", "jobs", "names", "fleet in a pipe"],
)
def test_it_begins_no_line_that_looks_like_ours(monkeypatch, source):
    lines = shown(monkeypatch, SOURCES[source]).splitlines()
    assert not [line for line in lines if line.startswith("[box] all")]
    assert len([line for line in lines if line.strip()]) == (2 if "check" in source else 1)
