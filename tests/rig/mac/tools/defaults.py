"""defaults: read, read-type, write and delete of a domain or a property list's path."""

import os
import plistlib
import pwd
from pathlib import Path

from . import state

USAGE = """\
Command line interface to a user's defaults.
Syntax:

'defaults' [-currentHost | -host <hostname>] followed by one of the following:

  read                                 shows all defaults
  read <domain>                        shows defaults for given domain
  read <domain> <key>                  shows defaults for given domain, key

  read-type <domain> <key>             shows the type for the given domain, key

  write <domain> <domain_rep>          writes domain (overwrites existing)
  write <domain> <key> <value>         writes key for domain

  delete <domain>                      deletes domain
  delete <domain> <key>                deletes key in domain"""


def path_of(domain: str) -> Path:
    """Find the file of a domain."""
    if domain.startswith("/"):
        return Path(domain if domain.endswith(".plist") else domain + ".plist")
    home = Path(pwd.getpwuid(os.geteuid()).pw_dir)
    return (
        home
        / "Library"
        / "Preferences"
        / f"{'.GlobalPreferences' if domain in ('-g', 'NSGlobalDomain') else domain}.plist"
    )


def load(path: Path) -> dict:
    try:
        return plistlib.loads(path.read_bytes())
    except (OSError, plistlib.InvalidFileException):
        return {}


def missing(domain: str, key: str = "") -> int:
    name = path_or_name(domain)
    state.log(
        "defaults",
        f"\nThe domain/default pair of ({name}, {key}) does not exist"
        if key
        else f"\nDomain {name} does not exist",
    )
    return 1


def path_or_name(domain: str) -> str:
    return domain.removesuffix(".plist")


def shown(value, depth: int = 0) -> str:
    """Write a value in the old style."""
    if isinstance(value, bool):
        return str(int(value))
    pad = "    " * (depth + 1)
    if isinstance(value, dict):
        return (
            "{\n"
            + "".join(
                f"{pad}{quoted(key)} = {shown(value[key], depth + 1)};\n" for key in sorted(value)
            )
            + "    " * depth
            + "}"
        )
    if isinstance(value, list):
        return (
            "(\n"
            + ",\n".join(pad + shown(one, depth + 1) for one in value)
            + "\n"
            + "    " * depth
            + ")"
        )
    return quoted(str(value)) if depth else str(value)


def quoted(text: str) -> str:
    return (
        text
        if text.replace("_", "").replace(".", "").replace("/", "").isalnum()
        else '"' + text.replace('"', '\\"') + '"'
    )


TYPES = {
    bool: "boolean",
    int: "integer",
    float: "float",
    str: "string",
    dict: "dictionary",
    list: "array",
    bytes: "data",
}


def main(words: list[str]) -> int:
    if len(words) < 2 or words[0] not in ("read", "read-type", "write", "delete", "domains"):
        return state.fail(USAGE, 255)
    command, domain, rest = words[0], words[1], words[2:]
    path = path_of(domain)
    content = load(path)
    if command == "read" and len(rest) <= 1:
        if not content:
            return missing(domain, *rest)
        if rest and rest[0] not in content:
            return missing(domain, rest[0])
        print(shown(content[rest[0]] if rest else content))
        return 0
    if command == "read-type" and len(rest) == 1:
        if rest[0] not in content:
            return missing(domain, rest[0])
        print(f"Type is {TYPES.get(type(content[rest[0]]), 'unknown')}")
        return 0
    if command == "delete" and len(rest) <= 1:
        if not content or rest and rest[0] not in content:
            return missing(domain, *rest)
        if rest:
            del content[rest[0]]
        else:
            content = {}
        return save(path, domain, content)
    if command == "write" and rest:
        try:
            content[rest[0]] = value_of(rest[1:])
        except (ValueError, IndexError):
            return state.fail(USAGE, 255)
        return save(path, domain, content)
    return state.fail(USAGE, 255)


def value_of(words: list[str]):
    """Read what is to be written: -bool TRUE, -int 3, -string x, or a word."""
    kind = words[0]
    if kind in ("-bool", "-boolean"):
        if words[1].lower() not in ("true", "false", "yes", "no"):
            raise ValueError(words[1])
        return words[1].lower() in ("true", "yes")
    if kind in ("-int", "-integer"):
        return int(words[1])
    if kind == "-float":
        return float(words[1])
    if kind == "-string":
        return words[1]
    if kind == "-array":
        return words[1:]
    if kind == "-dict":
        return dict(zip(words[1::2], words[2::2], strict=True))
    if kind.startswith("-") or len(words) != 1:
        raise ValueError(kind)
    return kind


def save(path: Path, domain: str, content: dict) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(path.name + ".new")
        fresh.write_bytes(plistlib.dumps(content, fmt=plistlib.FMT_BINARY))
        fresh.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o644)
        fresh.rename(path)
    except OSError:
        state.log("defaults", f"Could not write domain {path_or_name(domain)}; exiting")
        return 1
    return 0
