"""A channel to a real `sh` on this machine, with the methods of paramiko's that host/shell.py uses.

Scripts first in PATH stand in for `id` and `sudo`: nobody has to be root, and nothing changes.
"""

import os
import selectors
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

from labfab.host.shell import Shell


class Channel:
    """One session: two outputs and one input."""

    def __init__(self, path: str, folder: Path) -> None:
        self.environment = {"PATH": path, "HOME": str(folder), "LANG": "C"}
        self.folder = folder
        self.transport = SimpleNamespace(is_active=lambda: True)
        self.process: subprocess.Popen | None = None
        self.ended: set[str] = set()
        self.closed = False
        self.always, other = socket.socketpair()
        other.close()

    def exec_command(self, command: str) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            env=self.environment,
            cwd=self.folder,
            bufsize=0,
        )
        self.outputs = {"out": self.process.stdout, "err": self.process.stderr}
        self.selector = selectors.DefaultSelector()
        for name, file in self.outputs.items():
            self.selector.register(file, selectors.EVENT_READ, name)

    def fileno(self) -> int:
        return self.selector.fileno()

    def ready(self, name: str) -> bool:
        return name not in self.ended and any(
            key.data == name for key, _ in self.selector.select(0)
        )

    def take(self, name: str, size: int) -> bytes:
        data = os.read(self.outputs[name].fileno(), size)
        if not data:
            self.ended.add(name)
            self.selector.unregister(self.outputs[name])
            if len(self.ended) == 2:  # like paramiko's, it stays readable after the end
                self.process.wait()
                self.selector.register(self.always, selectors.EVENT_READ, "end")
        return data

    def recv_ready(self) -> bool:
        return self.ready("out")

    def recv_stderr_ready(self) -> bool:
        return self.ready("err")

    def recv(self, size: int) -> bytes:
        return self.take("out", size)

    def recv_stderr(self, size: int) -> bytes:
        return self.take("err", size)

    def sendall(self, data: bytes) -> None:
        if self.closed:
            raise OSError("Socket is closed")
        view = memoryview(data)
        while view:
            view = view[os.write(self.process.stdin.fileno(), view[:60000]) :]

    def exit_status_ready(self) -> bool:
        return self.process.poll() is not None

    def close(self) -> None:
        self.always.close()
        if not self.closed and self.process:
            self.closed = True
            self.selector.close()
            self.process.stdin.close()
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
            self.process.stderr.close()


def stand_ins(folder: Path, scripts: dict[str, str]) -> None:
    """Write small programs into a folder."""
    folder.mkdir(exist_ok=True)
    for name, text in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)


@contextmanager
def opened(folder: Path, password: str | None = None, path: str = ":/usr/bin:/bin", **scripts: str):
    """Yield a Shell over a local `sh`. Unless given another `id`, the account is root."""
    stand_ins(folder / "bin", {"id": "echo 0"} | scripts)
    channel = Channel(f"{folder}/bin{path}", folder)
    transport = SimpleNamespace(open_session=lambda timeout: channel)
    try:
        yield Shell(transport, "box", password)
    finally:
        channel.close()
