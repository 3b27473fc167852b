"""What a stranger sees of a host, found out without a line of labfab: logins offered, keys taken, ports that answer."""

import asyncio
import re
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import paramiko

# Says at its end which argument lists it saw: between two looks a process can come and go, so it looks all the time.
WATCH = """\
import os, select, sys, time
seen, skipped = set(), {str(os.getpid())}

def is_kernel(pid):
    # Half of all processes are threads of the kernel (PF_KTHREAD), which have no arguments ever.
    return int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[6]) & 0x200000

print("watching", flush=True)
while not select.select([sys.stdin], [], [], PAUSE)[0]:
    there = set(filter(str.isdigit, os.listdir("/proc")))
    skipped &= there
    for pid in there - skipped:
        try:
            words = open(f"/proc/{pid}/cmdline", "rb").read()
            seen.add(words)
            if not words and is_kernel(pid):
                skipped.add(pid)
        except OSError:
            pass
sys.stdout.buffer.write(b"\\n".join(seen))
"""
TASK = re.compile(
    r"\b(?:system|user|keys|ssh|firewall|python|jupyter|lab|tunnel|setup)\.[a-z]+(?:-[a-z]+)*\b(?!\.)"
)


def offered(address: str, user: str, port: int) -> list[str]:
    """Ask which ways to log in a user is offered who brings nothing."""
    with (
        socket.create_connection((address, port), timeout=10) as sock,
        paramiko.Transport(sock) as transport,
    ):
        transport.start_client(timeout=10)
        try:
            transport.auth_none(user)
        except paramiko.BadAuthenticationType as refusal:
            return sorted(refusal.allowed_types)
        return ["nothing is asked for"]


def takes_key(address: str, user: str, port: int, home: Path) -> bool:
    """Tell whether the key of a home opens an account."""
    return takes_key_file(address, user, port, home / ".ssh" / "id_ed25519")


def takes_key_file(address: str, user: str, port: int, path: Path) -> bool:
    """Tell whether the key in a file opens an account."""
    key = paramiko.Ed25519Key.from_private_key_file(str(path))
    with (
        socket.create_connection((address, port), timeout=10) as sock,
        paramiko.Transport(sock) as transport,
    ):
        transport.start_client(timeout=10)
        try:
            transport.auth_publickey(user, key)
        except paramiko.AuthenticationException:
            return False
        return transport.is_authenticated()


def takes_password(address: str, user: str, port: int, password: str) -> bool:
    """Tell whether a password opens an account."""
    with (
        socket.create_connection((address, port), timeout=10) as sock,
        paramiko.Transport(sock) as transport,
    ):
        transport.start_client(timeout=10)
        try:
            transport.auth_password(user, password, fallback=False)
        except paramiko.AuthenticationException:
            return False
        return transport.is_authenticated()


def answering(address: str, ports) -> list[int]:
    """List the ports that take a connection."""

    async def knock(port: int, door: asyncio.Semaphore) -> int:
        async with door:
            try:
                _, writer = await asyncio.wait_for(asyncio.open_connection(address, port), 2)
            except (OSError, TimeoutError, asyncio.TimeoutError):
                return 0
            writer.close()
            return port

    async def knock_all() -> list[int]:
        door = asyncio.Semaphore(400)
        return await asyncio.gather(*(knock(port, door) for port in set(ports)))

    return sorted(filter(None, asyncio.run(knock_all())))


@contextmanager
def watching(host):
    """Collect every argument list that is seen on the host and on this machine; the list is filled at the end."""
    watch = ["python3", "-c", WATCH.replace("PAUSE", "0.01")]
    here = [sys.executable, "-c", WATCH.replace("PAUSE", "0.03")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    both = [
        subprocess.Popen(
            [host.engine.command, "exec", "-i", host.id, *watch], env=host.engine.env, **pipes
        )
    ]
    both += [subprocess.Popen(here, **pipes)] if Path("/proc/self").exists() else []
    seen: list[str] = []
    try:
        for watcher in both:
            assert watcher.stdout.readline() == b"watching\n"
        yield seen
    finally:
        for watcher in both:
            seen += (
                watcher.communicate(b"enough\n", timeout=30)[0]
                .decode(errors="replace")
                .replace("\0", " ")
                .splitlines()
            )


def task_named(text: str) -> str:
    """Return the one task that a message names; more than one, or none, is a fault."""
    names = set(TASK.findall(text))
    assert len(names) == 1, f"one task should be named, not {sorted(names)}:\n{text}"
    return names.pop()
