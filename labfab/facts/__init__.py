"""Facts: what is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fabric import Connection

if TYPE_CHECKING:
    from .records import Facts


def facts(c: Connection) -> Facts:
    """What is known of the host, read as far as it is needed."""
    from .records import Facts  # its many records cost what `fab --list` need not pay

    return Facts(c)
