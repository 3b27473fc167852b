"""Text: makes harmless what a host says, and counts in words."""

from __future__ import annotations

import re

# All that terminals obey, but for the tab and the newline.
CONTROL = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]"


def printable(text: str) -> str:
    """Replace each control character with ?, so that a host's words move no cursor."""
    return re.sub(CONTROL, "?", text)


def counted(number: int, noun: str) -> str:
    """Say how many: 1 change, 2 changes."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
