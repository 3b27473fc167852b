"""Journal: what was done to a host, and the way back.

Lives on the host in /var/lib/labfab, for root only: `journal.jsonl` with one line a change, `before/` with the
files as they were. A line is written before the change it tells of, so that a run cut off in the middle is known too.
A second kind of line, {"undone": NUMBER}, says that a change was taken back (undo.py).
"""

from __future__ import annotations

import json
import secrets
import shlex
import time
from collections.abc import Sequence
from typing import NamedTuple

from .. import decode

FOLDER = "/var/lib/labfab"
UNKNOWN = 1  # exit code where the journal has no such line, as grep has it
FULL = 73  # exit code for a journal that cannot be written; EX_CANTCREAT of sysexits.h
# Runs in front of each change, in the same frame, so the journal costs no round trip.
NOTE = f"""KEPT={FOLDER}/before/{{number}}
mkdir -p -m 700 {FOLDER} {FOLDER}/before && printf '%s\\n' {{line}} >>{FOLDER}/journal.jsonl || exit {FULL}
"""
# Of a link that leads to a file both are kept, the content beside it.
KEEP = f"""if [ -e {{path}} ] || [ -L {{path}} ]; then cp -a {{path}} {FOLDER}/before/{{number}} || exit {FULL}; fi
if [ -L {{path}} ] && [ -f {{path}} ]; then cp -aL {{path}} {FOLDER}/before/{{number}}.content || exit {FULL}; fi
"""
# Of a folder only mode and owner are kept. The copies lie side by side, so / reads % in their names.
ASIDE = f"""mkdir -p {FOLDER}/before/{{number}}.kept && if [ -d {{path}} ]; then
  mkdir {{copy}} && chmod "$(mode_of {{path}})" {{copy}} && chown "$(ids_of {{path}})" {{copy}}
elif [ -e {{path}} ] || [ -L {{path}} ]; then cp -a {{path}} {{copy}}; fi || exit {FULL}
if [ -L {{path}} ] && [ -f {{path}} ]; then cp -aL {{path}} {{copy}}.content || exit {FULL}; fi
"""
READ = f"cat {FOLDER}/journal.jsonl 2>/dev/null || true"
SSHD_READS = (
    "sshd_reads"  # as an undo: nothing to do by itself, sshd reads its files once all are back
)


class Entry(NamedTuple):
    """One change that was made, as the journal tells of it."""

    number: str
    time: int
    stage: str
    why: str
    undo: list[str] = []  # a command of undo.sh; none: by the file, or no way back
    path: str = ""  # the file that it wrote
    sha256: str = ""  # of what it wrote there
    run: str = ""  # the run that it was made in
    step: int = 0  # of that run: what had its turn later comes later, also where it was done ahead
    undone: bool = False

    @property
    def state(self) -> str:
        """What is left of it: done, undone, or stays (it has no way back)."""
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
    """One line of the journal.

    undo: a command, path: a file kept as before/NUMBER, sha256: of what will be in it. keep: more files and folders
    that the command wants to know as they were.
    """
    line = {"number": number or new_number(), "time": int(time.time()), "stage": stage, "why": why}
    more = {"undo": list(undo), "path": path, "sha256": sha256, "keep": list(keep)}
    return line | {name: value for name, value in more.items() if value}


def knows(line: dict[str, object]) -> str:
    """The shell text that ends with UNKNOWN where an entry was not begun to be written."""
    return f"[ -e {FOLDER}/journal.jsonl ] || exit {UNKNOWN}; grep -qF {line['number']} {FOLDER}/journal.jsonl"


def new_number() -> str:
    """A name for an entry that two runs cannot share."""
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(4)}"


def command(line: dict[str, object]) -> str:
    """The shell text that writes an entry, and keeps the files it speaks of."""
    number = line["number"]
    text = NOTE.format(number=number, line=shlex.quote(json.dumps(line, ensure_ascii=False)))
    if "path" in line:
        text += KEEP.format(path=shlex.quote(str(line["path"])), number=number)
    for path in line.get("keep", []):
        copy = f"{FOLDER}/before/{number}.kept/{path.replace('/', '%')}"
        text += ASIDE.format(path=shlex.quote(path), copy=shlex.quote(copy), number=number)
    return text


def parse(text: str) -> list[Entry]:
    """The entries of a journal, in the order of the work; half a line, left by a power cut, is passed over."""
    lines = []
    for line in text.splitlines():
        try:
            line = json.loads(line.encode())  # what is not UTF-8 is passed over too
        except ValueError:
            continue
        lines += [line] if isinstance(line, dict) else []
    undone = {line["undone"] for line in lines if isinstance(line.get("undone"), str)}
    entries = [
        decode.made(Entry, line | {"undone": line["number"] in undone})
        for line in lines
        if "number" in line
    ]
    first = {entry.run or entry.number: place for place, entry in reversed([*enumerate(entries)])}
    return sorted(entries, key=lambda entry: (first[entry.run or entry.number], entry.step))


def mark(numbers: Sequence[str]) -> str:
    """The shell text that marks entries as taken back."""
    now = int(time.time())
    lines = [shlex.quote(json.dumps({"undone": number, "time": now})) for number in numbers]
    return f"printf '%s\\n' {' '.join(lines)} >>{FOLDER}/journal.jsonl"
