"""What ssh-audit, a program of others, says of a host's SSH server."""

import json
import subprocess
import sys

AUDIT = (sys.executable, "-c", "from ssh_audit.ssh_audit import main; main()")
# Everything but what its flood of connections finds, which measures the machine of the tests.
OPTIONS = ("--skip-rate-test", "--json")


def said(address: str, port: int) -> dict[str, dict[str, list[str]]]:
    """Return what it says of each algorithm: level -> algorithm -> reasons. Levels: fail, warn."""
    done = subprocess.run(
        [*AUDIT, *OPTIONS, "-p", str(port), address],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    try:
        report = json.loads(done.stdout)
    except ValueError:
        raise AssertionError(f"ssh-audit: {done.stdout}{done.stderr}") from None
    found: dict[str, dict[str, list[str]]] = {"fail": {}, "warn": {}}
    for kind in ("kex", "key", "enc", "mac"):
        for one in report[kind]:
            for level, reasons in one.get("notes", {}).items():
                if level in found:
                    found[level].setdefault(one["algorithm"], []).extend(reasons)
    return found
