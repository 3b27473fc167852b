"""chflags: hidden, nohidden, uchg, nouchg; kept beside the file, and shown by stat -f %f."""

import os
import sys

from . import state
from .stat import flags

USAGE = "usage: chflags [-fhvx] [-R [-H | -L | -P]] flags file ..."
BITS = {"hidden": 0x8000, "uchg": 0x2, "uappnd": 0x4, "nodump": 0x1, "opaque": 0x8}


def main(words: list[str]) -> int:
    rest = list(words)
    tree = False
    while rest and rest[0].startswith("-"):
        word = rest.pop(0)
        if not set(word[1:]) <= set("fhvxRHLP"):
            return state.fail(USAGE, 64)
        tree |= "R" in word
    if len(rest) < 2:
        return state.fail(USAGE, 64)
    names, paths = rest[0].split(","), rest[1:]
    for name in names:
        if name.removeprefix("no") not in BITS and name not in BITS:
            return state.fail(f"chflags: invalid flag: {name}", 1)
    code = 0
    for path in paths:
        below = (
            [
                os.path.join(folder, name)
                for folder, folders, files in os.walk(path)
                for name in folders + files
            ]
            if tree
            else []
        )
        for one in (path, *below):
            try:
                value = flags(one) if os.lstat(one) else 0
                for name in names:
                    value = (
                        value | BITS[name]
                        if name in BITS
                        else value & ~BITS[name.removeprefix("no")]
                    )
                os.setxattr(one, "user.double.flags", str(value).encode(), follow_symlinks=False)
            except OSError as problem:
                print(f"chflags: {one}: {problem.strerror}", file=sys.stderr)
                code = 1
    return code
