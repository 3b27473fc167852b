"""Answers that were meant for an earlier question are not taken for ours."""

import base64
import json
import socket
import threading

import pytest

from tests.rig.guest_agent import FRESH, GuestAgent
from tests.rig.places import RigError


def agent(line: socket.socket, code: int) -> None:
    """Answer as qemu's guest agent does, with something old before it."""
    line.sendall(b'{"execute": "an echo of a terminal"}\n' + FRESH + b'{"return": 1}\n')
    with line, line.makefile("rb") as questions:
        for text in questions:
            asked = json.loads(text.lstrip(FRESH))
            answer: dict = {"pid": 7}
            if asked["execute"] == "guest-sync-delimited":
                line.sendall(FRESH)
                answer = asked["arguments"]["id"]
            elif asked["execute"] == "guest-exec-status":
                out = base64.b64encode(b"said\n").decode()
                answer = {"exited": True, "exitcode": code, "out-data": out}
            line.sendall(json.dumps({"return": answer}).encode() + b"\n")


@pytest.fixture
def speak():
    """Give the agent of a machine on which each command ends with this code."""
    ours, theirs = socket.socketpair()
    threads = []

    def give(code: int) -> GuestAgent:
        threads.append(threading.Thread(target=agent, args=(theirs, code)))
        threads[0].start()
        return GuestAgent(ours)

    yield give
    ours.close()
    threads[0].join()


def test_a_command_gives_what_it_prints(speak):
    assert speak(0).run("true", "", 5) == "said"


def test_a_command_that_fails_says_why(speak):
    with pytest.raises(RigError, match=r"ended with 3: said"):
        speak(3).run("false", "", 5)
