"""Decode: checks data from outside and turns it into NamedTuples.

msgspec does that. It is imported on use, because loading it takes longer than listing all tasks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

Kind = TypeVar("Kind", bound=NamedTuple)


def parsed(text: str | bytes) -> Any:
    """Parse JSON. Raises ValueError if it is something else, or nested without end."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def number(text: str) -> int | None:
    """Return a whole number from its digits; None for anything else.

    Python's own test for digits accepts some that int rejects.
    """
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def records(text: bytes, kind: type[Kind]) -> list[Kind]:
    """Parse a JSON list of objects into records.

    Raises ValueError if it is something else, or if a field is missing or has the wrong type.
    """
    import msgspec

    try:
        found = msgspec.json.decode(text, type=list[dict[str, Any]])
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return [record(kind, values) for values in found]


def record(kind: type[Kind], values: Mapping[str, Any]) -> Kind:
    """Create one record, ignoring unknown fields. Raises ValueError as records() does."""
    import msgspec

    known = kind._field_defaults | dict(values)
    missing = [name for name in kind._fields if name not in known]
    if missing:
        raise ValueError(f"{kind.__name__} lacks {', '.join(missing)}")
    return msgspec.convert([known[name] for name in kind._fields], kind)
