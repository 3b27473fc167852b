"""dscacheutil: -q user or group, -a name or uid or gid VALUE, and -flushcache."""

from . import directory, state
from .directory import first

USAGE = """\
Usage: dscacheutil -h
       dscacheutil -q category [-a key value]
       dscacheutil -cachedump [-buckets] [-entries [category]]
       dscacheutil -configuration
       dscacheutil -flushcache
       dscacheutil -statistics"""
ROWS = {
    "user": (
        "Users",
        {
            "name": "RecordName",
            "password": "",
            "uid": "UniqueID",
            "gid": "PrimaryGroupID",
            "dir": "NFSHomeDirectory",
            "shell": "UserShell",
            "gecos": "RealName",
        },
    ),
    "group": ("Groups", {"name": "RecordName", "password": "", "gid": "PrimaryGroupID"}),
}


def main(words: list[str]) -> int:
    if words == ["-flushcache"]:
        return 0
    if (
        len(words) not in (2, 5)
        or words[0] != "-q"
        or words[1] not in ROWS
        or words[2:3] not in ([], ["-a"])
    ):
        return state.fail(USAGE, 64)
    kind, fields = ROWS[words[1]]
    for name in directory.names(kind):
        record = directory.read(kind, name)
        if len(words) == 5 and words[4] not in record.get(fields.get(words[3], ""), []):
            continue
        for field, key in fields.items():
            print(
                f"{field}: {first(record, key) if key else '********' if kind == 'Users' else '*'}"
            )
        if kind == "Groups":
            print(f"users: {' '.join(sorted(directory.members(name)))} ")
        print()
    return 0
