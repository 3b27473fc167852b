"""plutil: -lint, -convert, -p, -extract, -replace, -insert, -remove of property lists."""

import json
import plistlib
import sys
from pathlib import Path

from . import state

USAGE = """\
plutil: [command_option] [other_options] file...
The file '-' means stdin
Command options are (-lint is the default):
 -help                         show this message and exit
 -lint                         check the property list files for syntax errors
 -convert fmt                  rewrite property list files in format
 -insert keypath -type value   insert a value into the property list
 -replace keypath -type value  same as -insert, but it will overwrite an existing value
 -remove keypath               removes the value at 'keypath' from the property list
 -extract keypath fmt          outputs the value at 'keypath' in the property list
 -p                            print property list in a human-readable fashion
Additional option formats -o path, -e extension, -s, -r, -n, --"""
FORMATS = ("xml1", "binary1", "json", "raw", "swift", "objc")


class Bad(Exception):
    """What is wrong with a file."""


def load(name: str):
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as problem:
        raise Bad("file does not exist or is not readable or is not a regular file") from problem
    try:
        return plistlib.loads(data)
    except Exception as problem:
        try:
            return json.loads(data)
        except ValueError:
            raise Bad(
                f"Property List error: {problem or 'Unexpected character'} / JSON error: JSON text did not start with array or object"
            ) from problem


def dump(value, form: str) -> bytes:
    if form == "json":
        return json.dumps(value, default=str, separators=(",", ":")).encode()
    return plistlib.dumps(
        value, fmt=plistlib.FMT_BINARY if form == "binary1" else plistlib.FMT_XML, sort_keys=True
    )


def at(value, keypath: str):
    """Find what a path of keys, joined by dots, leads to."""
    for key in keypath.replace("\\.", "\0").split("."):
        key = key.replace("\0", ".")
        value = value[int(key)] if isinstance(value, list) else value[key]
    return value


def raw(value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "\n".join(sorted(value))
    return str(len(value)) if isinstance(value, list) else str(value)


def pretty(value, depth: int = 0) -> str:
    """Write a value the way -p does."""
    pad = "  " * (depth + 1)
    if isinstance(value, dict):
        rows = [f'{pad}"{key}" => {pretty(value[key], depth + 1)}\n' for key in sorted(value)]
        return "{\n" + "".join(rows) + "  " * depth + "}"
    if isinstance(value, list):
        return (
            "[\n"
            + "".join(
                f"{pad}{place} => {pretty(one, depth + 1)}\n" for place, one in enumerate(value)
            )
            + "  " * depth
            + "]"
        )
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else raw(value)


def typed(kind: str, text: str):
    """Read a value of the command line."""
    readers = {
        "-string": str,
        "-integer": int,
        "-float": float,
        "-bool": lambda word: word.lower() in ("yes", "true", "1"),
        "-json": json.loads,
        "-xml": lambda word: plistlib.loads(word.encode()),
    }
    return readers[kind](text)


def main(words: list[str]) -> int:
    command, options, files, rest = "-lint", {}, [], list(words)
    if not rest:
        return state.fail("No files specified.\n" + USAGE, 1)
    takes = {
        "-convert": 1,
        "-extract": 2,
        "-insert": 3,
        "-replace": 3,
        "-remove": 1,
        "-lint": 0,
        "-p": 0,
    }
    values = []
    while rest:
        word = rest.pop(0)
        if word == "--":
            files += rest
            break
        if word in takes and len(rest) >= takes[word]:
            command, values = word, [rest.pop(0) for _ in range(takes[word])]
        elif word in ("-o", "-e", "-expect") and rest:
            options[word] = rest.pop(0)
        elif word in ("-s", "-n", "-r"):
            options[word] = "yes"
        elif word in ("-help", "--help"):
            print(USAGE)
            return 0
        elif word.startswith("-") and word != "-":
            return state.fail(f"{word}: unrecognized option\n{USAGE}", 1)
        else:
            files.append(word)
    if not files:
        return state.fail("No files specified.\n" + USAGE, 1)
    if command in ("-convert", "-extract") and values[-1] not in FORMATS:
        return state.fail(f"Unknown format specifier: {values[-1]}\n{USAGE}", 1)
    code = 0
    for name in files:
        try:
            code = one(command, values, options, name) or code
        except Bad as problem:
            shown = "<stdin>" if name == "-" else name
            print(f"{shown}: {problem}", file=sys.stdout if command == "-lint" else sys.stderr)
            code = 1
    return code


def one(command: str, values: list[str], options: dict[str, str], name: str) -> int:
    """Do the command to one file."""
    content = load(name)
    target = options.get("-o", name)
    if command == "-lint":
        if "-s" not in options:
            print(f"{'<stdin>' if name == '-' else name}: OK")
        return 0
    if command == "-p":
        print(pretty(content))
        return 0
    out = b""
    try:
        if command == "-convert":
            out = dump(content, values[0])
        elif command == "-extract":
            found = at(content, values[0])
            target = options.get("-o", "-")
            out = (
                raw(found).encode() + b"\n" * ("-n" not in options)
                if values[1] == "raw"
                else dump(found, values[1])
            )
        else:
            folder, _, key = values[0].rpartition(".")
            holder = at(content, folder) if folder else content
            if command == "-remove":
                del holder[key]
            elif command == "-insert" and key in holder:
                raise Bad(
                    f"Could not modify plist, error: value already exists at keypath {values[0]}"
                )
            else:
                holder[key] = typed(values[1], values[2])
            out = dump(content, "xml1")
    except (KeyError, IndexError, ValueError, TypeError) as problem:
        raise Bad(
            f"Could not {'extract' if command == '-extract' else 'modify'} value, error: No value at that key path or invalid key path: {values[0]}"
        ) from problem
    if target == "-":
        sys.stdout.buffer.write(out)
    else:
        Path(target).write_bytes(out)
    return 0
