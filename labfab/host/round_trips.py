"""Wire: what goes over the line, counted for whoever asks why a run takes long.

LABFAB_DEBUG=wire tells it on stderr at the end of a run. Times differ from line to line; these numbers do not.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import paramiko
from paramiko import common

NAMES = {
    common.MSG_USERAUTH_REQUEST: "keys or passwords offered",
    common.MSG_CHANNEL_OPEN: "channels opened",
    common.MSG_CHANNEL_REQUEST: "requests",
    "frame": "frames waited for",
}
AFTER_LOGIN = (common.MSG_CHANNEL_OPEN, common.MSG_CHANNEL_REQUEST, "frame")


class Transport(paramiko.Transport):
    """paramiko's, which counts the messages that it sends by their kind."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.sent: Counter[int | str] = Counter()
        super().__init__(*args, **kwargs)

    def _send_message(self, data: paramiko.Message) -> None:
        self.sent[data.asbytes()[0]] += 1
        super()._send_message(data)


def counted() -> bool:
    return os.environ.get("LABFAB_DEBUG", "") == "wire"


def waited(transport: paramiko.Transport) -> None:
    """Count one wait for the answer to scripts; those that were sent together are waited for together."""
    if isinstance(transport, Transport):
        transport.sent["frame"] += 1


def told(transport: paramiko.Transport) -> str:
    """What was sent, in words; each of the last three kinds costs a round trip."""
    if not isinstance(transport, Transport):  # dialled by somebody else
        return "the line was not opened by labfab, so nothing was counted"
    sent = transport.sent
    kinds = ", ".join(f"{name} {sent[kind]}" for kind, name in NAMES.items())
    return f"{kinds}: {sum(sent[kind] for kind in AFTER_LOGIN)} round trips after the login"
