"""Where the rig keeps things, so that two clones on one machine never meet."""

import fcntl
import hashlib
import sys
from contextlib import contextmanager
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
CACHE = REPO / ".cache"
CLONE = hashlib.sha256(str(REPO).encode()).hexdigest()[
    :8
]  # this clone, in names of containers and networks
LABEL = f"labfab.repo={REPO}"


class RigError(Exception):
    """Say in one line why no machine can be had and what helps."""


def say(text: str) -> None:
    """Tell the user what takes time or changes the machine."""
    print(f"labfab rig: {text}", file=sys.stderr, flush=True)


@contextmanager
def locked(name: str):
    """Let one process at a time through."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
