"""Record: what came from outside, checked and made a NamedTuple of ours.

msgspec does the checking. It is loaded by what checks: loading it takes longer than listing all tasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

Kind = TypeVar("Kind", bound=tuple)


def decode(text: bytes, kind: type[Kind]) -> list[Kind]:
    """The records of a JSON list. Raises ValueError where it is none, or one lacks a field or has a wrong type in it."""
    import msgspec

    return [made(kind, values) for values in msgspec.json.decode(text, type=list[dict[str, Any]])]


def made(kind: type[Kind], values: Mapping[str, Any]) -> Kind:
    """One record; other fields than its own are passed over. Raises ValueError as decode()."""
    import msgspec

    known = kind._field_defaults | values
    missing = [name for name in kind._fields if name not in known]
    if missing:
        raise ValueError(f"{kind.__name__} lacks {', '.join(missing)}")
    return msgspec.convert([known[name] for name in kind._fields], kind)
