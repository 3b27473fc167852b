"""Client: paramiko's SSHClient, but it offers keys and certificates as ssh does.

paramiko offers a certificate beside a key, and then never the key itself; it knows neither
CertificateFile nor IdentityAgent.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import paramiko
from paramiko.agent import AgentSSH

CERTIFICATE = "-cert.pub"
KINDS = (paramiko.RSAKey, paramiko.ECDSAKey, paramiko.Ed25519Key)
# The keys that paramiko looks for by itself.
USUAL = ("id_rsa", "id_ecdsa", "id_ed25519")


class Client(paramiko.SSHClient):
    """Offers each certificate first, and then the key that it is for."""

    def __init__(self) -> None:
        super().__init__()
        # Of CertificateFile in the ssh_config.
        self.certificates: list[str] = []
        # Of IdentityAgent; empty: the agent of SSH_AUTH_SOCK.
        self.agent_socket = ""
        self.proxy: Any = None

    def prepare(self, certificates: Iterable[str], agent_socket: str) -> None:
        """Take what an ssh_config says about logging in."""
        self.certificates = [path for path in certificates if os.path.isfile(path)]
        self.agent_socket = agent_socket

    def reach_through(self, proxy: object) -> None:
        """Remember the ProxyCommand that is in between, for what it says when it fails."""
        self.proxy = proxy

    def _auth(
        self,
        username: str,
        password: str | None,
        pkey: paramiko.PKey | None,
        key_filenames: list[str],
        allow_agent: bool,
        look_for_keys: bool,
        *others: Any,
    ) -> None:
        passphrase = others[-1] or password
        paths = [*key_filenames, *(usual_keys() if look_for_keys else [])]
        if allow_agent and self.agent_socket and self._agent is None:
            self._agent: Any = AgentAt(self.agent_socket)
        for key in self.certified(paths, passphrase):
            if self.is_taken(username, key):
                return
        try:
            super()._auth(  # type: ignore[misc]
                username, password, pkey, key_filenames, allow_agent, look_for_keys, *others
            )
        except paramiko.SSHException:
            beside = [path for path in paths if os.path.isfile(path + CERTIFICATE)]
            if not any(self.is_taken(username, key) for key in loaded(beside, passphrase)):
                raise

    def _key_from_filepath(self, filename: str, *how: Any) -> paramiko.PKey:
        """Read a key for paramiko. What is no key at all is passed over as one of another kind."""
        try:
            key: paramiko.PKey = super()._key_from_filepath(  # type: ignore[misc]
                filename, *how
            )
        except (OSError, paramiko.SSHException):
            raise
        # A damaged file raises ValueError, struct.error and others.
        except Exception as error:
            raise paramiko.SSHException(f"{filename} is no key: {error}") from None
        return key

    def certified(self, paths: list[str], passphrase: str | None) -> Iterator[paramiko.PKey]:
        """Yield the keys with a certificate from the ssh_config."""
        for certificate in self.certificates:
            for key in loaded(paths, passphrase):
                # The certificate may be for a key of another type.
                with contextlib.suppress(ValueError, OSError, paramiko.SSHException):
                    key.load_certificate(certificate)
                    yield key

    def is_taken(self, username: str, key: paramiko.PKey) -> bool:
        """Offer one key. Returns whether that was enough to log in."""
        transport = self.get_transport()
        try:
            return transport is not None and not transport.auth_publickey(username, key)
        except paramiko.SSHException:
            return False


class AgentAt(AgentSSH):
    """The agent behind a socket. One that does not answer has no keys."""

    def __init__(self, path: str) -> None:
        super().__init__()
        conn = socket.socket(socket.AF_UNIX)
        try:
            conn.connect(path)
            self._connect(conn)  # type: ignore[attr-defined]
        except (OSError, paramiko.SSHException):
            conn.close()

    def close(self) -> None:
        """End the connection to the agent."""
        self._close()  # type: ignore[attr-defined]

    def __del__(self) -> None:
        self.close()


def usual_keys() -> list[str]:
    """Return the keys that paramiko looks for, as far as they exist."""
    folder = Path.home() / ".ssh"
    return [str(folder / name) for name in USUAL if (folder / name).is_file()]


def loaded(paths: Iterable[str], passphrase: str | None) -> Iterator[paramiko.PKey]:
    """Yield the keys in files, without the certificates beside them, as far as they can be read."""
    for path in paths:
        for kind in KINDS:
            # A damaged key raises anything.
            with contextlib.suppress(Exception):
                yield kind.from_private_key_file(os.path.expanduser(path), passphrase)
                break
