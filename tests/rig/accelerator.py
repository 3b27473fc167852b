"""What a machine with a kernel of its own runs on.

KVM, where a guest really runs on it. That /dev/kvm exists says little: inside some virtual machines
a guest dies in its first instructions, or qemu refuses to start. So a guest is tried, once in each
boot of this machine. Else user-mode Linux: a kernel that is a program of this machine; its guests
compute at full speed, and each system call takes longer. Else qemu's emulation, where all takes ten
times as long.
"""

import os
import subprocess
from pathlib import Path

from . import qemu, user_mode_linux
from .places import CACHE, say

ANSWER = CACHE / "machines" / "accelerator"
BOOT = Path("/proc/sys/kernel/random/boot_id")
LIMIT = 30  # seconds; a guest that runs on KVM needs about three
# The kernel panics when its first program ends, and says so: by then kernel and programs have run.
RAN = "Attempted to kill init! exitcode=0x00000000"
TRIAL = "root=/dev/nvme0n1 ro console=ttyS0 panic=-1 init=/usr/bin/true"


def choose(kernel: Path, disk: Path) -> str:
    """Return "kvm", "uml" or "tcg" (qemu's emulation)."""
    otherwise = "uml" if user_mode_linux.is_possible() else "tcg"
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return otherwise
    asked = f"{BOOT.read_text().strip()} {kernel}"
    if ANSWER.exists() and ANSWER.read_text().startswith(asked):
        works = ANSWER.read_text().split()[-1] == "kvm"
    else:
        works = runs_on_kvm(kernel, disk)
        ANSWER.write_text(f"{asked} {'kvm' if works else 'no-kvm'}\n")
        say("KVM works here" if works else f"KVM does not work here: machines run on {otherwise}")
    return "kvm" if works else otherwise


def runs_on_kvm(kernel: Path, disk: Path) -> bool:
    """Try a guest that ends as soon as its first program has run."""
    command = [
        *(*qemu.PROGRAM, *qemu.ACCELERATORS["kvm"]),
        *("-no-reboot", "-m", "512", "-serial", "stdio"),
        *("-drive", f"file={disk},if=none,id=disk,format=raw,snapshot=on"),
        *("-device", "nvme,drive=disk,serial=rig"),
        *("-kernel", str(kernel), "-append", TRIAL),
    ]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return RAN in done.stdout.decode(errors="replace")
