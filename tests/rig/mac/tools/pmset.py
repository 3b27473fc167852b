"""pmset: -g shows the power settings, -a, -b, -c and -u change them."""

import plistlib
from pathlib import Path

from . import state

FILE = Path("/Library/Preferences/com.apple.PowerManagement.plist")
USUAL = {
    "standby": "1",
    "Sleep On Power Button": "1",
    "hibernatefile": "/var/vm/sleepimage",
    "powernap": "1",
    "networkoversleep": "0",
    "disksleep": "10",
    "sleep": "1",
    "hibernatemode": "3",
    "ttyskeepawake": "1",
    "displaysleep": "10",
    "tcpkeepalive": "1",
    "powermode": "0",
    "womp": "1",
    "autorestart": "0",
}
ALSO = {
    "disablesleep",
    "lidwake",
    "acwake",
    "halfdim",
    "autopoweroff",
    "autopoweroffdelay",
    "standbydelay",
    "proximitywake",
    "lessbright",
    "highstandbythreshold",
    "standbydelayhigh",
    "standbydelaylow",
    "gpuswitch",
    "lowpowermode",
}
USAGE = "Usage:  pmset <options>\nSee pmset(1) for details: 'man pmset'"


def settings() -> dict[str, str]:
    try:
        return USUAL | plistlib.loads(FILE.read_bytes())
    except (OSError, ValueError):
        return dict(USUAL)


def main(words: list[str]) -> int:
    if not words:
        return state.fail(USAGE, 64)
    if words[0] == "-g":
        return show(words[1:])
    if words[0] not in ("-a", "-b", "-c", "-u") or len(words) % 2 == 0 or len(words) == 1:
        return state.fail(USAGE, 64)
    pairs = dict(zip(words[1::2], words[2::2], strict=True))
    for name, value in pairs.items():
        if (
            name not in USUAL
            and name not in ALSO
            or name != "hibernatefile"
            and not value.isdigit()
        ):
            return state.fail(
                f"Error parsing option name {name!r}\n{USAGE}".replace(
                    "'" + name + "'", f'"{name}"'
                ),
                64,
            )
    if not state.is_root():
        return state.fail("'pmset' must be run as root...", 77)
    FILE.write_bytes(plistlib.dumps(settings() | pairs))
    return 0


def show(words: list[str]) -> int:
    if words and words[0] not in ("custom", "live", "cap", "ac", "batt", "ps"):
        return state.fail(USAGE, 64)
    if words and words[0] in ("batt", "ps"):
        print("Now drawing from 'AC Power'")
        return 0
    print("AC Power:" if words and words[0] == "custom" else "System-wide power settings:")
    kept = settings()
    if "disablesleep" in kept:
        print(f" SleepDisabled\t\t{kept.pop('disablesleep')}")
    if not (words and words[0] == "custom"):
        print("Currently in use:")
    for name, value in kept.items():
        by = state.switch("sleep-prevented-by") if name == "sleep" else ""
        print(f" {name:<20} {value}{f' (sleep prevented by {by})' if by else ''}")
    return 0
