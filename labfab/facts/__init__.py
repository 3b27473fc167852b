"""Facts: what is on the host now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fabric import Connection

if TYPE_CHECKING:
    from .records import Facts


def facts(c: Connection) -> Facts:
    """Return what is known of the host; a section is read when it is first used.

    Take it again after a change: an object that was taken before keeps what it has parsed.
    """
    # Loading the many records takes longer than `fab --list` may.
    from .records import Facts

    return Facts(c)
