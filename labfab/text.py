"""Text: makes text from a host harmless, and counts things in words."""

from __future__ import annotations

import json
import re
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
