"""Hosts that a killed test run left behind."""

import os

from .engine import Engine
from .places import LABEL


def clear_leftovers(engine: Engine) -> None:
    """Remove hosts of this clone whose process died without stopping them."""
    rows = engine.run(
        "ps",
        "-a",
        "--no-trunc",
        "--filter",
        f"label={LABEL}",
        "--format",
        '{{.ID}} {{.Label "labfab.owner"}}',
    )
    for row in rows.splitlines():
        id, _, owner = row.partition(" ")
        if owner.isdigit() and not alive(int(owner)):
            engine.ok("rm", "-f", "-v", id)  # another worker may be removing it already


def alive(pid: int) -> bool:
    """Tell whether a process is there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
