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
from invoke import Context

from . import screen
from .errors import SetupError
from .laptop import known_hosts, secrets, ssh_config
from .settings import Settings

# paramiko's threads log a traceback for what is told in one line here.
logging.getLogger("paramiko").addHandler(logging.NullHandler())
KEEPALIVE = 15  # seconds; NAT routers forget a silent connection after a minute or more


class UnreadableKey(paramiko.AuthenticationException):
    """A private key is damaged, or the passphrase is not the one it was locked with."""


def config_path(c: Context) -> Path:
    """The ssh_config in use: Fabric's -S, else the user's own."""
    given = getattr(c.config, "_runtime_ssh_path", None)
    return Path(given) if given else Path.home() / ".ssh" / "config"


def known_hosts_path() -> Path:
    return Path.home() / ".ssh" / "known_hosts"


def follow(c: Connection) -> str:
    """Point the connection to where setup moved this login, and say so; give the alias, if there is one."""
    alias = ssh_config.find(config_path(c), c.user, c.host, c.port)
    if alias is None:
        return ""
    if alias.identity and not c.connect_kwargs.get("key_filename"):
        c.connect_kwargs["key_filename"] = [alias.identity]
    if (alias.user, alias.port) != (c.user, c.port):
        screen.say(f"[{alias.name}] {address(c)} is now {alias.user}@{alias.hostname}:{alias.port}")
        c.user, c.host, c.port = alias.user, alias.hostname, alias.port
    return alias.name


def address(c: Connection) -> str:
    """How to name this login in a message."""
    return f"{c.user}@{c.host}" + (f":{c.port}" if c.port != 22 else "")


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
    locked, known = isinstance(error, paramiko.PasswordRequiredException), "passphrase" in c.connect_kwargs
    if locked or (known and isinstance(error, UnreadableKey)):
        problem = wrong_passphrase(c) if known else encrypted_key(c)
        return answer(c, "passphrase", f"passphrase of your key for {address(c)}", problem, attempt)
    ways = allowed(c, error)
    return answer(c, "password", f"password of {address(c)}", refused(c, error, ways), attempt, takes_password(ways))


def answer(c: Connection, kind: str, question: str, problem: str, attempt: int, useful: bool = True) -> None:
    """Ask for a password on a terminal; without one, or after three tries, give up with the problem."""
    if not useful or attempt >= 3 or not sys.stdin.isatty():
        raise SetupError(problem)
    c.connect_kwargs[kind] = screen.hidden(question)


def connect(c: Connection, settings: Settings) -> None:
    """Dial once. Raises AuthenticationException where somebody could answer, SetupError else."""
    path = known_hosts_path()
    for link in links(c):
        if path.exists():
            link.client.load_host_keys(str(path))
        link.client.set_missing_host_key_policy(Ask(link, settings))
    try:
        if not c.gateway:
            c.connect_kwargs["sock"] = open_socket(c)
        c.open()
    except paramiko.AuthenticationException:
        raise
    except (paramiko.SSHException, OSError, EOFError, ValueError, LookupError, struct.error) as error:  # the last of damaged keys
        raise meaning(c, error) from None
    c.transport.set_keepalive(KEEPALIVE)


def meaning(c: Connection, error: Exception) -> Exception:
    """Say in one line why no login came about."""
    if isinstance(error, paramiko.BadHostKeyException):
        return SetupError(changed_key(c, error))
    transport = c.client.get_transport()
    if not isinstance(error, (OSError, EOFError)) and transport and transport.remote_version:  # it is an SSH server
        kind = paramiko.AuthenticationException if "No authentication methods" in str(error) else UnreadableKey
        return kind(str(error))
    if isinstance(error, OSError) and error.filename:
        return SetupError(f"{address(c)}: cannot read the key {error.filename}: {error.strerror}: correct fab -i, or the setting identity")
    return SetupError(f"{c.host}: {wire(c, error)}")


def wire(c: Connection, error: Exception) -> str:
    """Say what is wrong between here and there."""
    if isinstance(error, socket.gaierror):
        return "no such host name: check the spelling after -H"
    if isinstance(error, ConnectionRefusedError):
        return f"nothing listens on port {c.port}: name the port, fab -H {c.user}@{c.host}:PORT …"
    if isinstance(error, TimeoutError) or "No existing session" in str(error):  # paramiko's word for a silent server
        return f"no answer on port {c.port} within {c.connect_timeout} s: is it switched on, is the address right?"
    if isinstance(error, paramiko.SSHException):
        return f"what listens on port {c.port} is no SSH server: name the port, fab -H {c.user}@{c.host}:PORT …"
    why = getattr(error, "strerror", "") or "it hung up"
    return f"cannot be reached on port {c.port} ({why}): is the address right, is this machine online?"


def links(c: Connection) -> list[Connection]:
    """The connection and the gateways it goes through."""
    return [c, *links(c.gateway)] if isinstance(c.gateway, Connection) else [c]


