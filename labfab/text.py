"""Plain: what a host says, as text that moves no cursor and writes to no clipboard."""

from __future__ import annotations

import re

# All that terminals obey, but for the tab and the newline.
CONTROL = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]"


def plain(text: str) -> str:
    """Put ? in the place of what a terminal would obey."""
    return re.sub(CONTROL, "?", text)
