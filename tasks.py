"""Tasks for your own machine: the demo, the tests, the checks, the benchmark."""

import os
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from invoke import Exit, task

ROOT = Path(__file__).parent
CORES = os.cpu_count() or 2
LOCK = (
    "uv pip compile --universal --python-version 3.10 --generate-hashes --override overrides.txt "
    "--no-header --no-annotate --no-emit-index-url --no-emit-find-links "
    "--group pyproject.toml:dev pyproject.toml -o requirements.lock"
)
# What a venv on a host gets: labfab/platforms/locks/NAME.txt from these requirements.
HOST_LOCK = (
    "uv pip compile --universal --python-version 3.10 --generate-hashes --upgrade --no-header "
    "--no-annotate --no-emit-index-url --no-emit-find-links - -o labfab/platforms/locks/{}.txt"
)
QUICK = "not host and not local"
COVERAGE = ("--cov=labfab", "--cov-report=term:skip-covered", "--cov-fail-under=82")


@task(help={"stop": "take everything away that the demo made"})
def demo(c, stop=False):
    """Show it all on a disposable machine: setup.full, the tunnel, a computed cell."""
    from labfab.errors import SetupError
    from tests.rig import RigError
    from tests.rig import demo as show

    try:
        show.stop() if stop else show.start()
    except (RigError, SetupError) as error:
        raise Exit(f"labfab: {error}", code=1) from None


@task(
    help={"args": "What to hand to pytest, e.g. --args='-k firewall'; without it everything runs"}
)
def test(c, args=""):
    """Run all tests: style and types, the quick ones, the oldest Python, booted hosts."""
    from tests.rig import advisories, rings

    if args:
        sys.exit(pytest(*shlex.split(args)))
    rings.need_sshd()
    check(c)
    # It waits for a distant service, so it takes no time of the tests.
    asked = ThreadPoolExecutor(1).submit(advisories.ask)
    quick = pytest("-m", QUICK, "-n", str(CORES), "--dist", "worksteal", *COVERAGE)
    if quick or run_oldest():
        sys.exit(1)
    with rings.engine():
        rings.prepare()
        # While hosts boot and windows end, the cores have something else to do.
        ring = ("-m", "host or local", "-n", str(2 * CORES), "--dist", "loadgroup")
        failed = pytest(*ring, "--durations=30", "--durations-min=10")
    tell(*asked.result())
    sys.exit(failed)


def pytest(*words: str, python: str | Path = sys.executable) -> int:
    """Run pytest; what it compiles is kept, so that the next run and each `fab` start sooner."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [python, "-m", "pytest", *words]
    return subprocess.run(command, cwd=ROOT, env=env, check=False).returncode


@task(
    help={
        "quick": "Fewer runs of what takes long: 12 minutes instead of 25",
        "runs": "Runs of each command that are counted",
        "only": "Measure only some of: no-change,change,first,fleet,start; writes no page",
    }
)
def bench(c, quick=False, runs=0, only=""):
    """Measure labfab beside ssh, pyinfra and Ansible; write docs/performance.md."""
    from bench import run
    from labfab.errors import SetupError
    from tests.rig import RigError

    try:
        run.run(quick, int(runs), only)
    except (RigError, SetupError) as error:
        raise Exit(f"labfab: {error}", code=1) from None


@task
def check(c):
    """Check style, format and types."""
    with c.cd(str(ROOT)):
        c.run(f"{sys.executable} -m ruff check .")
        c.run(f"{sys.executable} -m ruff format --check --quiet .")
        c.run(f"{sys.executable} -m mypy")


@task(help={"minutes": "How long to try new examples"})
def fuzz(c, minutes=5):
    """Feed hostile text to everything that parses what others wrote, each time other text."""
    import secrets
    import time

    end = time.monotonic() + 60 * float(minutes)
    while time.monotonic() < end:
        seed = secrets.randbelow(10**9)
        words = ("-q", "tests/fuzz", "--hypothesis-profile=long", f"--hypothesis-seed={seed}")
        if pytest(*words, "-n", str(CORES), "--dist", "worksteal", "-k", "not found"):
            raise Exit(f"labfab: found with seed {seed}: mend it, and add it to test_found.py")


@task
def audit(c):
    """Ask the public advisories about the locked versions; say so where they do not answer."""
    from tests.rig import advisories

    tell(*advisories.ask())


def tell(holes: list[str], unasked: list[str]) -> None:
    """Report what the advisories say. Raises Exit if they know a vulnerability."""
    for line in unasked:
        print(f"labfab: the advisories could not be asked about {line}", file=sys.stderr)
    if holes:
        raise Exit("\n".join(f"labfab: {line}" for line in holes), code=1)


@task
def oldest(c):
    """Run the quick tests on the oldest Python, with the lowest versions that are allowed."""
    sys.exit(run_oldest())


def run_oldest() -> int:
    from tests.rig import oldest_python
    from tests.rig.places import RigError

    try:
        python = oldest_python.prepare()
    except RigError as error:
        raise Exit(f"labfab: {error}", code=1) from None
    words = ("-q", "-m", QUICK, "-n", str(CORES), "--dist", "worksteal", "-p", "no:cacheprovider")
    return pytest(*words, python=python)


@task
def machine(c):
    """Run the test on a machine with a kernel of its own alone: a lab, a power cut, undo."""
    sys.exit(pytest("-v", "-s", "tests/hosts/test_machine.py"))


@task(name="mac-report", help={"to": "file that gets the report"})
def mac_report(c, to="mac-report.txt"):
    """On a Mac: report what its commands print, where labfab expects something else."""
    from tests.rig import mac_report as report

    if sys.platform != "darwin":
        raise Exit("labfab: this is for an owner of a Mac: run it there", code=1)
    count = report.write(Path(to))
    print(
        f"{count} of {len(report.QUESTIONS)} differ from what labfab expects: {to}; "
        "read it, then send it with an issue"
    )


@task
def docs(c):
    """Write what docs/ has from the code: settings, tasks, the picture of the rooms."""
    from docs import reference

    reference.write()


@task
def screenshots(c):
    """Take the pictures of docs/, by the tests that use a real browser."""
    import shutil

    from tests.rig import browser, rings

    with rings.engine():
        failed = pytest("tests/hosts/test_browser.py", "-k", "through")
    if failed:
        sys.exit(failed)
    for name in ("tunnel.png", "https.png"):
        shutil.copy(browser.PICTURES / name, ROOT / "docs" / name)


@task
def lock(c):
    """Write requirements.lock from pyproject.toml, and the locks of what a host gets."""
    import io

    from labfab.platforms import minimum_versions

    hosts = {"uv": ["uv"], "jupyterlab": [*minimum_versions.REQUIREMENTS, "pip"]}
    bin = Path(sys.executable).parent
    with c.cd(str(ROOT)):
        c.run(f"{bin}/{LOCK}")
        for name, wanted in hosts.items():
            given = io.StringIO("\n".join(wanted) + "\n")
            c.run(f"{bin}/{HOST_LOCK.format(name)}", in_stream=given, hide="stdout")
