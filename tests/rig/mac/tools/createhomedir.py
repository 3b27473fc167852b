"""createhomedir -c -u NAME: makes the homes that are missing."""

import os
import shutil
from pathlib import Path

from . import directory, state

USAGE = "usage: createhomedir [-scbalh] [-n directoryDomainName] [-u username] [-i]"
TEMPLATE = Path("/Library/User Template")
FOLDERS = {
    "Desktop": 0o700,
    "Documents": 0o700,
    "Downloads": 0o700,
    "Library": 0o700,
    "Movies": 0o700,
    "Music": 0o700,
    "Pictures": 0o700,
    "Public": 0o755,
}


def make(record: dict[str, list[str]]) -> bool:
    """Make the home of a user where it is missing."""
    home = Path(directory.first(record, "NFSHomeDirectory"))
    if home.exists() or not home.is_absolute():
        return False
    home.mkdir(parents=True)
    for name, mode in FOLDERS.items():
        (home / name).mkdir()
        (home / name).chmod(mode)
    for part in ("Non_localized", "English.lproj"):
        shutil.copytree(TEMPLATE / part, home, dirs_exist_ok=True, copy_function=shutil.copyfile)
    for path in (home, *home.rglob("*")):
        os.chown(
            path,
            int(directory.first(record, "UniqueID")),
            int(directory.first(record, "PrimaryGroupID")),
        )
    home.chmod(0o750)
    return True


def main(words: list[str]) -> int:
    names, rest, create = [], list(words), False
    while rest:
        word = rest.pop(0)
        if word == "-u" and rest:
            names.append(rest.pop(0))
        elif word in ("-c", "-s", "-a", "-l", "-b"):
            create = True
        else:
            return state.fail(USAGE, 64)
    if not create and not names:
        return state.fail(USAGE, 64)
    if not state.is_root():
        return state.fail("createhomedir: must be run as root", 1)
    for name in names or directory.names("Users"):
        record = directory.read("Users", name)
        if not record:
            return state.fail(f"createhomedir: user {name} not found", 1)
        print(f"creating home directories for ({os.uname().nodename})")
        if make(record):
            print(f"created ({directory.first(record, 'NFSHomeDirectory')})")
    return 0
