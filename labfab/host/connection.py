"""Connection: dials a host as Fabric's Connection, with pinned host keys and readable errors.

Constraints:
- Fabric accepts any host key and never reads known_hosts (fabric#2071), so the policy is set here.
- paramiko leaves Nagle's algorithm on, which costs 140 ms per command on a slow connection, so the
  socket is created here.
- Setup moves the login. A command line that still names the old one is redirected to the new user
  and port.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import struct
import sys
import time
from pathlib import Path

import paramiko
from fabric import Connection

from .. import console
from ..errors import SetupError
from ..local_state import files, keypair, known_hosts, secrets
from ..local_state.aliases import find_alias, from_config, hops, keys_of, pinned_as
from ..settings import Settings
from . import dial_limit, round_trips
from .client import Client
from .host_key import AskAboutHostKey
from .login_errors import (
    UnreadableKey,
    address,
    as_user_error,
    encrypted_key,
    refused,
    takes_password,
    wrong_passphrase,
)
from .shell import CONNECTION_ERRORS
from .transport import Transport

# paramiko's threads log a traceback for errors that labfab reports in one line.
logging.getLogger("paramiko").addHandler(logging.NullHandler())
KEEPALIVE = 15  # seconds; NAT routers may drop a silent connection after a minute
FAMILIES = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}  # of AddressFamily
KNOCK = 2  # seconds for a port that may not answer
TRIES = 3  # how often to ask for a password
CONNECT_FAILED = 2  # RFC 4254, 5.1: the forward is allowed, but nothing listens there
TRIES_INSIDE, PAUSE_INSIDE = 10, 0.2  # seconds
TURNED_AWAY_FOR = 10  # seconds in which to try again, while sshd hangs up before it says a word


Place = tuple[str, int]  # address and port


class NoWayInside(OSError):
    """The host opens no connection to itself for us."""


def known_hosts_path() -> Path:
    """Return the path of the user's known_hosts file."""
    return Path.home() / ".ssh" / "known_hosts"


def pinned_fingerprints(host: str, port: int) -> set[str]:
    """Return the fingerprints of the keys by which a host is known."""
    pinned = known_hosts.pinned(known_hosts_path(), host, port)
    return {known_hosts.fingerprint(key) for key in pinned}


def apply_alias(c: Connection, everyday: bool = False) -> str:
    """Point the connection at the login that setup moved this one to, and say so.

    everyday: the login of the notebooks, if it has an account of its own; else the one with sudo.
    Returns the alias, or "".
    """
    alias = find_alias(c)
    if alias is None:
        return ""
    # Fabric reads the alias's block too, so the key may already be set.
    if alias.identity and c.connect_kwargs.get("key_filename") in (None, [], [alias.identity]):
        use_key(c, Path(alias.identity))
    user = alias.everyday_user if everyday else alias.user
    if (user, alias.port) != (c.user, c.port):
        # The alias itself leads to the account of the notebooks, which is no news.
        if (alias.lab_user, alias.port) != (c.user, c.port):
            console.say(
                f"[{alias.name}] already set up: connecting as {user}@{alias.hostname}:{alias.port}"
            )
        c.user, c.host, c.port = user, alias.hostname, alias.port
    return alias.name


def use_key(c: Connection, identity: Path) -> None:
    """Offer this key first.

    If the agent holds it, use the agent's copy. The agent would else try its keys one by one.
    """
    c.connect_kwargs["key_filename"] = [str(identity)]
    held = held_by_agent(files.expanded(identity))
    if held:
        c.connect_kwargs["pkey"] = held


def dial(c: Connection, settings: Settings) -> None:
    """Open the connection. On a terminal, ask for a missing password or passphrase.

    Raises SetupError for everything that a user can fix.
    """
    if c.connect_timeout is None:
        c.connect_timeout = settings.connect_timeout
    password = secrets.take_from_environment("login-password")
    if password and not c.connect_kwargs.get("password"):
        c.connect_kwargs["password"] = password.reveal()
    for attempt in range(TRIES + 1):
        try:
            return connect(c, settings)
        except paramiko.AuthenticationException as error:
            ask_for_more(c, error, attempt)


