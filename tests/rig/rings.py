"""The ring of tests that boots machines: it gets an engine and a browser before it starts."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

from . import browser, disk, dockerd, finished, image, network, sshd, virtual_machine, wheels
from .engine import find, running
from .places import RigError


@contextmanager
def engine(with_browser: bool = True):
    """Run an engine, and where wanted get a browser; an engine of our own ends with the tests.

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


def need_sshd() -> None:
    """Get an sshd for the tests that run one here; without one, the tests themselves decide."""
    with suppress(RigError):
        sshd.need()


def prepare() -> None:
    """Make what many tests wait for, all of it side by side: images, finished labs, wheels, a disk."""
    engine = running()
    if not engine:
        return
    with ThreadPoolExecutor() as pool:
        for suite in sorted(set(image.SUITES.values())):
            pool.submit(made, engine, suite)
        for python in ("3.11", "3.13"):
            pool.submit(wheels.collect, python)
        if not virtual_machine.refusal():
            pool.submit(disk.ensure)


def made(engine, suite: str) -> None:
    """Make the images of one Debian and the labs that start from it; a test tells of what fails."""
    for flavour in (name for name, one in image.SUITES.items() if one == suite):
        image.ensure(engine, flavour)
    for flavour in (name for name in finished.FLAVOURS if image.SUITES[name] == suite):
        finished.ensure(engine, flavour)
