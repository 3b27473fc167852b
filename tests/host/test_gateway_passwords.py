"""A login password goes to the host after -H alone, never to what is in between, against servers on loopback."""

import contextlib
import getpass
import select
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest
from fabric import Config, Connection

from labfab.errors import SetupError
from labfab.host import connection
from labfab.local_state import keypair, known_hosts
from labfab.settings import Settings
from tests import fake as models

pytestmark = [pytest.mark.local, pytest.mark.usefixtures("calls")]
alone = models.alone
SECRET = "secret-of-target"


class Door(paramiko.ServerInterface):
    """Notes every password that is tried; lets in who has the right one, or a key if those count."""

    def __init__(self, server: "Server") -> None:
        self.server, self.place = server, ("", 0)

    def get_allowed_auths(self, username):
        return "publickey,password"

    def check_auth_password(self, username, password):
        self.server.tried.append(password)
        good = password == self.server.password
        return paramiko.AUTH_SUCCESSFUL if good else paramiko.AUTH_FAILED

    def check_auth_publickey(self, username, key):
        return paramiko.AUTH_SUCCESSFUL if self.server.takes_keys else paramiko.AUTH_FAILED

    def check_channel_direct_tcpip_request(self, chanid, origin, destination):
        self.place = destination
        return paramiko.OPEN_SUCCEEDED


class Server:
    """An SSH server that can be a gateway or a target."""

    def __init__(self, takes_keys: bool = False, password: str = "") -> None:
        self.takes_keys, self.password = takes_keys, password
        self.tried: list[str] = []
        self.transports: list[paramiko.Transport] = []
        self.key = paramiko.ECDSAKey.generate()
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.socket.accept()
                threading.Thread(target=self.answer, args=[client], daemon=True).start()

    def answer(self, client: socket.socket) -> None:
        door, transport = Door(self), paramiko.Transport(client)
        self.transports.append(transport)
        transport.add_server_key(self.key)
        with contextlib.suppress(Exception):
            transport.start_server(server=door)
            while channel := transport.accept(20):
                threading.Thread(target=carry, args=[channel, door.place], daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        for transport in self.transports:
            hang_up(transport)


def hang_up(transport: paramiko.Transport | None) -> None:
    """Close now: by itself, paramiko checks only ten times a second."""
    if transport:
        with contextlib.suppress(OSError, EOFError):
            transport.sock.close()
        transport.join(5)
        transport.close()


def carry(channel: paramiko.Channel, place: tuple[str, int]) -> None:
    """Carry bytes between a client and what it wants to reach, until one of them ends."""
    with contextlib.suppress(OSError, ValueError), socket.create_connection(place) as far:
        ways = {channel: far, far: channel}
        while True:
            for source in select.select([*ways], [], [])[0]:
                data = source.recv(65536)
                if not data:
                    return
                ways[source].sendall(data)


@pytest.fixture
def serve(alone: Path) -> Iterator:
    """Start servers whose keys are pinned; `fab` has a key of its own."""
    keypair.ensure()
    opened = []

    def go(**how) -> Server:
        opened.append(Server(**how))
        place = alone / "home/.ssh/known_hosts"
        known_hosts.pin(place, "127.0.0.1", opened[-1].port, opened[-1].key)
        return opened[-1]

    yield go
    for server in opened:
        server.close()


@pytest.fixture
def calls(monkeypatch) -> Iterator:
    """Close every client that a test opened, also one of a login that failed."""
    made, start = [], paramiko.Transport.start_client
    monkeypatch.setattr(
        paramiko.Transport,
        "start_client",
        lambda self, *a, **k: (made.append(self), start(self, *a, **k))[1],
    )
    yield
    for transport in reversed(made):
        hang_up(transport)


def through(jumps: list[Server], target: Server, home: Path) -> Connection:
    """Return a connection as `fab --prompt-for-login-password` makes it, with a ProxyJump."""
    me = getpass.getuser()
    hosts = ",".join(f"{me}@127.0.0.1:{jump.port}" for jump in jumps)
    config = home / ".ssh/config"
    config.write_text(f"Host box\n HostName 127.0.0.1\n Port {target.port}\n ProxyJump {hosts}\n")
    # Fabric does not go through a host of the target's own name.
    config.write_text(config.read_text().replace("HostName 127.0.0.1", "HostName localhost"))
    known_hosts.pin(home / ".ssh/known_hosts", "localhost", target.port, target.key)
    return Connection(
        f"{me}@box", config=Config(overrides={"connect_kwargs": {"password": SECRET}})
    )


@pytest.mark.parametrize("ahead", [0, 1])
def test_a_gateway_that_refuses_keys_gets_no_password(serve, alone, ahead):
    """Also not the second of two; the error names the gateway, and asks for nothing."""
    jumps = [*(serve(takes_keys=True) for _ in range(ahead)), serve()]
    target = serve(password=SECRET)
    c = through(jumps, target, alone / "home")
    with pytest.raises(SetupError, match="this gateway refuses your keys") as error:
        connection.dial(c, Settings(connect_timeout=5))
    assert str(jumps[-1].port) in str(error.value)
    assert [server.tried for server in (*jumps, target)] == [[]] * (ahead + 2)


def test_the_target_gets_it_also_behind_a_gateway(serve, alone):
    """In both logins of a run."""
    jump, target = serve(takes_keys=True), serve(password=SECRET)
    c = through([jump], target, alone / "home")
    connection.dial(c, Settings(connect_timeout=5))
    assert c.is_connected and target.tried == [SECRET] and not jump.tried
    again = connection.log_in_again(c, c.user, c.port, None)
    assert again.is_connected and target.tried == [SECRET] * 2 and not jump.tried


def test_a_second_login_over_a_new_gateway_sends_it_nothing(serve, alone):
    """Whoever copies a connection before it was ever opened."""
    jump, target = serve(), serve(password=SECRET)
    c = through([jump], target, alone / "home")
    with pytest.raises(paramiko.AuthenticationException):
        connection.another(c, c.user, c.port, None).open()
    assert jump.tried == target.tried == []


def test_a_password_that_a_fabfile_gave_to_a_gateway_is_its_own(serve, alone):
    """It is sent there, and there alone."""
    jump, target = serve(password="of-the-gateway"), serve(password=SECRET)
    given = {"password": "of-the-gateway", "look_for_keys": False}
    c = through([jump], target, alone / "home")
    c.gateway = Connection(
        f"{c.user}@127.0.0.1:{jump.port}", config=c.config.clone(), connect_kwargs=given
    )
    connection.dial(c, Settings(connect_timeout=5))
    assert jump.tried == ["of-the-gateway"] and target.tried == [SECRET]
