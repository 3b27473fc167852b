"""Text: makes text from a host harmless, and counts things in words."""

from __future__ import annotations

import json
import re
import shlex
import unicodedata

# Kinds of characters that control a terminal, reorder or hide what is next to them, break a line,
# or cannot be written at all.
HARMFUL = ("Cc", "Cf", "Cs", "Zl", "Zp")
# Letters and marks that show nothing.
INVISIBLE = "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"
BREAKS = {"\t", "\r", "\n"}
# The command that the user typed. Messages are written for `fab`.
program = "fab"
COMMAND = re.compile(r"(?<![\w./-])fab (?=-|[a-z])")
UNUSUAL = r"[^\t\n\x20-\x7e]"


def name_program(name: str) -> None:
    """Name this program in the commands of messages from now on."""
    global program
    program = name


def as_typed(text: str) -> str:
    """Name the program that the user typed in the commands of a message."""
    return text if program == "fab" else COMMAND.sub(f"{program} ", text)


def printable(text: str) -> str:
    """Replace each harmful character with ?, except tab and newline.

    Text from a host can then neither move the cursor nor look like something else.
    """
    return re.sub(UNUSUAL, lambda found: "?" if is_harmful(found[0]) else found[0], text)


def is_harmful(character: str) -> bool:
    """Return whether a terminal must not get this character."""
    return unicodedata.category(character) in HARMFUL or character in INVISIBLE


def one_line(text: str) -> str:
    """Make text from a host harmless, and put it on one line."""
    return printable(re.sub(r"\s+", lambda found: " " if BREAKS & {*found[0]} else found[0], text))


def to_type(command: str, *values: str) -> str:
    """Return a command for the user to type: *command* as it is, then the values, quoted.

    Values may come from a host. Empty if one does not show as what it is, or reads as an option.
    """
    if any(one_line(value) != value or value.startswith("-") for value in values):
        return ""
    return " ".join([command, *map(shlex.quote, values)])


def to_type_on_host(login: str, command: str) -> str:
    """Return the ssh that runs a command of to_type() on a host, quoted for the shell here too.

    login: ssh's words for the host. Empty if there is no command.
    """
    return f"ssh -t {login} {shlex.quote(command)}" if command else ""


def json_text(document: object) -> str:
    """Write a JSON document for people and programs, with every harmful character escaped."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    return re.sub(UNUSUAL, lambda found: escaped(found[0]), text)


def escaped(character: str) -> str:
    """Return a character as JSON writes it, escaped if it is harmful."""
    return json.dumps(character)[1:-1] if is_harmful(character) else character


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: 1 change, 2 changes."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
