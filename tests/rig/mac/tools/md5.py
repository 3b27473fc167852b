"""md5: -q and -r as on macOS."""

import hashlib
import sys
from pathlib import Path

from . import state


def main(words: list[str]) -> int:
    flags = [word for word in words if word.startswith("-")]
    files = words[len(flags) :]
    if not set("".join(flags)) <= set("-qr"):
        return state.fail("usage: md5 [-bnpqrtx] [-c string] [-s string] [file ...]", 1)
    quiet, reverse = any("q" in flag for flag in flags), any("r" in flag for flag in flags)
    for name in files or [""]:
        data = Path(name).read_bytes() if name else sys.stdin.buffer.read()
        found = hashlib.md5(data, usedforsecurity=False).hexdigest()
        print(
            found
            if quiet or not name
            else f"{found} {name}"
            if reverse
            else f"MD5 ({name}) = {found}"
        )
    return 0
