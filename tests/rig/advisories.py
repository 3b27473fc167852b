"""What the public advisories say about the versions in the locks; asked with pip-audit."""

import json
import subprocess
import sys
from pathlib import Path

from .places import REPO

LOCKS = (
    "requirements.lock",
    "labfab/platforms/locks/uv.txt",
    "labfab/platforms/locks/jupyterlab.txt",
)
TOOL = "pip-audit==2.10.1"
LIMIT = 300  # seconds


def ask() -> tuple[list[str], list[str]]:
    """Return the known vulnerabilities, and what could not be asked about, one line each."""
    holes: dict[str, None] = {}
    unasked = []
    for lock in LOCKS:
        found = dependencies(REPO / lock)
        if isinstance(found, str):
            unasked.append(f"{lock}: {found}")
            continue
        for one in found:
            for hole in one.get("vulns", []):
                fixed = ", ".join(hole["fix_versions"]) or "no release yet"
                holes[f"{one['name']} {one['version']}: {hole['id']}, mended in {fixed}"] = None
        skipped = [one["name"] for one in found if "skip_reason" in one]
        if skipped:
            unasked.append(f"{lock}: {len(skipped)} of {len(found)} packages, {skipped[0]} first")
    return list(holes), unasked


def dependencies(lock: Path) -> list[dict] | str:
    """Return what pip-audit says of each package, or why it says nothing."""
    uv = Path(sys.executable).with_name("uv")
    words = [uv, "tool", "run", "-q", "--from", TOOL, "pip-audit", "--disable-pip"]
    words += ["--require-hashes", "--progress-spinner", "off", "--format", "json", "-r", lock]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT, check=False)
        return json.loads(done.stdout)["dependencies"]
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{type(error).__name__}"
    except (ValueError, KeyError):
        return (done.stderr.strip().splitlines() or ["no answer"])[-1]
