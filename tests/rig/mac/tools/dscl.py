"""dscl: reads and changes the local directory."""

import json
import sys

from . import directory, state
from .directory import error, first

USAGE = """\
dscl (v40.4)
usage: dscl [options] [<datasource> [<command>]]
datasource:
    localhost                              (default)              or
    <hostname>                             (requires -u)          or
    <nodename>                             (Directory Service style node name)
options:
    -u  <user>                 authenticate as user
    -P  <password>             authentication password
    -p                         prompt for password
    -raw                       don't strip off prefix from DS constants
    -plist                     print out record(s) or attribute(s) in XML plist format
    -url                       print record attribute values in URL-style encoding
    -q                         quiet - no interactive prompt
commands:
    -read       [<path> [<key>...]]
    -create     <record path> [<key> [<val>...]]
    -delete     <path> [<key> [<val>...]]
    -list       <path> [<key>]
    -append     <record path> <key> <val>...
    -merge      <record path> <key> <val>...
    -change     <record path> <key> <old value> <new value>
    -search     <path> <key> <val>
    -passwd     <user path> [<new password> | <old password> <new password>]
    -authonly   [<user> [<password>]]"""
GUARDED = ("UniqueID", "NFSHomeDirectory")  # what takes Full Disk Access


class DSError(Exception):
    """An error of the directory service."""


def main(words: list[str]) -> int:
    rest = list(words)
    while rest and rest[0] in ("-q", "-raw"):
        rest.pop(0)
    if len(rest) < 2 or rest[0] not in (".", "/Local/Default", "/Search", "localhost"):
        return state.fail(USAGE, 64)
    command, rest = rest[1].lstrip("-"), rest[2:]
    run = COMMANDS.get(command)
    if not run:
        return state.fail(USAGE, 64)
    try:
        return run(*rest) or 0
    except TypeError:
        return state.fail(f"<main> {command}: wrong number of parameters\n{USAGE}", 64)
    except DSError as problem:
        text, code = error(problem.args[0])
        if problem.args[0] == -14120:
            print("<main> attribute status: eDSPermissionError", file=sys.stderr)
        if problem.args[0] == -14009:
            print("Invalid Path", file=sys.stderr)
        return state.fail(text, code)


def split(path: str) -> tuple[str, str]:
    """Take a path apart: the kind of the records, and the name of one."""
    kind, _, name = path.strip("/").partition("/")
    if kind not in directory.KINDS or "/" in name:
        raise DSError(-14009)
    return kind, name


def record_at(path: str) -> tuple[str, dict[str, list[str]]]:
    kind, name = split(path)
    found = directory.read(kind, name) if name else None
    if found is None:
        raise DSError(-14136)
    return kind, found


def shown(key: str, values: list[str]) -> str:
    """Write an attribute the way -read does: values with blanks on lines of their own."""
    if any(" " in value or not value for value in values):
        return f"{key}:\n" + "\n".join(f" {value}" for value in values)
    return f"{key}: " + " ".join(values)


def known_as(record: dict[str, list[str]], key: str) -> str:
    """Find the name an attribute is kept under."""
    bare = key.removeprefix("dsAttrTypeStandard:")
    return (
        bare
        if bare in record or f"dsAttrTypeNative:{bare}" not in record
        else f"dsAttrTypeNative:{bare}"
    )


def kept_as(key: str) -> str:
    """Tell an attribute of Apple's own list from one that is somebody's."""
    bare = key.removeprefix("dsAttrTypeStandard:")
    return f"dsAttrTypeNative:{bare}" if bare in NATIVE else bare


NATIVE = ("IsHidden",)


def read(path: str, *keys: str) -> int:
    _, record = record_at(path)
    for key in sorted({known_as(record, key) for key in keys} if keys else record):
        print(shown(key, record[key]) if key in record else f"No such key: {key}")
    return 0


