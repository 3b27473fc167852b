"""The command that runs a machine as user-mode Linux: a kernel that is a program of this machine."""

import os
import random
import shutil
from pathlib import Path

PACKAGE = "user-mode-linux"
PROGRAM = Path("/usr/bin/linux.uml")
MODULES = Path("/usr/lib/uml/modules")  # a folder for each version
ROOM = 2_000_000_000  # bytes
NETWORK = "vec0"
# This kernel has iptables' packet filter, and of nftables only the part for bridges.
PREPARE = """\
for name in iptables ip6tables; do update-alternatives --quiet --set $name /usr/sbin/$name-legacy; done
"""


def is_possible() -> bool:
    """Tell whether it is installed, and a machine's memory has room where it puts it."""
    return PROGRAM.exists() and shutil.disk_usage("/dev/shm").free > ROOM


def versions() -> list[str]:
    """Name the versions of the kernel that are installed."""
    return sorted(path.name for path in MODULES.glob("*"))


def command(folder: Path, disk: Path, memory: int, agent: int, words: str) -> list[str]:
    """Return the command line; `agent` is a socket to the machine's guest agent.

    Each write of the guest to its disk reaches a file of this machine, and so outlives a power cut.
    Each system call switches between two processes: on one core that takes half as long.
    """
    core = random.choice(sorted(os.sched_getaffinity(0)))
    return [
        *("taskset", "-c", str(core)),
        *(str(PROGRAM), f"ubd0={disk}", "root=/dev/ubda", f"mem={memory}M"),
        *("con=null", "con0=fd:0,fd:1", "ssl=null", f"ssl0=fd:{agent}"),
        f"{NETWORK}:transport=tap,ifname=tap,depth=64",
        *("umid=machine", f"uml_dir={folder}"),
        *words.split(),
    ]
