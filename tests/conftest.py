"""What every test may use: a throwaway home, the real `fab`, machines that boot."""

import os
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

import pytest

from tests.rig import Host, RigError, virtual_machine
from tests.rig.engine import Engine, find
from tests.rig.fab import fab_with_home
from tests.rig.leftovers import clear_leftovers
from tests.rig.places import CACHE

LOGS = CACHE / "test-log"
CONTINUOUS = os.environ.get("CI", "").lower() in ("true", "1", "yes")


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The container engine; without one, host tests are skipped on a laptop and fail in CI."""
    try:
        found = find()
    except RigError as error:
        cannot_run(str(error))
    clear_leftovers(found)
    return found


def cannot_run(reason: str) -> NoReturn:
    """Skip a host test on a laptop, fail it in CI."""
    if CONTINUOUS:
        pytest.fail(f"host tests must run here: {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def fab_log() -> Path:
    """Everything `fab` said in this session, searched for secrets at its end."""
    return log_file("out")


@pytest.fixture
def fab(fab_log):
    """The real `fab` with a home for this test: fab("-H", "root@…", "setup.full", env={…}) or fab.on(host, …)."""
    yield from lent_fab(fab_log)


@pytest.fixture(scope="module")
def module_fab(fab_log):
    """The same, with one home for all tests of a module."""
    yield from lent_fab(fab_log)


def lent_fab(log: Path):
    with fab_with_home(log) as fab:
        yield fab
        with log_file("secrets").open("a") as notes:
            notes.writelines(f"{secret}\n" for secret in sorted(fab.all_secrets()))


@pytest.fixture
def home(fab) -> Path:
    """The home of this test's fab: ~/.ssh with a key of its own."""
    return fab.home


@pytest.fixture
def secrets_seen(fab) -> set[str]:
    """Add what must not show up in anything `fab` says; passwords given in `env` are there already."""
    return fab.secrets


@pytest.fixture
def host(engine, fab):
    """Boot machines for this test: host("debian12"), host("ubuntu-like", password="…", key=None)."""
    with ExitStack() as stack:
        yield booter(engine, fab, stack)


@pytest.fixture(scope="module")
def module_host(engine, module_fab):
    """The same, for machines that all tests of a module share."""
    with ExitStack() as stack:
        yield booter(engine, module_fab, stack)


@pytest.fixture(scope="module")
def module_machine(module_fab):
    """A machine with a kernel of its own, shared by all tests of a module."""
    if reason := virtual_machine.refusal():
        cannot_run(reason)
    machine = virtual_machine.VirtualMachine.boot(key=module_fab.key)
    yield machine
    machine.stop()


def booter(engine: Engine, fab, stack: ExitStack):
    def boot(flavour: str = "debian12", name: str = "box", **logins) -> Host:
        if not {"key", "password"} & set(logins):
            logins["key"] = fab.key
        host = Host.boot(flavour, name, engine=engine, **logins)
        stack.callback(host.stop)
        return host

    return boot


def log_file(kind: str) -> Path:
    """Name a file of this session, one for every worker."""
    LOGS.mkdir(parents=True, exist_ok=True)
    return LOGS / f"{os.environ.get('PYTEST_XDIST_WORKER', 'main')}.{kind}"


def pytest_sessionstart(session) -> None:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        for path in LOGS.glob("*"):
            path.unlink()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session, exitstatus) -> None:
    """Fail the session if anything secret is in what `fab` said."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    said = "".join(path.read_text() for path in LOGS.glob("*.out"))
    kept = {
        line
        for path in LOGS.glob("*.secrets")
        for line in path.read_text().splitlines()
        if len(line) > 5
    }
    session.config.leaked = [secret for secret in kept if secret in said]
    if session.config.leaked and exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter, config) -> None:
    if getattr(config, "leaked", None):
        terminalreporter.section("secrets in the output of fab", red=True)
        terminalreporter.line(
            f"{len(config.leaked)} of them are in {LOGS}/*.out, e.g. {config.leaked[0][:4]}…"
        )
