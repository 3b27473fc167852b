"""What a test may set: the switches, and what the double keeps beside them."""

import os
import sys
import time
from pathlib import Path

FOLDER = Path("/var/db/double")
SWITCHES = {
    "full-disk-access": "on",  # what comes in over SSH may change accounts, and systemsetup works
    "home-created": "on",  # sysadminctl makes the home of an account that it adds
    "command-line-tools": "on",  # off: /usr/bin/python3 is only the stub that offers to install them
    "filevault": "off",  # on: after a reboot nothing answers until somebody unlocks the disk; soon: from the next one on
    "bootstrap-refusals": "0",  # how many times launchd refuses to load a job, as it does for a moment after a bootout
    "old-launchctl": "off",  # print-disabled says true and false, as before macOS 13
    "remote-login-by-settings": "off",  # switched on in System Settings of macOS 26: print names no property list
    "bootout-ends-sessions": "off",  # whether the sessions that a job of launchd's spawned end with it
    "sleep-prevented-by": "",  # what `pmset -g` names behind sleep
    "product-version": "26.5",
    "build-version": "25F71",
    "firewall": "off",  # the application firewall
    "updates": "[]",  # JSON: [{"label": …, "title": …, "version": …, "restart": false}]
    "volume-owner": "admin",  # whose password an update that restarts wants on Apple silicon
}


def switch(name: str) -> str:
    """Read a switch; where nobody set it, its usual value."""
    try:
        return (FOLDER / name).read_text().strip()
    except OSError:
        return SWITCHES[name]


def on(name: str) -> bool:
    """Tell whether a switch is on."""
    return switch(name) == "on"


def is_root() -> bool:
    return os.geteuid() == 0


def fail(text: str, code: int = 1) -> int:
    """Say what is wrong on stderr and give the exit code."""
    print(text, file=sys.stderr)
    return code


def log(name: str, text: str) -> None:
    """Say something on stderr in the words of NSLog."""
    now = time.time()
    stamp = (
        time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now)) + f".{int(now * 1000) % 1000:03d}"
    )
    print(f"{stamp} {name}[{os.getpid()}:{os.getpid() * 17 + 4711}] {text}", file=sys.stderr)


def machine() -> str:
    """Name the processor: arm64 or x86_64."""
    return Path("/usr/libexec/double/machine").read_text().strip()
