"""Dialing: whom to trust, what to say, where a login went; against a small SSH server of our own on the loopback."""

import contextlib
import os
import socket
import threading
from types import SimpleNamespace

import paramiko
import pytest
from fabric import Config, Connection

from labfab.errors import SetupError, Unreachable
from labfab.host import connection
from labfab.local_state import keypair, known_hosts, ssh_config
from labfab.settings import Settings
from tests import fake as models

alone = models.alone
HOST_KEY, OTHER_KEY = models.KEY, paramiko.ECDSAKey.generate()
SHOWN = known_hosts.fingerprint(HOST_KEY)


class Door(paramiko.ServerInterface):
    """Decides who can log in."""

    def __init__(self, server: "Server") -> None:
        self.server = server

    def get_allowed_auths(self, username):
        return self.server.ways

    def check_auth_password(self, username, password):
        good = "password" in self.server.ways and password == self.server.password
        return paramiko.AUTH_SUCCESSFUL if good else paramiko.AUTH_FAILED

    def check_auth_publickey(self, username, key):
        self.server.offered.append(key.get_base64())
        return (
            paramiko.AUTH_SUCCESSFUL
            if key.get_base64() in self.server.keys
            else paramiko.AUTH_FAILED
        )


class Server:
    """An SSH server that accepts logins and does nothing else."""

    def __init__(self, key: paramiko.PKey = HOST_KEY) -> None:
        self.key, self.ways, self.password = key, "publickey,password", "right"
        self.keys: set[str] = set()
        self.offered: list[str] = []
        self.turned_away = 0  # how many connections to close before a word is said
        self.transports: list[paramiko.Transport] = []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.socket.accept()
                if self.turned_away:
                    self.turned_away -= 1
                    client.close()
                    continue
                transport = paramiko.Transport(client)
                transport.add_server_key(self.key)
                self.transports.append(transport)
                with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
                    transport.start_server(event=threading.Event(), server=Door(self))

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join(5)
        for transport in self.transports:
            hang_up(transport)


def hang_up(transport: paramiko.Transport | None) -> None:
    """Close immediately: by itself, paramiko checks only ten times a second."""
    if transport:
        with contextlib.suppress(OSError):
            transport.sock.shutdown(socket.SHUT_RDWR)
        transport.join(5)
        transport.close()


@pytest.fixture
def server(alone):
    running = Server()
    yield running
    running.close()


@pytest.fixture
def dial(server):
    """Dial the server as a task would."""
    opened = []

    def go(user: str = "ada", host: str = "127.0.0.1", **settings) -> Connection:
        c = Connection(host, user=user, port=server.port, config=Config())
        opened.append(c)
        connection.dial(c, Settings(**({"host_key": SHOWN, "connect_timeout": 5} | settings)))
        return c

    yield go
    for c in opened:
        hang_up(c.transport)
        c.close()


def let_in(server, alone) -> str:
    """A key on the laptop that the server knows."""
    line = keypair.public_line(keypair.generate(alone / "home/.ssh/id_ed25519"))
    server.keys.add(line.split()[1])
    return line


def pinned(alone, server) -> list:
    return known_hosts.pinned(alone / "home/.ssh/known_hosts", "127.0.0.1", server.port)


# Host keys -------------------------------------------------------------------------------------------


def test_the_right_fingerprint_is_pinned(dial, server, alone):
    """With host_key set, nobody is asked; the next connection needs neither."""
    let_in(server, alone)
    dial()
    assert pinned(alone, server) == [HOST_KEY]
    assert dial(host_key="").is_connected


def test_an_unknown_host_key_is_not_accepted_by_itself(dial, server, alone):
    """Without a terminal, one line gives the fingerprint and the variable. No password was sent, no key pinned."""
    let_in(server, alone)
    with pytest.raises(
        SetupError,
        match=rf"unknown host key {SHOWN.replace('+', '.')}.*type LABFAB_HOST_KEY=SHA256:",
    ):
        dial(host_key="")
    assert pinned(alone, server) == [] and server.offered == []


@pytest.mark.parametrize(
    "answer, accepted", [("yes", True), ("y", True), ("no", False), ("", False), (EOFError, False)]
)
def test_somebody_at_a_terminal_is_asked(
    dial, server, alone, monkeypatch, capsys, answer, accepted
):
    """Only yes means yes."""
    let_in(server, alone)

    def say():
        said = capsys.readouterr()
        assert SHOWN in said.err and said.out == ""  # which may be for a document
        if answer is EOFError:
            raise EOFError
        return answer

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", say)
    if accepted:
        assert dial(host_key="").is_connected and pinned(alone, server) == [HOST_KEY]
    else:
        with pytest.raises(SetupError, match="host key not accepted, nothing was done"):
            dial(host_key="")
        assert pinned(alone, server) == []


