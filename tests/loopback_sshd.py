"""A real sshd on loopback, which runs as you with keys of its own."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import paramiko
import pytest

from labfab.local_state import keypair

SSHD = shutil.which("sshd", path=os.environ["PATH"] + ":/usr/sbin")
needs_sshd = pytest.mark.skipif(not SSHD, reason="no sshd here: install openssh-server")


@dataclass
class Server:
    """A throwaway sshd with the one key that it lets in."""

    port: int
    process: subprocess.Popen[bytes]
    host_key: paramiko.PKey
    identity: Path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("sshd")
    identity, host_key = keypair.generate(folder / "user"), keypair.generate(folder / "host")
    authority = keypair.generate(folder / "ca")
    port = free_port()
    (folder / "config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {host_key}\n"
        f"AuthorizedKeysFile {identity}.pub\nPidFile none\nTrustedUserCAKeys {authority}.pub\n"
        "StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        "KexAlgorithms curve25519-sha256,curve25519-sha256@libssh.org\n"
    )
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd as root insists on it
    process = subprocess.Popen(
        [SSHD, "-D", "-e", "-f", folder / "config"], stderr=subprocess.DEVNULL
    )
    wait_for(lambda: listens(port))
    yield Server(port, process, paramiko.PKey.from_path(host_key), identity)
    process.terminate()
    process.wait(5)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def listens(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
