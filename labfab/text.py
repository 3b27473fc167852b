"""Text: makes text from a host harmless, and counts things in words."""

from __future__ import annotations

import re

# Every character that controls a terminal or breaks a line, except tab and newline.
CONTROL = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]"


def printable(text: str) -> str:
    """Replace each control character with ?, so that text from a host cannot move the cursor."""
    return re.sub(CONTROL, "?", text)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: 1 change, 2 changes."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