def listing(path: str, key: str = "") -> int:
    kind, name = split(path)
    if name:
        record_at(path)
        return 0
    found = directory.names(kind)
    width = max(map(len, found), default=0) + 1
    for name in found:
        record = directory.read(kind, name)
        if not key:
            print(name)
        elif known_as(record, key) in record:
            print(f"{name:<{width}} {' '.join(record[known_as(record, key)])}")
    return 0


def search(path: str, key: str, value: str) -> int:
    kind, _ = split(path)
    for name in directory.names(kind):
        record = directory.read(kind, name)
        if value in record.get(known_as(record, key), []):
            print(f"{name}\t\t{key} = (\n    {value if value.isalnum() else json.dumps(value)}\n)")
    return 0


def demand_root() -> None:
    if not state.is_root():
        raise DSError(-14120)


def demand_access(kind: str, key: str) -> None:
    """Refuse what a session without Full Disk Access may not change."""
    demand_root()
    if kind == "Users" and key in GUARDED and not state.on("full-disk-access"):
        raise DSError(-14120)


def create(path: str, key: str = "", *values: str) -> None:
    kind, name = split(path)
    demand_access(kind, kept_as(key))
    with directory.changed():
        record = directory.read(kind, name)
        if record is None:
            record = {
                "AppleMetaNodeLocation": ["/Local/Default"],
                "GeneratedUID": [directory.guid()],
                "RecordName": [name],
                "RecordType": [f"dsRecTypeStandard:{kind}"],
            }
        if key:
            record[kept_as(key)] = list(values)
        directory.write(kind, record)


def append(path: str, key: str, *values: str) -> None:
    kind, record = record_at(path)
    demand_access(kind, kept_as(key))
    with directory.changed():
        record.setdefault(kept_as(key), []).extend(values)
        directory.write(kind, record)


def merge(path: str, key: str, *values: str) -> None:
    kind, record = record_at(path)
    demand_access(kind, kept_as(key))
    with directory.changed():
        for value in values:
            directory.add(record, kept_as(key), value)
        directory.write(kind, record)


def delete(path: str, key: str = "", *values: str) -> None:
    kind, record = record_at(path)
    if not key:
        demand_root()
        if kind == "Users" and not state.on("full-disk-access"):
            raise DSError(-14120)
        with directory.changed():
            directory.remove(kind, first(record, "RecordName"))
        return
    demand_access(kind, kept_as(key))
    kept = kept_as(key)
    if kept not in record or any(value not in record[kept] for value in values):
        raise DSError(-14134)
    with directory.changed():
        record[kept] = [value for value in record[kept] if values and value not in values]
        if not record[kept]:
            del record[kept]
        directory.write(kind, record)


def change(path: str, key: str, old: str, new: str) -> None:
    kind, record = record_at(path)
    demand_access(kind, kept_as(key))
    kept = kept_as(key)
    if old not in record.get(kept, []):
        raise DSError(-14134)
    with directory.changed():
        name = first(record, "RecordName")
        record[kept][record[kept].index(old)] = new
        if kept == "RecordName" and first(record, "RecordName") != name:
            directory.path(kind, name).unlink()
        directory.write(kind, record)


def passwd(path: str, *words: str) -> None:
    _, record = record_at(path)
    if not words:
        raise TypeError
    if not state.is_root() and not (
        len(words) == 2 and directory.is_password(first(record, "RecordName"), words[0])
    ):
        raise DSError(-14090)
    with directory.changed():
        directory.set_password(first(record, "RecordName"), words[-1])


def authonly(name: str, password: str = "") -> int:
    if directory.is_password(name, password):
        return 0
    print("Authentication for node /Local/Default failed. (-14090, eDSAuthFailed)", file=sys.stderr)
    return error(-14090)[1]


COMMANDS = {
    "read": read,
    "cat": read,
    "list": listing,
    "ls": listing,
    "search": search,
    "create": create,
    "mk": create,
    "append": append,
    "merge": merge,
    "delete": delete,
    "rm": delete,
    "change": change,
    "passwd": passwd,
    "authonly": authonly,
}