def ask_for_more(c: Connection, error: paramiko.AuthenticationException, attempt: int) -> None:
    """Ask for the passphrase that a key needs, or for a password if the host accepts one."""
    locked = isinstance(error, paramiko.PasswordRequiredException)
    known = "passphrase" in c.connect_kwargs
    if locked or (known and isinstance(error, UnreadableKey)):
        problem = wrong_passphrase(c) if known else encrypted_key(c)
        return ask_for_secret(c, "passphrase", "passphrase of your key for", problem, attempt)
    ways = allowed_methods(c, error)
    problem = refused(c, error, ways)
    return ask_for_secret(c, "password", "password of", problem, attempt, takes_password(ways))


def ask_for_secret(
    c: Connection, kind: str, question: str, problem: SetupError, attempt: int, useful: bool = True
) -> None:
    """Ask for a password or passphrase. Raises *problem* without a terminal and after three tries.

    kind: password or passphrase. useful: whether the host accepts one.
    """
    if not useful or attempt >= TRIES or not sys.stdin.isatty():
        raise problem
    # The one that was given has been refused.
    if c.connect_kwargs.pop(kind, None):
        console.warn(f"that {kind} was refused")
    c.connect_kwargs[kind] = console.hidden(question, address(c))


def connect(c: Connection, settings: Settings) -> None:
    """Dial once. Raises AuthenticationException if the user could still answer, else SetupError."""
    path = known_hosts_path()
    keep_password_from_gateways(c)
    for link in hops(c):
        log_in_as_ssh_does(link)
        trust_pinned_keys(link, path)
        link.client.set_missing_host_key_policy(AskAboutHostKey(link, settings, path))
    try:
        if not c.gateway:
            c.connect_kwargs["sock"] = open_socket(c)
        # The first script is longer than the 14 kB that TCP sends before it waits for an answer.
        c.connect_kwargs["compress"] = True
        counted = round_trips.counted()
        c.connect_kwargs["transport_factory"] = round_trips.Transport if counted else Transport
        c.open()
    # A damaged key raises struct.error.
    except (*CONNECTION_ERRORS, ValueError, LookupError, struct.error) as error:
        raise explain_first_login(c, error) from None
    c.transport.set_keepalive(KEEPALIVE)


def keep_password_from_gateways(target: Connection) -> None:
    """Take the target's password from the hosts that the connection goes through.

    Fabric copies its configuration for each host of a ProxyJump, and a gateway that refuses the
    keys would be sent the password. One that a fabfile gave to a gateway itself stays. A passphrase
    stays too: it opens a key here and is never sent.
    """
    for c in hops(target)[1:]:
        general = c.config.connect_kwargs.get("password")
        if general is not None and c.connect_kwargs.get("password") == general:
            c.connect_kwargs = {k: v for k, v in c.connect_kwargs.items() if k != "password"}


def explain_first_login(c: Connection, error: Exception) -> Exception:
    """Return the error to raise: that of the target, or of the gateway that was not passed.

    A gateway that refuses the keys is no reason to ask for a password: the target would get it.
    """
    where = [c, *(link for link in hops(c) if not link.is_connected)][-1]
    if not isinstance(error, paramiko.AuthenticationException):
        error = as_user_error(where, error)
    locked = isinstance(error, (paramiko.PasswordRequiredException, UnreadableKey))
    if where is c or locked or not isinstance(error, paramiko.AuthenticationException):
        return error
    return SetupError(
        "this gateway refuses your keys, and labfab sends a password only to the host after -H: "
        "let a key of yours log in there (ssh-copy-id), or name another with fab -i KEY",
        host=address(where),
    )


def log_in_as_ssh_does(c: Connection) -> None:
    """Take the keys, certificates and agent of the ssh_config as ssh does."""
    c.connect_kwargs["key_filename"] = keys_of(c)
    if "none" in from_config(c, "identityfile"):
        c.connect_kwargs.setdefault("look_for_keys", False)
    agent = "".join(from_config(c, "identityagent"))
    if agent == "none":
        c.connect_kwargs.setdefault("allow_agent", False)
    if agent.startswith("$"):
        agent = os.environ.get(agent.strip("${}"), "")
    usual = agent in ("none", "SSH_AUTH_SOCK")
    if isinstance(c.client, Client):
        c.client.prepare(from_config(c, "certificatefile"), "" if usual else agent)


