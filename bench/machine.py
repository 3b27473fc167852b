"""Machine: what the measurement ran on, in plain words, without names or paths of it."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

from tests.rig import Host
from tests.rig.places import REPO

HERE = Path(__file__).parent
ON_HOST = """\
. /etc/os-release; echo "$PRETTY_NAME"
python3 -V; /usr/sbin/sshd -V 2>&1 | grep -o 'OpenSSH_[0-9.p]*' || ssh -V 2>&1 | grep -o 'OpenSSH_[0-9.p]*'
/home/lab/jupyter-venv/bin/python -c 'import importlib.metadata as m; print("JupyterLab", m.version("jupyterlab"))'
"""


def versions(host: Host) -> dict[str, str]:
    """What ran against what."""
    there = ", ".join(line.replace("_", " ") for line in host.run(f"{ON_HOST}true").splitlines())
    libraries = (f"{name} {version(name)}" for name in ("fabric", "invoke", "paramiko"))
    return {
        "labfab": commit(),
        "here": ", ".join([*libraries, openssh(), f"Python {platform.python_version()}"]),
        "peers": ", ".join(
            line.replace("==", " ") for name in ("pyinfra", "ansible") for line in pins(name)
        ),
        "hosts": there,
        "machine": words(),
    }


def pins(peer: str) -> list[str]:
    return (HERE / f"requirements-{peer}.txt").read_text().split()


def commit() -> str:
    """Which labfab: its version, and the commit where it is a checkout."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=False,
    )
    return (
        f"{version('labfab')} ({done.stdout.strip()})"
        if done.returncode == 0
        else version("labfab")
    )


def openssh() -> str:
    said = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=False).stderr
    found = re.search(r"OpenSSH_[\w.]+", said)
    return found.group().replace("_", " ") if found else "ssh"


def words() -> str:
    """The machine in words: cores, memory, system."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.release().split('-')[0]} on {platform.machine()}"
