"""Journal: what was done to a host, and the way back.

Lives on the host in /var/lib/labfab, for root only: `journal.jsonl` with one line a change, `before/` with the
files as they were. A line is written before the change it tells of, so that a run cut off in the middle is known too.
"""

from __future__ import annotations

import json
import secrets
import shlex
import time
from collections.abc import Sequence

FOLDER = "/var/lib/labfab"
FULL = 73  # exit code for a journal that cannot be written; EX_CANTCREAT of sysexits.h
# Runs in front of each change, in the same frame, so the journal costs no round trip.
NOTE = f"mkdir -p -m 700 {FOLDER} {FOLDER}/before && printf '%s\\n' {{line}} >>{FOLDER}/journal.jsonl || exit {FULL}\n"
KEEP = f"""if [ -e {{path}} ] || [ -L {{path}} ]; then cp -a {{path}} {FOLDER}/before/{{number}} || exit {FULL}; fi
"""


def entry(stage: str, why: str, undo: Sequence[str] = (), path: str = "", number: str = "") -> dict[str, object]:
    """One line of the journal. undo: a command with its arguments, path: a file kept as before/NUMBER."""
    line = {"number": number or new_number(), "time": int(time.time()), "stage": stage, "why": why}
    return line | ({"undo": list(undo)} if undo else {}) | ({"path": path} if path else {})


def new_number() -> str:
    """A name for an entry that two runs cannot share."""
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(4)}"


def command(line: dict[str, object]) -> str:
    """The shell text that writes an entry, and keeps the file it speaks of."""
    text = NOTE.format(line=shlex.quote(json.dumps(line, ensure_ascii=False)))
    if "path" in line:
        text += KEEP.format(path=shlex.quote(str(line["path"])), number=line["number"])
    return text