def trust_pinned_keys(c: Connection, path: Path) -> None:
    """Pass the pinned keys of this host to paramiko.

    paramiko's own reader takes a time that grows with the square of the file's length.
    """
    name = c.host if c.port == 22 else f"[{c.host}]:{c.port}"
    known = c.client.get_host_keys()
    for key in known_hosts.pinned(path, *pinned_as(c)):
        # As in OpenSSH, only the first key of each type counts.
        if key.get_name() not in known.get(name, {}):
            known.add(name, key.get_name(), key)


class QuickAckSocket(socket.socket):
    """A socket that acknowledges without delay on Linux, where sshd would wait 40 ms."""

    def recv(self, *args: int) -> bytes:
        """Receive bytes, and acknowledge them."""
        data = super().recv(*args)
        # The kernel clears this option, so set it after each receive.
        if data and hasattr(socket, "TCP_QUICKACK"):
            self.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return data


def connect_socket(c: Connection) -> socket.socket:
    """Connect to the host, from the address and with the kind of address of the ssh_config."""
    family = FAMILIES.get("".join(from_config(c, "addressfamily")).lower(), socket.AF_UNSPEC)
    bind = "".join(from_config(c, "bindaddress"))
    source = (bind, 0) if bind else None
    if family == socket.AF_UNSPEC:
        return socket.create_connection((c.host, c.port), c.connect_timeout, source)
    places = socket.getaddrinfo(c.host, c.port, family, socket.SOCK_STREAM)
    for place in places[:-1]:
        with contextlib.suppress(OSError):
            return socket.create_connection((str(place[4][0]), c.port), c.connect_timeout, source)
    return socket.create_connection((str(places[-1][4][0]), c.port), c.connect_timeout, source)


def open_socket(c: Connection) -> socket.socket:
    """Connect a socket that sends and acknowledges without delay."""
    dial_limit.wait_for_turn(c.host)
    try:
        connected = connect_socket(c)
    except ConnectionRefusedError:
        if c.host not in dial_limit.LIMITED:
            raise
        dial_limit.wait_out(c.host)
        connected = connect_socket(c)
    sock = QuickAckSocket(fileno=connected.detach())
    sock.settimeout(c.connect_timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # On Linux. Without it, a lost network goes unnoticed for many minutes.
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 2 * KEEPALIVE * 1000)
    return sock


def allowed_methods(c: Connection, error: paramiko.AuthenticationException) -> list[str]:
    """Return the authentication methods that the host offers this user."""
    if isinstance(error, paramiko.BadAuthenticationType):
        return list(error.allowed_types)
    with contextlib.suppress(*CONNECTION_ERRORS):
        return offered_methods(c, c.user, c.port)
    return ["publickey", "password"]


def log_in_again(
    c: Connection, user: str, port: int, identity: Path | None, inside: Place | None = None
) -> Connection:
    """Log in once more, over a new connection. The host key must be pinned.

    It is tried again for a while if sshd hangs up before the handshake, as it does by chance while
    others hold many unfinished logins (MaxStartups in sshd_config(5)): that says nothing about us.

    identity: the only key to offer; None: log in the same way as *c*. inside: as for
    stranger_socket(), for a login that should be refused.
    Raises the errors of paramiko and socket; login_errors.explain_second_login() explains them.
    """
    until = time.monotonic() + TURNED_AWAY_FOR
    while True:
        new = another(c, user, port, identity, inside)
        try:
            new.open()
        except (paramiko.SSHException, EOFError, ConnectionResetError):
            transport = new.client.get_transport()
            heard = transport and transport.remote_version
            if heard or inside or time.monotonic() > until:
                raise
            new.client.close()
            time.sleep(1)
        else:
            new.transport.set_keepalive(KEEPALIVE)
            return new


