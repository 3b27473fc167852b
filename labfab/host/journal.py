"""Journal: what was done to a host, and how to take it back.

It lies on the host in /var/lib/labfab, for root only: `journal.jsonl` has one line for each change,
`before/` the files as they were. A line is written before its change, so that an interrupted run is
known too. A second kind of line, {"undone": NUMBER}, says that a change was taken back (setup/undo.py).
"""

from __future__ import annotations

import json
import secrets
import shlex
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

from .. import decode

FOLDER = "/var/lib/labfab"
UNKNOWN = 1  # exit code if the journal has no such line, like grep's
FULL = 73  # exit code if the journal cannot be written; EX_CANTCREAT of sysexits.h
# Runs in front of each change, in the same frame: the journal costs no round trip.
NOTE = f"""KEPT={FOLDER}/before/{{number}}
mkdir -p -m 700 {FOLDER} {FOLDER}/before && printf '%s\\n' {{line}} >>{FOLDER}/journal.jsonl || exit {FULL}
"""
# Of a link to a file, both the link and the content are kept.
KEEP = f"""if [ -e {{path}} ] || [ -L {{path}} ]; then cp -a {{path}} {FOLDER}/before/{{number}} || exit {FULL}; fi
if [ -L {{path}} ] && [ -f {{path}} ]; then cp -aL {{path}} {FOLDER}/before/{{number}}.content || exit {FULL}; fi
"""
# Of a folder, only mode and owner are kept. All copies lie in one folder, with % for / in their names.
ASIDE = f"""mkdir -p {FOLDER}/before/{{number}}.kept && if [ -d {{path}} ]; then
  mkdir {{copy}} && chmod "$(mode_of {{path}})" {{copy}} && chown "$(ids_of {{path}})" {{copy}}
elif [ -e {{path}} ] || [ -L {{path}} ]; then cp -a {{path}} {{copy}}; fi || exit {FULL}
if [ -L {{path}} ] && [ -f {{path}} ]; then cp -aL {{path}} {{copy}}.content || exit {FULL}; fi
"""
READ = f"cat {FOLDER}/journal.jsonl 2>/dev/null || true"
# As an undo: nothing to do by itself, for sshd is reloaded once all its files are restored.
SSHD_READS = "sshd_reads"


class Entry(NamedTuple):
    """One change, as the journal describes it."""

    number: str
    time: int
    stage: str
    why: str
    undo: list[str] = []  # a command of undo.sh; none: restore the file, or there is no way back
    path: str = ""  # the file that it wrote
    sha256: str = ""  # of what it wrote
    run: str = ""  # the run that made it
    step: int = 0  # of the stage in that run; early work has the step of its stage
    undone: bool = False

    @property
    def state(self) -> str:
        """Tell what became of it: done, undone, or stays (there is no way back)."""
        return "undone" if self.undone else "done" if self.undo or self.path else "stays"


def entry(
    stage: str,
    why: str,
    undo: Sequence[str] = (),
    path: str = "",
    number: str = "",
    sha256: str = "",
    keep: Sequence[str] = (),
) -> dict[str, object]:
    """Make one line of the journal.

    undo: a command. path: a file, kept as before/NUMBER. sha256: of what will be in it.
    keep: more files and folders that the undo command needs as they were.
    """
    line = {"number": number or new_number(), "time": int(time.time()), "stage": stage, "why": why}
    more = {"undo": list(undo), "path": path, "sha256": sha256, "keep": list(keep)}
    return line | {name: value for name, value in more.items() if value}


def knows(line: Mapping[str, object]) -> str:
    """Give the shell text that exits with UNKNOWN if the journal does not have this entry."""
    return f"[ -e {FOLDER}/journal.jsonl ] || exit {UNKNOWN}; grep -qF {line['number']} {FOLDER}/journal.jsonl"


def new_number() -> str:
    """Make a name for an entry that no other run can make."""
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(4)}"


def command(line: Mapping[str, object]) -> str:
    """Give the shell text that writes an entry and keeps its files."""
    number = line["number"]
    text = NOTE.format(number=number, line=shlex.quote(json.dumps(line, ensure_ascii=False)))
    if "path" in line:
        text += KEEP.format(path=shlex.quote(str(line["path"])), number=number)
    for path in cast(Sequence[str], line.get("keep", [])):
        copy = f"{FOLDER}/before/{number}.kept/{path.replace('/', '%')}"
        text += ASIDE.format(path=shlex.quote(path), copy=shlex.quote(copy), number=number)
    return text


def parse(text: str) -> list[Entry]:
    """Read the entries of a journal, in the order of the stages.

    Half a line, left by a power cut, is skipped.
    """
    lines = []
    for line in text.splitlines():
        try:
            line = json.loads(line.encode())  # what is not UTF-8 is skipped too
        except ValueError:
            continue
        lines += [line] if isinstance(line, dict) else []
    undone = {line["undone"] for line in lines if isinstance(line.get("undone"), str)}
    entries = [
        decode.record(Entry, line | {"undone": line["number"] in undone})
        for line in lines
        if "number" in line
    ]
    first = {entry.run or entry.number: place for place, entry in reversed([*enumerate(entries)])}
    return sorted(entries, key=lambda entry: (first[entry.run or entry.number], entry.step))


def mark(numbers: Sequence[str]) -> str:
    """Give the shell text that marks entries as taken back."""
    now = int(time.time())
    lines = [shlex.quote(json.dumps({"undone": number, "time": now})) for number in numbers]
    return f"printf '%s\\n' {' '.join(lines)} >>{FOLDER}/journal.jsonl"
