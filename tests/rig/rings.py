"""The ring of tests that boots machines: it gets an engine and a browser before it starts."""

from contextlib import contextmanager, suppress

from . import browser, dockerd, network
from .engine import find, running
from .places import RigError


@contextmanager
def engine(with_browser: bool = True):
    """Have an engine running, and where wanted a browser, saying aloud what that takes; an engine of our own ends with the tests.

    Without any, the tests themselves decide: they are skipped on a laptop and fail in CI.
    """
    before = running()
    try:
        found = before or find()
    except RigError:
        found = None
    with suppress(RigError):
        if with_browser:
            browser.need_tools()
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