def another(
    c: Connection, user: str, port: int, identity: Path | None, inside: Place | None = None
) -> Connection:
    """Return a second connection to the same host, ready to be opened."""
    new = Connection(
        c.host,
        user=user,
        port=port,
        config=c.config,
        connect_timeout=c.connect_timeout,
        gateway=c.gateway or False,  # None would look for one under the address
    )
    new.connect_kwargs = {k: v for k, v in c.connect_kwargs.items() if k != "sock"}
    if identity:
        held = held_by_agent(identity)
        # Logging in with a password or another key would prove nothing about this one.
        for other in ("password", "pkey"):
            new.connect_kwargs.pop(other, None)
        new.connect_kwargs.update(
            look_for_keys=False, allow_agent=False, key_filename=[] if held else [str(identity)]
        )
        if held:
            new.connect_kwargs["pkey"] = held
    new.ssh_config, new.original_host = c.ssh_config, c.original_host
    keep_password_from_gateways(new)
    log_in_as_ssh_does(new)
    for link in hops(new):
        trust_pinned_keys(link, known_hosts_path())
        link.client.set_missing_host_key_policy(paramiko.RejectPolicy())
    if inside:
        new.gateway, new.connect_kwargs["sock"] = None, through(c, inside)
    elif not c.gateway:
        new.connect_kwargs["sock"] = open_socket(new)
    return new


def held_by_agent(identity: Path) -> paramiko.AgentKey | None:
    """Return the agent's copy of an encrypted key, which needs no passphrase."""
    if not (os.environ.get("SSH_AUTH_SOCK") and identity.exists()):
        return None
    if not keypair.is_encrypted(identity):
        return None
    blob = keypair.public_line(identity).split()[1]
    return next((key for key in paramiko.Agent().get_keys() if key.get_base64() == blob), None)


def offered_methods(c: Connection, user: str, port: int, inside: Place | None = None) -> list[str]:
    """Ask the host, without logging in, which authentication methods it offers this user.

    inside: as for stranger_socket().
    """
    with paramiko.Transport(stranger_socket(c, port, inside)) as transport:
        transport.start_client(timeout=c.connect_timeout)
        try:
            transport.auth_none(user)
        except paramiko.BadAuthenticationType as error:
            return list(error.allowed_types)
    return ["none"]


def speaks_ssh(c: Connection, port: int) -> bool:
    """Return whether an SSH server answers on a port of the host."""
    try:
        with socket.create_connection((c.host, port), timeout=KNOCK) as sock:
            return sock.recv(4) == b"SSH-"
    except OSError:
        return False


def through(c: Connection, inside: Place) -> paramiko.Channel:
    """Open a connection to a port of the host over the login that is open already.

    sshd sees the host itself. What it does against addresses whose logins fail
    (PerSourcePenalties, fail2ban) does not hit ours then. Raises NoWayInside.
    """
    for left in reversed(range(TRIES_INSIDE)):
        try:
            channel: paramiko.Channel = c.transport.open_channel(
                "direct-tcpip", inside, ("127.0.0.1", 0), timeout=c.connect_timeout
            )
        except CONNECTION_ERRORS as error:
            # An sshd that reads its configuration again closes its sockets for a moment.
            refused = isinstance(error, paramiko.ChannelException) and error.code == CONNECT_FAILED
            if not (refused and left):
                raise NoWayInside(str(error)) from None
            time.sleep(PAUSE_INSIDE)
        else:
            channel.settimeout(c.connect_timeout)
            return channel
    raise NoWayInside


def stranger_socket(
    c: Connection, port: int, inside: Place | None = None
) -> socket.socket | paramiko.Channel:
    """Open a connection to a port of the host, like somebody who does not log in.

    inside: the address and port on the host, to go through() the login that is open already.
    """
    if inside:
        return through(c, inside)
    stranger = Connection(
        c.host,
        user=c.user,
        port=port,
        config=c.config,
        connect_timeout=c.connect_timeout,
        gateway=c.gateway or False,
    )
    stranger.original_host = c.original_host
    keep_password_from_gateways(stranger)
    sock: socket.socket = stranger.open_gateway() if c.gateway else open_socket(stranger)
    sock.settimeout(c.connect_timeout)
    return sock
