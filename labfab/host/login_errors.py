"""Refusal: why no login came about, in one line that says what to type next."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import paramiko
from fabric import Connection

from ..errors import SetupError, Unreachable
from .host_key import changed_key


class NobodyListens(Unreachable):
    """The host answers, but not on this port."""


class UnreadableKey(paramiko.AuthenticationException):
    """A private key is damaged, or the passphrase is not the one it was locked with."""


def address(c: Connection) -> str:
    """How to name this login in a message."""
    return f"{c.user}@{c.host}" + (f":{c.port}" if c.port != 22 else "")


def meaning(c: Connection, error: Exception) -> Exception:
    """Say in one line why no login came about."""
    if isinstance(error, paramiko.BadHostKeyException):
        return SetupError(changed_key(c, error))
    transport = c.client.get_transport()
    silent = "No existing session" in str(error)  # paramiko's word for a server that does not go on
    if (
        not isinstance(error, (OSError, EOFError))
        and transport
        and transport.remote_version
        and not silent
    ):  # it is an SSH server
        kind = (
            paramiko.AuthenticationException
            if "No authentication methods" in str(error)
            else UnreadableKey
        )
        return kind(str(error))
    if isinstance(error, OSError) and error.filename:
        return SetupError(
            f"{address(c)}: cannot read the key {error.filename}: {error.strerror}: correct fab -i, or the setting identity"
        )
    kind = NobodyListens if isinstance(error, ConnectionRefusedError) else Unreachable
    return kind(f"{c.host}: {wire(c, error)}")


def wire(c: Connection, error: Exception) -> str:
    """Say what is wrong between here and there."""
    if isinstance(error, socket.gaierror):
        return "no such host name: check the spelling after -H"
    if isinstance(error, ConnectionRefusedError):
        return f"nothing listens on port {c.port}: name the port, fab -H {c.user}@{c.host}:PORT …"
    if isinstance(error, TimeoutError) or "No existing session" in str(error):
        return f"no answer on port {c.port} within {c.connect_timeout} s: is it switched on, is the address right?"
    if isinstance(error, paramiko.SSHException):
        return f"what listens on port {c.port} is no SSH server: name the port, fab -H {c.user}@{c.host}:PORT …"
    why = getattr(error, "strerror", "") or "it hung up"
    return (
        f"cannot be reached on port {c.port} ({why}): is the address right, is this machine online?"
    )


def why_not(c: Connection, error: Exception) -> str:
    """Say why a second login failed where the first one works."""
    if isinstance(error, paramiko.BadHostKeyException):
        return "it shows another host key than the one you know"
    if isinstance(error, paramiko.AuthenticationException):
        return "the host refuses the key (its log tells why: journalctl -u ssh; on a Mac log show --last 5m)"
    if isinstance(error, TimeoutError):
        return f"no answer within {c.connect_timeout} s: does a firewall in between, a router or your provider, let that port in?"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there, the connection is refused"
    return f"it hung up ({str(error) or type(error).__name__})"


def takes_password(ways: list[str]) -> bool:
    return "password" in ways or "keyboard-interactive" in ways


def refused(c: Connection, error: paramiko.AuthenticationException, ways: list[str]) -> str:
    """Say what was tried and what the host would take."""
    if c.connect_kwargs.get("password") and takes_password(ways):
        return f"{address(c)}: wrong password (or wrong user name): try again with fab --prompt-for-login-password …"
    tried = ", ".join(keys_tried(c)) or "none, there is no key in ~/.ssh"
    way = (
        "give another key: fab -i KEY"
        + " or a password: fab --prompt-for-login-password …" * takes_password(ways)
    )
    known = isinstance(error, paramiko.BadAuthenticationType) or str(error).startswith(
        ("Authentication failed", "No authentication")
    )
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
