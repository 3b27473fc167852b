"""Commands inside a virtual machine: qemu's guest agent runs them as root, past sshd."""

import base64
import json
import random
import socket
import time
from contextlib import suppress

from .places import RigError

ENVIRONMENT = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root")
PATIENCE = 20  # seconds for one answer: in emulation, on a busy machine
FRESH = b"\xff"  # before it, whatever came for somebody else


class GuestAgent:
    """The agent at the other end of a socket."""

    def __init__(self, line: socket.socket) -> None:
        self.line = line

    def run(self, command: str, input: str, timeout: float) -> str:
        """Run a shell command and return what it prints.

        Raises RigError where it fails or takes too long.
        """
        end = time.monotonic() + timeout
        began = self.ask(
            "guest-exec",
            end,
            {
                "path": "/bin/sh",
                "arg": ["-c", command],
                "env": ENVIRONMENT,
                "input-data": base64.b64encode(input.encode()).decode(),
                "capture-output": True,
            },
        )
        pause = 0.05
        while not (state := self.ask("guest-exec-status", end, {"pid": began["pid"]}))["exited"]:
            pause = min(2, pause * 1.5)
            time.sleep(pause)
        said = {
            name: base64.b64decode(state.get(f"{name}-data", "")).decode(errors="replace").strip()
            for name in ("out", "err")
        }
        if state.get("exitcode") != 0:
            ended = state.get("exitcode", f"signal {state.get('signal')}")
            words = said["err"] or said["out"]
            raise RigError(f"`{command[:80]} …` ended with {ended}: {words[-1500:]}")
        return said["out"]

    def ask(self, name: str, end: float, arguments: dict) -> dict:
        """Ask until there is an answer: while the machine boots, nobody listens."""
        while True:
            left = end - time.monotonic()
            with suppress(OSError, EOFError):
                return self.exchange(name, arguments, min(PATIENCE, max(left, 1)))
            if left < 0:
                raise RigError(f"the machine's guest agent gave no answer to {name} in time")
            time.sleep(0.2)

    def exchange(self, name: str, arguments: dict, timeout: float) -> dict:
        """Make sure that we hear answers to our own questions, and ask."""
        self.line.settimeout(timeout)
        with self.line.makefile("rb") as answers:
            mark = random.randrange(2**31)
            self.line.sendall(FRESH + question("guest-sync-delimited", {"id": mark}))
            while True:
                found = read(answers).rpartition(FRESH)
                if found[1] and json.loads(found[2]).get("return") == mark:
                    break
            self.line.sendall(question(name, arguments))
            answer = json.loads(read(answers))
        if "error" in answer:
            raise RigError(f"the machine's guest agent refuses {name}: {answer['error']['desc']}")
        return answer["return"]


def question(name: str, arguments: dict) -> bytes:
    return json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n"


def read(answers) -> bytes:
    """Read one line; EOFError where the machine is off."""
    line = answers.readline()
    if not line:
        raise EOFError
    return line