def test_another_key_than_the_given_one_stops_everything(dial, server, alone):
    """A key that differs from host_key belongs to another machine."""
    with pytest.raises(SetupError, match="this is another machine"):
        dial(host_key="SHA256:" + "A" * 43)
    assert pinned(alone, server) == []


def test_a_changed_host_key_stops_everything(dial, server, alone):
    """Even if the new fingerprint is given. The line names the command that removes the old key."""
    known_hosts.pin(alone / "home/.ssh/known_hosts", "127.0.0.1", server.port, OTHER_KEY)
    with pytest.raises(
        SetupError, match=rf"THE HOST KEY HAS CHANGED.*ssh-keygen -R '\[127.0.0.1\]:{server.port}'"
    ):
        dial()
    assert pinned(alone, server) == [OTHER_KEY] and server.offered == []


@pytest.mark.parametrize(
    "line",
    ["{name} {key}", "other,{name} {key} and a comment", "{hashed} {key}", "[127.0.0.*]:* {key}"],
)
def test_a_key_is_known_from_whichever_line(dial, server, alone, line):
    """Plain, hashed or with patterns; among many other lines, a broken one, and a second key of the same type."""
    let_in(server, alone)
    name = known_hosts.host_name("127.0.0.1", server.port)
    key = f"{HOST_KEY.get_name()} {HOST_KEY.get_base64()}"
    told = line.format(name=name, key=key, hashed=paramiko.HostKeys.hash_host(name))
    other = f"{OTHER_KEY.get_name()} {OTHER_KEY.get_base64()}"
    lines = ["# mine", *(f"host{n} {other}" for n in range(500)), "broken", told, f"{name} {other}"]
    (alone / "home/.ssh/known_hosts").write_text("\n".join(lines) + "\n")
    assert dial(host_key="").is_connected


# Logging in ------------------------------------------------------------------------------------------


def test_what_is_sent_is_sent_at_once(dial, server, alone):
    """TCP_NODELAY is set on the socket that paramiko uses."""
    let_in(server, alone)
    assert dial().transport.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_password_from_the_environment_is_used_and_dropped(dial, server, monkeypatch):
    """No child process inherits the password."""
    monkeypatch.setenv("LABFAB_LOGIN_PASSWORD", "right")
    assert dial().is_connected and "LABFAB_LOGIN_PASSWORD" not in os.environ


def test_a_wrong_password_is_one_line_without_it(dial, monkeypatch):
    """The message does not contain the password. Without a terminal, none is asked for."""
    monkeypatch.setenv("LABFAB_LOGIN_PASSWORD", "s3cret")
    with pytest.raises(
        SetupError, match=r"ada@127\.0\.0\.1:\d+: wrong password \(or wrong user name\)"
    ) as error:
        dial()
    assert "s3cret" not in str(error.value)


def test_keys_that_were_tried_are_listed(dial, server, alone):
    """The message says what the host accepts, which keys were offered and what to type."""
    keypair.generate(alone / "home/.ssh/id_ed25519")
    server.ways = "publickey"
    with pytest.raises(
        SetupError,
        match=r"Permission denied \(publickey\); keys tried: .*/id_ed25519; give another key: fab -i KEY$",
    ):
        dial()


def test_without_any_key_that_is_said(dial, server):
    """It suggests a password if the host accepts one."""
    with pytest.raises(SetupError, match="there is no key in ~/.ssh.*--prompt-for-login-password"):
        dial()


def test_a_key_with_a_passphrase_names_the_agent(dial, server, alone):
    """Without a terminal, nobody is asked for it."""
    path = keypair.generate(alone / "home/.ssh/id_ed25519", passphrase="s3cret")
    server.keys.add(path.with_suffix(".pub").read_text().split()[1])
    with pytest.raises(SetupError, match="has a passphrase: hand it to the agent with ssh-add"):
        dial()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "garbage",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
    ],
)
def test_a_damaged_key_is_no_traceback(dial, alone, text):
    """Whatever ~/.ssh/id_ed25519 contains, the user sees one line."""
    (alone / "home/.ssh").mkdir(mode=0o700)
    (alone / "home/.ssh/id_ed25519").write_text(text)
    with pytest.raises(SetupError, match="id_ed25519"):
        dial()