def open_socket(c: Connection) -> socket.socket:
    """Connect a socket that sends at once."""
    sock = socket.create_connection((c.host, c.port), timeout=c.connect_timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


class Ask(paramiko.MissingHostKeyPolicy):
    """Accept an unknown host key only when its fingerprint was given or somebody says yes."""

    def __init__(self, c: Connection, settings: Settings) -> None:
        self.c, self.settings = c, settings

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        shown = known_hosts.fingerprint(key)
        if self.settings.host_key:
            if shown != self.settings.host_key:
                raise SetupError(f"{self.c.host} shows {shown}, not the host_key {self.settings.host_key}: this is another machine")
        elif not sys.stdin.isatty():
            raise SetupError(
                f"{self.c.host}: unknown host key {shown} ({key.get_name()}); if it is right, type LABFAB_HOST_KEY={shown} in front of the command"
            )
        elif not agreed(f"{self.c.host} shows the key {shown} ({key.get_name()}) for the first time. Is it right?"):
            raise SetupError(f"{self.c.host}: host key not accepted, nothing was done")
        known_hosts.pin(known_hosts_path(), self.c.host, self.c.port, key)


def agreed(question: str) -> bool:
    try:
        return input(f"{question} [yes/no] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def changed_key(c: Connection, error: paramiko.BadHostKeyException) -> str:
    name = c.host if c.port == 22 else f"[{c.host}]:{c.port}"
    return (
        f"{c.host}: THE HOST KEY HAS CHANGED to {known_hosts.fingerprint(error.key)}: somebody may be listening in. "
        f"Only if you set the machine up anew: ssh-keygen -R '{name}'"
    )


def allowed(c: Connection, error: paramiko.AuthenticationException) -> list[str]:
    """The ways to log in that the host offers this user."""
    if isinstance(error, paramiko.BadAuthenticationType):
        return list(error.allowed_types)
    with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
        return offered(c, c.user, c.port)
    return ["publickey", "password"]


def takes_password(ways: list[str]) -> bool:
    return "password" in ways or "keyboard-interactive" in ways


def refused(c: Connection, error: paramiko.AuthenticationException, ways: list[str]) -> str:
    """Say what was tried and what the host would take."""
    if c.connect_kwargs.get("password") and takes_password(ways):
        return f"{address(c)}: wrong password (or wrong user name): try again with fab --prompt-for-login-password …"
    tried = ", ".join(keys_tried(c)) or "none, there is no key in ~/.ssh"
    way = "give another key: fab -i KEY" + " or a password: fab --prompt-for-login-password …" * takes_password(ways)
    known = isinstance(error, paramiko.BadAuthenticationType) or str(error).startswith(("Authentication failed", "No authentication"))
    why = "" if known else f" ({error})"
    return f"{address(c)}: Permission denied ({','.join(ways)}); keys tried: {tried}{why}; {way}"


def encrypted_key(c: Connection) -> str:
    return (
        f"{address(c)}: your key ({', '.join(keys_tried(c))}) has a passphrase: "
        "hand it to the agent with ssh-add, or use fab --prompt-for-passphrase"
    )


def wrong_passphrase(c: Connection) -> str:
    return f"{address(c)}: wrong passphrase for your key ({', '.join(keys_tried(c))}): try again, or hand it to the agent with ssh-add"


def keys_tried(c: Connection) -> list[str]:
    """Name the keys that paramiko offered, in its order."""
    given = c.connect_kwargs.get("key_filename") or []
    names = [given] if isinstance(given, str) else list(given)
    for path in (Path.home() / ".ssh" / name for name in ("id_rsa", "id_ecdsa", "id_ed25519")):
        if path.exists() and str(path) not in names:
            names.append(str(path))
    if os.environ.get("SSH_AUTH_SOCK"):
        names += [f"agent:{key.comment or key.fingerprint}" for key in paramiko.Agent().get_keys()]
    return names


def fresh(c: Connection, user: str, port: int, identity: Path | None) -> Connection:
    """Log in anew: pinned host key, this user and port, and with an identity that key only.

    Without an identity the way of the present login is used again.
    Raises paramiko's and socket's own errors; guarded() tells what they mean.
    """
    new = Connection(c.host, user=user, port=port, config=c.config, connect_timeout=c.connect_timeout, gateway=c.gateway)
    new.connect_kwargs = {k: v for k, v in c.connect_kwargs.items() if k != "sock"}
    if identity:
        new.connect_kwargs.update(key_filename=[str(identity)], look_for_keys=False)
        new.connect_kwargs.pop("password", None)
    new.client.load_host_keys(str(known_hosts_path()))
    new.client.set_missing_host_key_policy(paramiko.RejectPolicy())
    if not c.gateway:
        new.connect_kwargs["sock"] = open_socket(new)
    new.open()
    return new


def offered(c: Connection, user: str, port: int) -> list[str]:
    """Ask the host, as a stranger, which ways to log in it offers this user."""
    with paramiko.Transport(socket.create_connection((c.host, port), timeout=c.connect_timeout)) as transport:
        transport.start_client(timeout=c.connect_timeout)
        try:
            transport.auth_none(user)
        except paramiko.BadAuthenticationType as error:
            return list(error.allowed_types)
    return ["none"]
