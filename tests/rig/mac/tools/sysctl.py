"""sysctl: the few names of macOS's kernel that a script asks for."""

import os
import sys
import time
from pathlib import Path

from . import state


def values() -> dict[str, str]:
    arm = state.machine() == "arm64"
    boot = next(
        int(line.split()[1])
        for line in Path("/proc/stat").read_text().splitlines()
        if line.startswith("btime")
    )
    boot = (
        max(boot, int(Path("/run/boot_id").stat().st_mtime))
        if Path("/run/boot_id").exists()
        else boot
    )
    memory = next(
        int(line.split()[1]) * 1024
        for line in Path("/proc/meminfo").read_text().splitlines()
        if line.startswith("MemTotal")
    )
    return {
        "kern.ostype": "Darwin",
        "kern.osrelease": "25.5.0",
        "kern.osproductversion": state.switch("product-version"),
        "kern.osversion": state.switch("build-version"),
        "kern.hostname": os.uname().nodename,
        "kern.boottime": f"{{ sec = {boot}, usec = 0 }} {time.strftime('%a %b %e %H:%M:%S %Y', time.localtime(boot))}",
        "kern.bootsessionuuid": Path("/proc/sys/kernel/random/boot_id").read_text().strip().upper(),
        "hw.model": "Mac16,10" if arm else "Macmini8,1",
        "hw.ncpu": str(os.cpu_count()),
        "hw.memsize": str(memory),
        "hw.machine": state.machine(),
        "hw.optional.arm64": "1" if arm else "0",
        "machdep.cpu.brand_string": "Apple M4"
        if arm
        else "Intel(R) Core(TM) i5-8500B CPU @ 3.00GHz",
        "sysctl.proc_translated": "0",
    }


def main(words: list[str]) -> int:
    bare, names, quiet = False, [], False
    for word in words:
        if word.startswith("-"):
            if not set(word[1:]) <= set("niqae"):
                return state.fail(
                    "usage: sysctl [-bdehilnoqroxX] [-f filename] name[=value] ...\n       sysctl [-bdehlnoqroxX] -a",
                    1,
                )
            bare, quiet = bare or "n" in word, quiet or "i" in word or "q" in word
        else:
            names.append(word)
    known, code = values(), 0
    for name in names or known:
        if name not in known:
            code = code if quiet else 1
            if not quiet:
                print(f"sysctl: unknown oid '{name}'", file=sys.stderr)
            continue
        print(known[name] if bare else f"{name}: {known[name]}")
    return code