# Connecting ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error, says",
    [
        (
            socket.gaierror(-2, "Name or service not known"),
            "no such host name: check the spelling after -H",
        ),
        (
            ConnectionRefusedError(111, "refused"),
            r"nothing listens on port \d+, or the host takes no more connections .*ufw limit.*: "
            r"wait half a minute, or name the port, fab -H ada@127.0.0.1:PORT",
        ),
        (TimeoutError("timed out"), r"no answer on port \d+ within 5 s: is it switched on"),
        (
            OSError(101, "Network is unreachable"),
            r"cannot be reached on port \d+ \(Network is unreachable\)",
        ),
        (OSError(113, "No route to host"), r"\(No route to host\)"),
    ],
)
def test_a_host_that_is_not_reached_is_one_line(dial, monkeypatch, error, says):
    """Each message says what to look at."""

    def fail(c):
        raise error

    monkeypatch.setattr(connection, "open_socket", fail)
    with pytest.raises(SetupError, match=says) as told:
        dial()
    assert "\n" not in str(told.value)


def test_a_web_server_is_no_ssh_server(alone):
    """A different server on the port is not mistaken for a wrong password."""
    with socket.create_server(("127.0.0.1", 0)) as web:

        def answer():
            client, _ = web.accept()
            with client:
                client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 200)
                client.recv(100)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        c = Connection("127.0.0.1", user="ada", port=web.getsockname()[1], config=Config())
        with pytest.raises(
            SetupError, match="is not an SSH server, or takes no more .* name the port"
        ):
            connection.dial(c, Settings(host_key=SHOWN, connect_timeout=5))
        c.close()
        thread.join(5)


# Afterwards ------------------------------------------------------------------------------------------


def test_a_fresh_login_uses_that_key_only(dial, server, alone, tmp_path):
    """Neither the password of the present login nor the keys in ~/.ssh count as proof."""
    good = let_in(server, alone).split()[1]
    c = dial()
    c.connect_kwargs["password"] = "right"
    c.connect_kwargs["pkey"] = paramiko.Ed25519Key.from_private_key_file(
        str(alone / "home/.ssh/id_ed25519")
    )  # as of an agent
    other = keypair.generate(tmp_path / "other")
    server.offered.clear()
    with pytest.raises(paramiko.AuthenticationException):
        connection.log_in_again(c, "lab", server.port, other)
    assert good not in server.offered
    server.keys.add(
        other.with_suffix(".pub").read_text().split()[1]
        if other.suffix
        else (tmp_path / "other.pub").read_text().split()[1]
    )
    new = connection.log_in_again(c, "lab", server.port, other)
    assert new.is_connected and new.user == "lab"
    new.close()


def test_a_fresh_login_is_tried_again_while_sshd_is_full(dial, server, alone):
    """sshd hangs up on some while others hold many unfinished logins: anybody can bring that about."""
    let_in(server, alone)
    c = dial()
    server.turned_away = 2
    new = connection.log_in_again(c, "ada", server.port, None)
    assert new.is_connected and server.turned_away == 0
    new.close()


def test_a_fresh_login_is_not_tried_for_ever(dial, server, alone, monkeypatch):
    let_in(server, alone)
    c = dial()
    monkeypatch.setattr(connection, "TURNED_AWAY_FOR", 1)
    server.turned_away = 100
    with pytest.raises((paramiko.SSHException, EOFError, ConnectionResetError)):
        connection.log_in_again(c, "ada", server.port, None)
    assert 90 < server.turned_away < 100


def test_of_two_kinds_of_host_key_the_first_line_counts(alone):
    """paramiko asks the host for the first type listed, and never for an old line below it."""
    path = alone / "known_hosts"
    keys = [
        paramiko.ECDSAKey.generate(),
        paramiko.RSAKey.generate(1024),
        paramiko.ECDSAKey.generate(),
    ]
    path.write_text("".join(f"203.0.113.5 {key.get_name()} {key.get_base64()}\n" for key in keys))
    c = Connection("203.0.113.5", user="ada", config=Config())
    connection.trust_pinned_keys(c, path)
    known = c.client.get_host_keys().lookup("203.0.113.5")
    assert (
        list(known.keys()) == [keys[0].get_name(), "ssh-rsa"]
        and known[keys[0].get_name()] == keys[0]
    )


