"""Decode: checks data from outside and turns it into NamedTuples.

msgspec does that. It is imported on use, because loading it takes longer than listing all tasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

Kind = TypeVar("Kind", bound=NamedTuple)


def records(text: bytes, kind: type[Kind]) -> list[Kind]:
    """Parse a JSON list of objects into records.

    Raises ValueError if it is something else, or if a field is missing or has the wrong type.
    """
    import msgspec

    return [record(kind, values) for values in msgspec.json.decode(text, type=list[dict[str, Any]])]


def record(kind: type[Kind], values: Mapping[str, Any]) -> Kind:
    """Create one record, ignoring unknown fields. Raises ValueError as records() does."""
    import msgspec

    known = kind._field_defaults | dict(values)
    missing = [name for name in kind._fields if name not in known]
    if missing:
        raise ValueError(f"{kind.__name__} lacks {', '.join(missing)}")
    return msgspec.convert([known[name] for name in kind._fields], kind)
