"""Facts: the present state of the host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fabric import Connection

if TYPE_CHECKING:
    from .records import Facts


def facts(c: Connection) -> Facts:
    """Return the facts about the host. A section is read when it is first used.

    After a change call this again, because the returned object keeps what it has parsed.
    """
    # Loading the many records would slow down `fab --list`.
    from .records import Facts

    return Facts(c)
