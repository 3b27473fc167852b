"""Login errors: why a login failed, in one line that says what to type next."""

from __future__ import annotations

import contextlib
import os
import socket

import paramiko
from fabric import Connection

from ..errors import SetupError, Unreachable
from .client import CERTIFICATE, AgentAt, usual_keys
from .host_key import changed_key

# paramiko's words for a server that stops answering during the handshake
SILENT = "No existing session"
PROHIBITED = 1  # RFC 4254, 5.1: of a channel


class NobodyListens(Unreachable):
    """The host answers, but not on this port."""


class UnreadableKey(paramiko.AuthenticationException):
    """A private key is damaged, or its passphrase is wrong."""


def address(c: Connection) -> str:
    """Return this login for a message: user@host, with the port unless it is 22."""
    return f"{c.user}@{c.host}" if c.port == 22 else login_in_words(c.user, c.host, c.port)


def login_in_words(user: str, hostname: str, port: int | str) -> str:
    """Return a login with its port, in the form that -H takes."""
    return f"{user}@[{hostname}]:{port}" if ":" in hostname else f"{user}@{hostname}:{port}"


def as_user_error(c: Connection, error: Exception) -> Exception:
    """Return the error to raise instead of what paramiko raised while dialing.

    It is an AuthenticationException if a password or a passphrase from the user could still help,
    and a SetupError otherwise.
    """
    if isinstance(error, paramiko.BadHostKeyException):
        return changed_key(c, error)
    if speaks_ssh(c, error):
        if "No authentication methods" in str(error):
            return paramiko.AuthenticationException(str(error))
        return UnreadableKey(str(error))
    if isinstance(error, OSError) and error.filename:
        return SetupError(
            f"cannot read the key {error.filename}: {error.strerror}: "
            "correct fab -i, or the setting identity",
            host=address(c),
        )
    if isinstance(c.gateway, str):
        return Unreachable(proxy_problem(c), host=c.host)
    kind = NobodyListens if isinstance(error, ConnectionRefusedError) else Unreachable
    return kind(network_problem(c, error), host=c.host)


def speaks_ssh(c: Connection, error: Exception) -> bool:
    """Return whether an SSH server answered, so that the login failed and not the network."""
    transport = c.client.get_transport()
    answered = bool(transport and transport.remote_version)
    return answered and not isinstance(error, (OSError, EOFError)) and SILENT not in str(error)


def proxy_problem(c: Connection) -> str:
    """Describe why a ProxyCommand leads nowhere, in its own words."""
    proxy = getattr(c.client, "proxy", None)
    words = proxy.last_words() if proxy else ""
    command = proxy.command if proxy else c.gateway
    return (
        f"no SSH server answers through the ProxyCommand of your ssh_config "
        f"({words or 'it says nothing'}): try it by hand: {command}"
    )


def network_problem(c: Connection, error: Exception) -> str:
    """Describe what is wrong between this machine and the host."""
    if isinstance(error, socket.gaierror):
        return "no such host name: check the spelling after -H"
    name_it = f"name the port, fab -H {login_in_words(c.user, c.host, 'PORT')} …"
    if isinstance(error, ConnectionRefusedError):
        return (
            f"nothing listens on port {c.port}, or the host takes no more connections from here "
            f"for now (ufw limit, fail2ban): wait half a minute, or {name_it}"
        )
    if isinstance(error, TimeoutError) or SILENT in str(error):
        return (
            f"no answer on port {c.port} within {c.connect_timeout} s: "
            "is it switched on, is the address right?"
        )
    if isinstance(error, paramiko.SSHException):
        return (
            f"the server on port {c.port} is not an SSH server, or takes no more connections from "
            f"here for now (fail2ban, PerSourcePenalties): wait some minutes, or {name_it}"
        )
    why = getattr(error, "strerror", "") or "it hung up"
    return (
        f"cannot be reached on port {c.port} ({why}): is the address right, is this machine online?"
    )


