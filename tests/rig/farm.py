"""A farm: many hosts behind real SSH servers on the loopback, in one process; each is the model of tests/fake.py, set up.

`python -m tests.rig.farm HOME PORT COUNT` sets a model up, writes what the laptop then has into HOME, says "ready" and
serves until its input is closed. The hosts are 127.0.1.1, 127.0.1.2, … at one port, so it needs a system (Linux) where all
of 127/8 is this machine. What cannot be modeled is a real JupyterLab behind a tunnel: STAGES leave the tunnel out.
"""

import contextlib
import copy
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import paramiko
import pytest

from labfab.host import shell
from labfab.local_state import ssh_config
from labfab.on_host import loader
from labfab.stages import firewall, lab, python, user
from labfab.stages.jupyter import config as jupyter
from labfab.stages.keys import authorized_keys
from labfab.stages.ssh import hardening
from labfab.stages.system import updates

from .fab import make_key
from .places import REPO
from .ports import free_port

STAGES = (
    updates.update,
    user.add,
    authorized_keys.copy,
    hardening.disable_passwords,
    hardening.disable_root,
    hardening.change_port,
    firewall.enable,
    python.install,
    jupyter.configure,
    lab.start,
)
SETTINGS = {"python": "venv"}
KERNEL = "Linux"
# How shell.py ends a frame; what stands before it is what the shell runs.
END = re.compile(r"; printf '\\n%s %d\\n' (labfab-[0-9a-f]+) \$\?; printf '\\n%s\\n' \1 >&2\n")
EVAL = re.compile(r"\(eval (.*)\) </dev/null 9>&-", re.DOTALL)


@dataclass
class Farm:
    """What a caller has to know."""

    home: Path
    names: list[str]
    process: subprocess.Popen


@contextmanager
def farm(home: Path, count: int) -> Iterator[Farm]:
    """Have a farm in a process of its own, and a home that knows its hosts as farm001, farm002, …"""
    words = [sys.executable, "-m", "tests.rig.farm", str(home), str(free_port()), str(count)]
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("LABFAB_", "SSH_", "XDG_"))
    }
    pipe, environment["HOME"] = subprocess.PIPE, str(home)
    process = subprocess.Popen(words, cwd=REPO, env=environment, stdin=pipe, stdout=pipe, text=True)
    try:
        for line in process.stdout:
            if line == "ready\n":
                break
        assert process.poll() is None, "the farm did not come up"
        yield Farm(home, [name(n) for n in range(count)], process)
    finally:
        process.stdin.close()
        process.wait(30)
        process.stdout.close()


def name(n: int) -> str:
    return f"farm{n + 1:03}"


def address(n: int) -> str:
    return f"127.0.{n // 250 + 1}.{n % 250 + 1}"


# In the farm's process ---------------------------------------------------------------------------


def main(home: Path, port: int, count: int) -> None:
    """Make the hosts and the home, then serve."""
    key = paramiko.ECDSAKey.generate()
    with pytest.MonkeyPatch.context() as patch:
        model = set_up(patch, home, port)
    settle_in(home, port, count, key)
    for n in range(count):
        server = socket.create_server((address(n), port))
        threading.Thread(target=accept, args=(server, key, model), daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()


def set_up(patch: pytest.MonkeyPatch, home: Path, port: int):
    """Run the stages on a model, as the first run on a bare host does."""
    from tests import fake

    (home / "project").mkdir(parents=True)
    patch.chdir(home / "project")
    make_key(home)
    model = fake.answering(fake.FakeHost("root", False, SETTINGS | {"ssh_port": port}), patch)
    for stage in STAGES:
        stage(model.c)
    again = model.again()
    for stage in STAGES:
        stage(again)
    assert model.whys == [], f"the model is not done: {model.whys}"
    return model


def settle_in(home: Path, port: int, count: int, key: paramiko.PKey) -> None:
    """Write what a laptop has that set all of them up: aliases, host keys, passwords."""
    first = ssh_config.read(home / ".ssh" / "config")[0]
    kept = home / ".config" / "labfab"
    with (
        open(home / ".ssh" / "config", "w") as config,
        open(home / ".ssh" / "known_hosts", "w") as known,
    ):
        for n in range(count):
            was = f"root@{address(n)}:{port}"
            config.write(
                ssh_config.render(
                    ssh_config.Alias(name(n), address(n), first.user, port, first.identity, was),
                    "\n",
                )
            )
            known.write(f"[{address(n)}]:{port} {key.get_name()} {key.get_base64()}\n")
            shutil.copytree(kept / first.name, kept / name(n))


def accept(server: socket.socket, key: paramiko.PKey, model) -> None:
    """Serve one host: each caller in a thread of its own."""
    with contextlib.suppress(OSError):
        while True:
            caller, _ = server.accept()
            caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(
                target=serve, args=(caller, key, copy.copy(model)), daemon=True
            ).start()


def serve(caller: socket.socket, key: paramiko.PKey, model) -> None:
    transport = paramiko.Transport(caller)
    transport.add_server_key(key)
    with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
        transport.start_server(server=Door(model))
        transport.join()
    transport.close()


class Door(paramiko.ServerInterface):
    """Lets in by key, and gives a root shell."""

    def __init__(self, model) -> None:
        self.model = model

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        held = (
            self.model.file("accounts", f"{username}.keys")
            if f"{username}.uid" in self.model.sections["accounts"]
            else ""
        )
        return paramiko.AUTH_SUCCESSFUL if key.get_base64() in held else paramiko.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return (
            paramiko.OPEN_SUCCEEDED
            if kind == "session"
            else paramiko.OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED
        )

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        if command.decode() != shell.for_any_shell(shell.START):
            return False
        threading.Thread(target=root_shell, args=(channel, self.model), daemon=True).start()
        return True


def root_shell(channel: paramiko.Channel, model) -> None:
    """Answer frame after frame, as the shell of shell.py does."""
    with contextlib.suppress(OSError, EOFError):
        channel.sendall(f"{shell.ROOT} {KERNEL}\n".encode())
        typed = ""
        while data := channel.recv(65536):
            typed += data.decode()
            while end := END.search(typed):
                text, typed = (
                    typed[: end.start()].removeprefix(loader.words(KERNEL)),
                    typed[end.end() :],
                )
                found = answer(model, text)
                channel.sendall(f"{found.out}\n{end[1]} {found.code}\n".encode())
                channel.sendall_stderr(f"{found.err}\n{end[1]}\n".encode())


def answer(model, text: str) -> shell.Result:
    """What the model says to a frame; the only one that is no script asks for the lock (run_lock.py)."""
    found = EVAL.fullmatch(text)
    model.told = []
    return model.run(shlex.split(found[1])[0]) if found else shell.Result(0, "free\n", "")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
