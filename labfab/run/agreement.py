"""Agreement: whether a run may go on with what it has shown to the user.

At a terminal the user is asked; elsewhere the setting `accept` must have the word for it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from .. import console
from ..errors import SetupError
from ..host.session import Host


def refuse_unasked(host: Host, kinds: Iterable[str], stopped: str) -> None:
    """Raise SetupError if something is not agreed to and nobody can be asked.

    kinds: words of the setting accept that it lacks. stopped: the beginning of the error's text.
    """
    words = ", ".join(dict.fromkeys(kinds))
    if words and not host.planning and (console.host_console() or not sys.stdin.isatty()):
        raise SetupError(
            f"{stopped}; if that is right, set accept: [{words}] "
            f"(LABFAB_ACCEPT={words.replace(' ', '')})",
            host=host.label,
        )


def confirm(host: Host, kinds: Iterable[str]) -> None:
    """Ask about what is not agreed to; in a plan, say where a run would stop.

    kinds: as for refuse_unasked(). Raises SetupError if the answer is no.
    """
    words = ", ".join(dict.fromkeys(kinds))
    if words and host.planning:
        console.note(f"setup.full stops there unless you set accept: [{words}]")
    elif words and not console.agreed(f"{host.label}: go on all the same?"):
        raise SetupError("nothing was changed", host=host.label)