def explain_second_login(c: Connection, error: Exception, rule: str = "") -> str:
    """Describe why a second login failed although the first one works.

    rule: of the host's own firewall, which refuses what no other rule lets in; empty: none.
    """
    if isinstance(error, paramiko.BadHostKeyException):
        return "it shows a different host key than the one you know"
    if isinstance(error, paramiko.AuthenticationException):
        return (
            "the host refuses the key "
            "(its log says why: journalctl -u ssh; on a Mac log show --last 5m)"
        )
    if isinstance(error, paramiko.ChannelException) and error.code == PROHIBITED:
        return "sshd allows no forward, which the tunnel needs (AllowTcpForwarding, PermitOpen)"
    if rule and isinstance(error, OSError) and not isinstance(error, ConnectionResetError):
        return f"the host's own firewall refuses it ({rule}): let that port in there"
    if isinstance(error, TimeoutError):
        return (
            f"no answer within {c.connect_timeout} s: "
            "does a firewall, a router or your provider block that port?"
        )
    if isinstance(error, ConnectionRefusedError):
        return (
            "nothing listens there, or it takes no more connections from here for now "
            "(ufw limit, fail2ban): "
            "the connection is refused"
        )
    return (
        f"it hung up ({str(error) or type(error).__name__}): "
        "does it take no more connections from here for now (fail2ban, PerSourcePenalties)?"
    )


def takes_password(ways: list[str]) -> bool:
    """Return whether the host offers a login by password."""
    return "password" in ways or "keyboard-interactive" in ways


def refused(c: Connection, error: paramiko.AuthenticationException, ways: list[str]) -> SetupError:
    """Return the error that names the keys tried and the authentication methods offered."""
    if c.connect_kwargs.get("password") and takes_password(ways):
        return SetupError(
            "wrong password (or wrong user name): try again with fab --prompt-for-login-password …",
            host=address(c),
        )
    tried = ", ".join(keys_tried(c)) or "none, there is no key in ~/.ssh"
    remedy = "give another key: fab -i KEY"
    if takes_password(ways):
        remedy += " or a password: fab --prompt-for-login-password …"
    usual = ("Authentication failed", "No authentication")
    known = isinstance(error, paramiko.BadAuthenticationType) or str(error).startswith(usual)
    why = "" if known else f" ({error})"
    return SetupError(
        f"Permission denied ({','.join(ways)}); keys tried: {tried}{why}; {remedy}", host=address(c)
    )


def encrypted_key(c: Connection) -> SetupError:
    """Return the error for a key that needs its passphrase."""
    return SetupError(
        f"your key ({', '.join(keys_tried(c))}) has a passphrase: "
        "hand it to the agent with ssh-add, or use fab --prompt-for-passphrase",
        host=address(c),
    )


def wrong_passphrase(c: Connection) -> SetupError:
    """Return the error for a passphrase that does not open the key."""
    return SetupError(
        f"wrong passphrase for your key ({', '.join(keys_tried(c))}): "
        "try again, or hand it to the agent with ssh-add",
        host=address(c),
    )


def keys_tried(c: Connection) -> list[str]:
    """Return the keys that paramiko offered, in that order."""
    given = c.connect_kwargs.get("key_filename") or []
    paths = [given] if isinstance(given, str) else list(given)
    if c.connect_kwargs.get("look_for_keys", True):
        paths += [path for path in usual_keys() if path not in paths]
    names = list(getattr(c.client, "certificates", []))
    for path in paths:
        certificate = path + CERTIFICATE
        names += [certificate, path] if os.path.isfile(certificate) else [path]
    if c.connect_kwargs.get("allow_agent", True):
        names += [f"agent:{name}" for name in keys_of_agent(getattr(c.client, "agent_socket", ""))]
    return names


def keys_of_agent(place: str) -> list[str]:
    """Return the names of the keys that an agent holds. place: its socket, if not the usual one."""
    if not place and not os.environ.get("SSH_AUTH_SOCK"):
        return []
    with contextlib.closing(AgentAt(place) if place else paramiko.Agent()) as agent:
        return [key.comment or str(key.fingerprint) for key in agent.get_keys()]
