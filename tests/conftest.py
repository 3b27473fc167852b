"""What every test may use: a throwaway home, the real `fab`, machines that boot."""

import itertools
import os
import re
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

import pytest

from tests.rig import Host, RigError, finished, groups, virtual_machine
from tests.rig.engine import Engine, find
from tests.rig.fab import fab_with_home
from tests.rig.leftovers import clear_leftovers
from tests.rig.places import CACHE

LOGS = CACHE / "test-log"
GROUPS = LOGS / "groups.json"
CONTINUOUS = os.environ.get("CI", "").lower() in ("true", "1", "yes")


NUMBERS = itertools.count()


@pytest.fixture
def tmp_path(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """An empty folder for this test. pytest's own lists all those before it, for each test."""
    name = re.sub(r"\W", "_", request.node.name)[:30]
    path = tmp_path_factory.getbasetemp() / f"{name}{next(NUMBERS)}"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The container engine. Without one, host tests are skipped on a laptop and fail in CI."""
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
    """Everything that `fab` printed in this session, which is searched for secrets at the end."""
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
    """Add text that `fab` must never print. Passwords given in `env` are already listed."""
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


@pytest.fixture(scope="module")
def module_lab(engine, module_fab):
    """Boot machines on which setup.full has run: module_lab("debian12", "box", env={…}).

    The module's fab knows the machine as homelab; JupyterLab and the tunnel run with these settings.
    """
    with ExitStack() as stack:
        yield labs(engine, module_fab, stack)


def booter(engine: Engine, fab, stack: ExitStack):
    def boot(flavour: str = "debian12", name: str = "box", **logins) -> Host:
        if not {"key", "password"} & set(logins):
            logins["key"] = fab.key
        host = Host.boot(flavour, name, engine=engine, **logins)
        stack.callback(host.stop)
        return host

    return boot


def labs(engine: Engine, fab, stack: ExitStack):
    def boot(flavour: str, name: str, env: dict[str, str]) -> Host:
        host = finished.boot(engine, fab, flavour, name)
        stack.callback(host.stop)
        if "LABFAB_LAB_USER" in env:  # else JupyterLab would have to move to another account
            host.run("rm -r /home/lab/.jupyter")
        fab("-H", "homelab", "setup.full", env=env).ok()
        return host

    return boot


def log_file(kind: str) -> Path:
    """Return a file of this session that all workers share."""
    LOGS.mkdir(parents=True, exist_ok=True)
    return LOGS / f"{os.environ.get('PYTEST_XDIST_WORKER', 'main')}.{kind}"


def pytest_sessionstart(session) -> None:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        for path in LOGS.glob("*"):
            path.unlink()


@pytest.hookimpl(wrapper=True)  # after the tests that -m and -k leave out are gone
def pytest_collection_modifyitems(config, items):
    """Let tests that share a host go to one worker."""
    yield
    if getattr(config.option, "loadgroup", False):
        groups.arrange(items, GROUPS)


def pytest_xdist_make_scheduler(config, log):
    """Run what shares a host on one worker, where `--dist loadgroup` asks for that."""
    return groups.ByGroup(config, GROUPS) if config.getvalue("dist") == "loadgroup" else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Let no test be skipped where everything must run."""
    report = yield
    if CONTINUOUS and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome, report.longrepr = "failed", f"skipped, with CI=true: {report.longrepr[2]}"
    return report


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session, exitstatus) -> None:
    """Fail the session if `fab` printed anything secret."""
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