def test_a_host_that_stops_in_the_middle_of_the_handshake_is_out_of_reach(alone):
    """A slow host does not mean that a password is wanted."""
    with socket.create_server(("127.0.0.1", 0)) as slow:
        taken = []

        def answer():
            taken.append(slow.accept()[0])
            taken[0].sendall(b"SSH-2.0-slow\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        c = Connection(
            "127.0.0.1", user="ada", port=slow.getsockname()[1], config=Config(), connect_timeout=1
        )
        with pytest.raises(Unreachable, match="no answer on port"):
            connection.dial(c, Settings(host_key=SHOWN, connect_timeout=1))
        c.close()
        thread.join(5)
        taken[0].close()


def test_a_fresh_login_needs_the_pinned_key(dial, server, alone):
    """A proof does not accept an unknown host key."""
    let_in(server, alone)
    c = dial()
    (alone / "home/.ssh/known_hosts").write_text("")
    with pytest.raises(paramiko.SSHException, match="not found in known_hosts"):
        connection.log_in_again(c, "ada", server.port, None)


@pytest.mark.parametrize(
    "ways", ["publickey", "publickey,password", "publickey,keyboard-interactive"]
)
def test_a_stranger_sees_what_is_offered(dial, server, alone, ways):
    """The host is asked without any key or password."""
    let_in(server, alone)
    c = dial()
    server.ways = ways
    assert connection.offered_methods(c, "ada", server.port) == ways.split(",")


def test_the_first_command_line_is_followed(alone, capsys):
    """The login that setup began with leads to the new one, and a line says so."""
    (alone / "home/.ssh").mkdir(mode=0o700)
    block = ssh_config.Alias(
        "homelab",
        "203.0.113.5",
        "lab",
        2222,
        identity="/home/me/key",
        former_logins="root@203.0.113.5:22",
    )
    ssh_config.write(alone / "home/.ssh/config", block)
    c = Connection("203.0.113.5", user="root", config=Config())
    assert connection.apply_alias(c) == "homelab"
    assert (c.user, c.port, c.connect_kwargs["key_filename"]) == ("lab", 2222, ["/home/me/key"])
    assert "[homelab] already set up: connecting as lab@203.0.113.5:2222" in capsys.readouterr().out


def test_a_key_given_by_hand_wins_over_the_followed_one(alone):
    """fab -i still takes precedence."""
    (alone / "home/.ssh").mkdir(mode=0o700)
    block = ssh_config.Alias(
        "homelab",
        "203.0.113.5",
        "lab",
        2222,
        identity="/home/me/key",
        former_logins="root@203.0.113.5:22",
    )
    ssh_config.write(alone / "home/.ssh/config", block)
    c = Connection(
        "203.0.113.5", user="root", config=Config(), connect_kwargs={"key_filename": ["/given"]}
    )
    connection.apply_alias(c)
    assert c.connect_kwargs["key_filename"] == ["/given"]


@pytest.mark.parametrize("told_by_fabric", [True, False])
def test_of_an_agents_keys_the_right_one_is_offered_at_once(
    server, alone, monkeypatch, told_by_fabric
):
    """Each wrong key costs a round trip, and sshd hangs up after a few."""
    path = keypair.generate(alone / "home/.ssh/mine", passphrase="s3cret")
    mine = paramiko.Ed25519Key.from_private_key_file(str(path), password="s3cret")
    server.keys.add(mine.get_base64())
    monkeypatch.setenv("SSH_AUTH_SOCK", "/agent")
    others = [paramiko.ECDSAKey.generate() for _ in range(6)]
    monkeypatch.setattr(
        paramiko,
        "Agent",
        lambda: SimpleNamespace(get_keys=lambda: (*others, mine), close=lambda: None),
    )
    ssh_config.write(
        alone / "home/.ssh/config",
        ssh_config.Alias("homelab", "127.0.0.1", "lab", server.port, identity=str(path)),
    )
    c = Connection("127.0.0.1", user="lab", port=server.port, config=Config())
    c.connect_kwargs.update({"key_filename": [str(path)]} if told_by_fabric else {})
    assert connection.apply_alias(c) == "homelab"
    connection.dial(c, Settings(host_key=SHOWN, connect_timeout=5))
    assert server.offered and set(server.offered) == {mine.get_base64()}
    hang_up(c.transport)
    c.close()


def test_another_login_is_not_followed(alone):
    """Another port or user at the same address is a different login."""
    (alone / "home/.ssh").mkdir(mode=0o700)
    ssh_config.write(
        alone / "home/.ssh/config",
        ssh_config.Alias(
            "homelab", "203.0.113.5", "lab", 2222, former_logins="root@203.0.113.5:22"
        ),
    )
    c = Connection("203.0.113.5", user="root", port=2200, config=Config())
    assert connection.apply_alias(c) == "" and (c.user, c.port) == ("root", 2200)
