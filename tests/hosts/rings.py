"""The ring of tests that boots machines: it gets an engine before it starts."""

from contextlib import contextmanager

from . import dockerd, network
from .engine import find, running
from .places import RigError


@contextmanager
def engine():
    """Have an engine running, saying aloud what that takes; one of our own ends with the tests.

    Without any, the tests themselves decide: they are skipped on a laptop and fail in CI.
    """
    before = running()
    try:
        found = before or find()
    except RigError:
        found = None
    try:
        yield
    finally:
        if found and not before and dockerd.PID.exists():
            try:
                network.remove(found)
            except RigError:
                pass  # a demo uses it: its own stop ends the engine
            else:
                dockerd.stop()
