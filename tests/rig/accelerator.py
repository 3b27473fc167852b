"""Which accelerator of qemu works here: KVM where a guest really runs on it, else emulation.

That /dev/kvm exists says little: inside some virtual machines a guest dies in its first
instructions, or qemu refuses to start. So a guest is tried, once in each boot of this machine.
"""

import os
import subprocess
from pathlib import Path

from .places import CACHE, say

ANSWER = CACHE / "machines" / "accelerator"
BOOT = Path("/proc/sys/kernel/random/boot_id")
LIMIT = 30  # seconds; a guest that runs on KVM needs about three
# The kernel panics when its first program ends, and says so: by then kernel and programs have run.
RAN = "Attempted to kill init! exitcode=0x00000000"
TRIAL = "root=/dev/nvme0n1 ro console=ttyS0 panic=-1 init=/usr/bin/true"
# An older CPU model and no mitigations: each costs a fifth of the time of a boot in emulation.
WORDS = {
    "kvm": ("-accel", "kvm", "-cpu", "max"),
    "tcg": ("-accel", "tcg,thread=multi,tb-size=512", "-cpu", "Westmere,pcid=off"),
}


def choose(kernel: Path, disk: Path) -> str:
    """Return "kvm" or "tcg"."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    asked = f"{BOOT.read_text().strip()} {kernel}"
    if ANSWER.exists() and ANSWER.read_text().startswith(asked):
        return ANSWER.read_text().split()[-1]
    found = "kvm" if runs_on_kvm(kernel, disk) else "tcg"
    say(f"machines run on {found}" + (", for KVM does not work here" if found == "tcg" else ""))
    ANSWER.write_text(f"{asked} {found}\n")
    return found


def runs_on_kvm(kernel: Path, disk: Path) -> bool:
    """Try a guest that ends as soon as its first program has run."""
    command = [
        "qemu-system-x86_64",
        *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
        *(*WORDS["kvm"], "-m", "512", "-serial", "stdio"),
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
