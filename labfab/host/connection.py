"""Connection: dial a host as Fabric's Connection, but with pinned host keys and errors that can be read.

Constraints:
- Fabric accepts any host key and never reads known_hosts (fabric#2071), so the policy is set here before dialling.
- paramiko leaves Nagle on, which costs 140 ms a command on a slow line: the socket is made here.
- The first command line, typed again after setup, is followed to the new user and port before dialling.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import struct
import sys
from pathlib import Path

import paramiko
from fabric import Connection

from .. import console
from ..errors import SetupError
from ..local_state import keypair, known_hosts, secrets
from ..local_state.aliases import block_of, links
from ..settings import Settings
from . import round_trips
from .host_key import Ask
from .login_errors import (
    UnreadableKey,
    address,
    encrypted_key,
    meaning,
    refused,
    takes_password,
    wrong_passphrase,
)
from .shell import GONE

# paramiko's threads log a traceback for what is told in one line here.
logging.getLogger("paramiko").addHandler(logging.NullHandler())
KEEPALIVE = 15  # seconds; NAT routers forget a silent connection after a minute or more


def known_hosts_path() -> Path:
    return Path.home() / ".ssh" / "known_hosts"


def follow(c: Connection) -> str:
    """Point the connection to where setup moved this login, and say so; give the alias, if there is one."""
    alias = block_of(c)
    if alias is None:
        return ""
    if alias.identity and c.connect_kwargs.get("key_filename") in (
        None,
        [],
        [alias.identity],
    ):  # Fabric reads the block as well
        c.connect_kwargs["key_filename"] = [alias.identity]
        held = held_by_agent(Path(alias.identity).expanduser())
        c.connect_kwargs.update(
            {"pkey": held} if held else {}
        )  # else the agent's keys would be tried one by one
    if (alias.user, alias.port) != (c.user, c.port):
        console.say(
            f"[{alias.name}] {address(c)} is now {alias.user}@{alias.hostname}:{alias.port}"
        )
        c.user, c.host, c.port = alias.user, alias.hostname, alias.port
    return alias.name


def dial(c: Connection, settings: Settings) -> None:
    """Open the connection; ask for what is missing where somebody can answer.

    Raises SetupError for everything that a user can mend.
    """
    if c.connect_timeout is None:
        c.connect_timeout = settings.connect_timeout
    password = secrets.take_from_environment("login-password")
    if password and not c.connect_kwargs.get("password"):
        c.connect_kwargs["password"] = password.reveal()
    for attempt in range(4):
        try:
            return connect(c, settings)
        except paramiko.AuthenticationException as error:
            ask_for_more(c, error, attempt)


def ask_for_more(c: Connection, error: paramiko.AuthenticationException, attempt: int) -> None:
    """Ask for the passphrase that a key wants, or the password that the host would take."""
    locked, known = (
        isinstance(error, paramiko.PasswordRequiredException),
        "passphrase" in c.connect_kwargs,
    )
    if locked or (known and isinstance(error, UnreadableKey)):
        problem = wrong_passphrase(c) if known else encrypted_key(c)
        return answer(c, "passphrase", "passphrase of your key for", problem, attempt)
    ways = allowed(c, error)
    return answer(
        c, "password", "password of", refused(c, error, ways), attempt, takes_password(ways)
    )


def answer(
    c: Connection, kind: str, question: str, problem: str, attempt: int, useful: bool = True
) -> None:
    """Ask for a password on a terminal; without one, or after three tries, give up with the problem."""
    if not useful or attempt >= 3 or not sys.stdin.isatty():
        raise SetupError(problem)
    c.connect_kwargs.pop(kind, None)  # it was refused
    c.connect_kwargs[kind] = console.hidden(question, address(c))


def connect(c: Connection, settings: Settings) -> None:
    """Dial once. Raises AuthenticationException where somebody could answer, SetupError else."""
    path = known_hosts_path()
    for link in links(c):
        know(link, path)
        link.client.set_missing_host_key_policy(Ask(link, settings, path))
    try:
        if not c.gateway:
            c.connect_kwargs["sock"] = open_socket(c)
        c.connect_kwargs["compress"] = (
            True  # what is sent first is longer than TCP sends without waiting, 14 kB
        )
        if round_trips.counted():
            c.connect_kwargs["transport_factory"] = round_trips.Transport
        c.open()
    except paramiko.AuthenticationException:
        raise
    except (*GONE, ValueError, LookupError, struct.error) as error:  # the last of damaged keys
        raise meaning(c, error) from None
    c.transport.set_keepalive(KEEPALIVE)


def know(c: Connection, path: Path) -> None:
    """Tell paramiko the keys of this host; its own way reads all of the file, in a time that grows with the square of it."""
    name = c.host if c.port == 22 else f"[{c.host}]:{c.port}"
    known = c.client.get_host_keys()
    for key in known_hosts.pinned(path, c.host, c.port):
        if key.get_name() not in known.get(
            name, {}
        ):  # of two of a kind the first one counts, and paramiko asks for the first kind
            known.add(name, key.get_name(), key)


class Prompt(socket.socket):
    """A socket that confirms at once what it has got, where it can (Linux): sshd holds its next word back until then, 40 ms."""

    def recv(self, *args: int) -> bytes:
        data = super().recv(*args)
        if data and hasattr(socket, "TCP_QUICKACK"):  # has to be said each time
            self.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return data


def open_socket(c: Connection) -> socket.socket:
    """Connect a socket that sends and confirms at once."""
    sock = Prompt(
        fileno=socket.create_connection((c.host, c.port), timeout=c.connect_timeout).detach()
    )
    sock.settimeout(c.connect_timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(
        socket, "TCP_USER_TIMEOUT"
    ):  # Linux; else a lost network is noticed after many minutes only
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 2 * KEEPALIVE * 1000)
    return sock


def allowed(c: Connection, error: paramiko.AuthenticationException) -> list[str]:
    """The ways to log in that the host offers this user."""
    if isinstance(error, paramiko.BadAuthenticationType):
        return list(error.allowed_types)
    with contextlib.suppress(*GONE):
        return offered(c, c.user, c.port)
    return ["publickey", "password"]


def fresh(c: Connection, user: str, port: int, identity: Path | None) -> Connection:
    """Log in anew: pinned host key, this user and port, and with an identity that key only.

    Without an identity the way of the present login is used again.
    Raises paramiko's and socket's own errors; why_not() tells what they mean.
    """
    new = Connection(
        c.host,
        user=user,
        port=port,
        config=c.config,
        connect_timeout=c.connect_timeout,
        gateway=c.gateway,
    )
    new.connect_kwargs = {k: v for k, v in c.connect_kwargs.items() if k != "sock"}
    if identity:
        held = held_by_agent(identity)
        for other in ("password", "pkey"):  # the way of the present login would prove nothing
            new.connect_kwargs.pop(other, None)
        new.connect_kwargs.update(
            look_for_keys=False, allow_agent=False, key_filename=[] if held else [str(identity)]
        )
        new.connect_kwargs.update({"pkey": held} if held else {})
    know(new, known_hosts_path())
    new.client.set_missing_host_key_policy(paramiko.RejectPolicy())
    if not c.gateway:
        new.connect_kwargs["sock"] = open_socket(new)
    new.open()
    new.transport.set_keepalive(KEEPALIVE)
    return new


def held_by_agent(identity: Path) -> paramiko.AgentKey | None:
    """The same key out of the agent, which needs no passphrase any more."""
    if (
        not os.environ.get("SSH_AUTH_SOCK")
        or not identity.exists()
        or not keypair.is_encrypted(identity)
    ):
        return None
    blob = keypair.public_line(identity).split()[1]
    return next((key for key in paramiko.Agent().get_keys() if key.get_base64() == blob), None)


def offered(c: Connection, user: str, port: int) -> list[str]:
    """Ask the host, as a stranger, which ways to log in it offers this user."""
    stranger = Connection(
        c.host,
        user=user,
        port=port,
        config=c.config,
        connect_timeout=c.connect_timeout,
        gateway=c.gateway,
    )
    with paramiko.Transport(
        stranger.open_gateway() if c.gateway else open_socket(stranger)
    ) as transport:
        transport.start_client(timeout=c.connect_timeout)
        try:
            transport.auth_none(user)
        except paramiko.BadAuthenticationType as error:
            return list(error.allowed_types)
    return ["none"]
