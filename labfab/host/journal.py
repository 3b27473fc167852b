"""Journal: what was done to a host, and how to undo it.

It is in /var/lib/labfab on the host, accessible to root only: `journal.jsonl` has one line for each
change, and `before/` holds the files as they were. A line is written before its change, so the
journal of an interrupted run is complete. A second kind of line, {"undone": NUMBER}, says that a
change was undone (setup/undoing.py).
"""

from __future__ import annotations

import json
import secrets
import shlex
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

from .. import decode
from ..errors import SetupError

FOLDER = "/var/lib/labfab"
UNKNOWN = 1  # exit code if the journal has no such line, as grep's
FULL = 73  # exit code if the journal cannot be written; EX_CANTCREAT of sysexits.h
# Runs before each change, in the same frame, so the journal costs no round trip.
WRITE_LINE = f"""KEPT={FOLDER}/before/{{number}}
mkdir -p -m 700 {FOLDER} {FOLDER}/before && end_torn_line {FOLDER}/journal.jsonl &&
  printf '%s\\n' {{line}} >>{FOLDER}/journal.jsonl || exit {FULL}
"""
# The words of words.sh read what an account can choose as that account.
COPY_FILE = f"keep {{path}} {FOLDER}/before/{{number}} || exit\n"
# For a folder, only mode and owner are kept. All copies are in one folder, with % for / in names.
COPY_KEPT = f"""mkdir -p {FOLDER}/before/{{number}}.kept || exit {FULL}
keep {{path}} {{copy}} anything || exit
"""
READ = f"cat {FOLDER}/journal.jsonl 2>/dev/null || true"
# An undo command that does nothing: sshd is reloaded once all its files are restored.
SSHD_READS = "sshd_reads"


class Entry(NamedTuple):
    """One change, as the journal describes it."""

    number: str
    time: int
    stage: str
    why: str
    # A command of undo.sh; empty: restore the file, or there is no way back.
    undo: list[str] = []
    # The file that the change wrote, and the checksum of its content.
    path: str = ""
    sha256: str = ""
    # The run that made the change.
    run: str = ""
    # The stage's number in that run; early work has the number of its stage.
    step: int = 0
    undone: bool = False
    # The end of an undo names it, because it cannot be undone.
    permanent: bool = False

    @property
    def state(self) -> str:
        """Return what became of it: done, undone, or stays (there is no way back)."""
        return "undone" if self.undone else "done" if self.undo or self.path else "stays"

    @property
    def lasting(self) -> bool:
        """Return whether an undo must say that this stays.

        Older versions did not note it: upgrades have to be told from their reasons then.
        """
        if self.permanent:
            return True
        upgrade = self.why.startswith(("upgrade ", "install "))
        return self.stage == "system" and self.state == "stays" and upgrade


def entry(
    stage: str,
    why: str,
    undo: Sequence[str] = (),
    path: str = "",
    number: str = "",
    sha256: str = "",
    keep: Sequence[str] = (),
    permanent: bool = False,
) -> dict[str, object]:
    """Return one line of the journal.

    undo: a command. path: a file, kept as before/NUMBER. sha256: of its new content.
    keep: more files and folders to copy, because the undo command needs them as they were.
    permanent: setup.undo says that this stays.
    """
    line = {"number": number or new_number(), "time": int(time.time()), "stage": stage, "why": why}
    more = {
        "undo": list(undo),
        "path": path,
        "sha256": sha256,
        "keep": list(keep),
        "permanent": permanent,
    }
    return line | {name: value for name, value in more.items() if value}


def grep_command(line: Mapping[str, object]) -> str:
    """Return the shell text that exits with UNKNOWN if the journal does not have this entry."""
    file = f"{FOLDER}/journal.jsonl"
    return f"[ -e {file} ] || exit {UNKNOWN}; grep -qF {line['number']} {file}"


def new_number() -> str:
    """Return an entry's number, which no other run can have."""
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(4)}"


def command(line: Mapping[str, object]) -> str:
    """Return the shell text that writes an entry and copies the files that it keeps."""
    number = line["number"]
    text = WRITE_LINE.format(number=number, line=shlex.quote(json.dumps(line, ensure_ascii=False)))
    if "path" in line:
        text += COPY_FILE.format(path=shlex.quote(str(line["path"])), number=number)
    for path in cast(Sequence[str], line.get("keep", [])):
        copy = f"{FOLDER}/before/{number}.kept/{path.replace('/', '%')}"
        text += COPY_KEPT.format(path=shlex.quote(path), copy=shlex.quote(copy), number=number)
    return text


def parse(text: str) -> list[Entry]:
    """Read the entries of a journal, in the order of the stages.

    A line that a power cut left incomplete is skipped. Raises SetupError for a whole one that is no
    entry, because nobody knows what it changed.
    """
    lines = []
    # splitlines() would split at characters that stand in names.
    for line in text.split("\n"):
        try:
            # encode() raises ValueError for what is not UTF-8, so that is skipped too.
            line = decode.parsed(line.encode())
        except ValueError:
            continue
        lines += [line] if isinstance(line, dict) else []
    undone = {line["undone"] for line in lines if isinstance(line.get("undone"), str)}
    entries = [one._replace(undone=one.number in undone) for one in map(entry_from, lines) if one]
    first = {entry.run or entry.number: place for place, entry in reversed([*enumerate(entries)])}
    return sorted(entries, key=lambda entry: (first[entry.run or entry.number], entry.step))


def entry_from(line: dict[str, Any]) -> Entry | None:
    """Return the entry of a line; None if the line is of another kind. Raises SetupError."""
    if "number" not in line:
        return None
    try:
        return decode.record(Entry, line | {"undone": False})
    except ValueError as error:
        raise SetupError(
            f"{FOLDER}/journal.jsonl has a line that is no entry ({error}): "
            "find out there, as root, who wrote it"
        ) from None


def mark_undone(numbers: Sequence[str]) -> str:
    """Return the shell text that marks entries as undone."""
    now = int(time.time())
    lines = [shlex.quote(json.dumps({"undone": number, "time": now})) for number in numbers]
    place = f"{FOLDER}/journal.jsonl"
    return f"end_torn_line {place}; printf '%s\\n' {' '.join(lines)} >>{place}"
