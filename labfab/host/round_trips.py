"""Round trips: counts what goes over the connection, to find out why a run is slow.

LABFAB_DEBUG=wire prints the counts on stderr at the end of a run. Times differ from one connection
to another; these numbers do not.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import paramiko
from paramiko import common

from .transport import Transport as BoundedTransport

NAMES: dict[int | str, str] = {
    common.MSG_USERAUTH_REQUEST: "keys or passwords offered",
    common.MSG_CHANNEL_OPEN: "channels opened",
    common.MSG_CHANNEL_REQUEST: "requests",
    "frame": "frames waited for",
}
AFTER_LOGIN = (common.MSG_CHANNEL_OPEN, common.MSG_CHANNEL_REQUEST, "frame")


class Transport(BoundedTransport):
    """Our transport, which also counts the messages that it sends, by kind."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.sent: Counter[int | str] = Counter()
        super().__init__(*args, **kwargs)

    def count(self, kind: int | str) -> None:
        """Count one message."""
        self.sent[kind] += 1

    def _send_message(self, data: paramiko.Message) -> None:
        self.count(data.asbytes()[0])
        super()._send_message(data)  # type: ignore[misc]  # private, so not in its stubs


def counted() -> bool:
    """Return whether round trips are counted."""
    return os.environ.get("LABFAB_DEBUG", "") == "wire"


def count_wait(transport: paramiko.Transport | None) -> None:
    """Count one wait for scripts. Scripts that were sent together count as one wait."""
    if isinstance(transport, Transport):
        transport.count("frame")


def describe(transport: paramiko.Transport) -> str:
    """Describe what was sent. Each message of the last three kinds costs a round trip."""
    if not isinstance(transport, Transport):
        return "the connection was not opened by labfab, so nothing was counted"
    sent = transport.sent
    kinds = ", ".join(f"{name} {sent[kind]}" for kind, name in NAMES.items())
    return f"{kinds}: {sum(sent[kind] for kind in AFTER_LOGIN)} round trips after the login"
