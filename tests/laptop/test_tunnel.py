"""The tunnel against a real sshd on loopback, which runs as you with keys of its own."""

import contextlib
import getpass
import http.server
import json
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from labfab.errors import SetupError
from labfab.laptop import kept_tunnel, openssh, ports, ssh_control, tunnel
from labfab.laptop.tunnel import Target
from labfab.local_state import files, keypair, known_hosts, ssh_config
from tests.loopback_sshd import Server, free_port, listens, needs_sshd, server, wait_for

__all__ = ["server"]

pytestmark = pytest.mark.local


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home with a path short enough for a control socket."""
    with tempfile.TemporaryDirectory(prefix="h", dir="/tmp") as name:
        monkeypatch.setenv("HOME", name)
        monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
        monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
        yield Path(name)
        tunnel.close("homelab")


@pytest.fixture
def lab() -> Iterator[int]:
    """A port that answers /api as Jupyter does."""

    class Api(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/api" else 404)
            self.end_headers()
            self.wfile.write(b'{"version": "2.21.1"}')

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture
def target(home: Path, server: Server) -> Target:
    """Return the sshd as a target, with its host key known."""
    known_hosts.pin(home / ".ssh/known_hosts", "127.0.0.1", server.port, server.host_key)
    return Target("homelab", "127.0.0.1", getpass.getuser(), server.port, str(server.identity))


@needs_sshd
def test_whose_port_is_behind_a_tunnel_is_asked_through_it(target, lab):
    """Of the kernel there, by the tunnel's own connection; a port that nobody holds is nobody's."""
    me = getpass.getuser()
    opened = tunnel.open(target, free_port(), lab)
    assert tunnel.leads_to(opened, target, me)
    assert not tunnel.leads_to(opened, target, "nobody" if me != "nobody" else "root")
    assert not tunnel.leads_to(opened, target, "no-such-account")
    assert not tunnel.leads_to(opened._replace(remote_port=free_port()), target, me)


@needs_sshd
def test_open_use_close(
    target: Target, lab: int, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tunnel answers, is used again by the next call, and is gone once closed."""
    monkeypatch.setenv("LABFAB_SUDO_PASSWORD", "hunter2")
    port = free_port()
    assert tunnel.status("homelab") is None
    opened = tunnel.open(target, port, lab)
    assert (opened.local_port, opened.remote_port, opened.reused, opened.moved) == (
        port,
        lab,
        False,
        False,
    )
    assert tunnel.answers(opened.url) == "2.21.1"
    again = tunnel.open(target, port, lab)
    assert again.reused and again.pid == opened.pid
    assert tunnel.status("homelab") == again
    state = files.config_folder("homelab") / "tunnel.json"
    assert state.stat().st_mode & 0o777 == 0o600
    process = Path(f"/proc/{opened.pid}/environ")
    if process.exists():
        assert b"hunter2" not in process.read_bytes()
    assert tunnel.close("homelab")
    assert not listens(port) and not state.exists() and not list((home / ".ssh").glob("labfab-*"))
    assert tunnel.status("homelab") is None and tunnel.answers(opened.url) is None
    assert not tunnel.close("homelab")


@needs_sshd
def test_by_alias(target: Target, server: Server, lab: int, home: Path) -> None:
    """The alias block alone is enough."""
    alias = ssh_config.Alias("homelab", "127.0.0.1", target.user, server.port, target.identity)
    ssh_config.write(home / ".ssh/config", alias)
    assert tunnel.answers(tunnel.open(Target("homelab"), free_port(), lab).url) == "2.21.1"
    tunnel.close("homelab")
    other = keypair.public_line(keypair.generate(home / "other"))
    (home / ".ssh/known_hosts").write_text(f"[127.0.0.1]:{server.port} {other}\n")
    with pytest.raises(
        SetupError, match=rf"^homelab: .*ssh-keygen -R '\[127.0.0.1\]:{server.port}'"
    ):
        tunnel.open(Target("homelab"), free_port(), lab)


@needs_sshd
def test_busy_port(target: Target, lab: int) -> None:
    """The next free port replaces a busy one; changed settings replace the tunnel."""
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        opened = tunnel.open(target, port, lab)
        assert opened.moved and opened.local_port > port
        assert tunnel.open(target, port, lab).moved
        assert tunnel.answers(opened.url) == "2.21.1"
    other = free_port()
    assert tunnel.open(target, other, lab).local_port == other
    assert not listens(opened.local_port)


@needs_sshd
def test_port_taken_at_the_last_moment(
    target: Target, lab: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If ssh finds the port taken after all, the next one is tried."""
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        monkeypatch.setattr(ports, "first_free", lambda port, but: port)
        assert tunnel.open(target, busy.getsockname()[1], lab).moved


@needs_sshd
def test_after_a_crash(target: Target, lab: int) -> None:
    """A killed ssh leaves a socket and a state behind; neither blocks the next one."""
    port = free_port()
    killed = tunnel.open(target, port, lab)
    os.kill(killed.pid, signal.SIGKILL)
    wait_for(lambda: not listens(port))
    assert ssh_control.socket_path("homelab").exists()
    assert tunnel.status("homelab") is None
    again = tunnel.open(target, port, lab)
    assert not again.reused and again.pid != killed.pid
    (files.config_folder("homelab") / "tunnel.json").write_text("{garbled")
    assert tunnel.status("homelab") is None
    assert tunnel.open(target, port, lab).local_port == port


@needs_sshd
def test_close_with_the_host_down(
    target: Target, server: Server, lab: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing needs no host, and not even an ssh that listens."""
    monkeypatch.setattr(ssh_control, "PATIENCE", 0.15)
    port = free_port()
    opened = tunnel.open(target, port, lab)
    server.process.send_signal(signal.SIGSTOP)
    os.kill(opened.pid, signal.SIGSTOP)
    try:
        assert tunnel.status("homelab") is None
        assert tunnel.close("homelab")
        wait_for(lambda: not listens(port))
    finally:
        server.process.send_signal(signal.SIGCONT)


@needs_sshd
def test_two_at_once(target: Target, lab: int) -> None:
    """Two calls at the same time open one tunnel."""
    port, found = free_port(), []
    threads = [
        threading.Thread(target=lambda: found.append(tunnel.open(target, port, lab)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0].pid == found[1].pid
    assert sorted(one.reused for one in found) == [False, True]


@needs_sshd
def test_refusals(target: Target, server: Server, lab: int, home: Path) -> None:
    """Each refusal has its own message and leaves nothing behind."""
    stranger = keypair.generate(home / "stranger")
    locked = keypair.generate(home / "locked", passphrase="secret")
    known = home / ".ssh/known_hosts"
    good = known.read_bytes()
    other = keypair.public_line(stranger).rsplit(" ", 1)[0]
    cases = [
        (target._replace(identity=str(stranger)), good, r"Permission denied \(.*stranger\)"),
        (target._replace(identity=str(locked)), good, "ssh-add"),
        (target._replace(user="a b; $(x)"), good, "Permission denied|invalid"),
        (target, b"", "unknown host key"),
        (
            target,
            f"[127.0.0.1]:{server.port} {other}\n".encode(),
            rf"KEY HAS CHANGED.*\[127.0.0.1\]:{server.port}",
        ),
        (target._replace(port=free_port()), good, "nothing listens on port"),
        (target._replace(hostname="no.such.host.invalid"), good, "no such host name"),
        (Target("homelab"), good, "no such host name"),
    ]
    for case, content, message in cases:
        known.write_bytes(content)
        with pytest.raises(SetupError, match=message) as caught:
            tunnel.open(case, free_port(), lab)
        assert "\n" not in caught.value.message
        assert tunnel.status("homelab") is None


# What an ssh_config may hold for every host: forwards, commands, shared connections, and places of
# host keys that forget everything.
OF_THE_USER = """Host *
    LocalForward {busy} localhost:8888
    RemoteForward {free} localhost:22
    DynamicForward {other}
    ExitOnForwardFailure yes
    RemoteCommand echo not this one
    RequestTTY force
    PermitLocalCommand yes
    LocalCommand touch {home}/ran
    ControlMaster auto
    ControlPath {home}/.ssh/shared-%C
    ControlPersist yes
    ForwardAgent yes
    StrictHostKeyChecking no
    UserKnownHostsFile /dev/null
"""


@pytest.fixture
def user_config(home: Path) -> Iterator[int]:
    """Give the user forwards and commands for every host. Yields a local port of theirs."""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        other = free_port()
        values = {"busy": busy.getsockname()[1], "free": free_port(), "other": other}
        (home / ".ssh").mkdir(mode=0o700, exist_ok=True)
        (home / ".ssh/config").write_text(OF_THE_USER.format(home=home, **values))
        yield other


@needs_sshd
def test_the_user_s_own_forwards_and_commands_stay_out(
    target: Target, lab: int, home: Path, user_config: int
) -> None:
    """Whatever an ssh_config wants of every ssh, the tunnel carries one port and runs nothing."""
    opened = tunnel.open(target, free_port(), lab)
    assert tunnel.answers(opened.url) == "2.21.1"
    assert not listens(user_config)
    assert openssh.ask(target, "echo asked", 5) == "asked"
    assert not (home / "ran").exists() and not list((home / ".ssh").glob("shared-*"))


@needs_sshd
def test_a_key_is_pinned_by_labfab_whatever_the_user_s_ssh_accepts(
    target: Target, server: Server, lab: int, home: Path, user_config: int
) -> None:
    """The tunnel knows the host by the key in ~/.ssh/known_hosts, and takes no other."""
    known = home / ".ssh/known_hosts"
    good = known.read_bytes()
    other = keypair.public_line(keypair.generate(home / "other"))
    for content, message in (
        (b"", "unknown host key"),
        (f"[127.0.0.1]:{server.port} {other}\n".encode(), "KEY HAS CHANGED"),
    ):
        known.write_bytes(content)
        with pytest.raises(SetupError, match=message):
            tunnel.open(target, free_port(), lab)
    known.write_bytes(good)
    assert tunnel.answers(tunnel.open(target, free_port(), lab).url) == "2.21.1"


@needs_sshd
def test_a_kept_tunnel_forwards_its_port_and_ends_without_it(
    target: Target, lab: int, home: Path, user_config: int
) -> None:
    """As the service starts it: with the user's configuration, and a socket left by a crash."""
    port = free_port()
    kept_tunnel.socket_path("homelab").touch()
    argv = kept_tunnel.argv(target, port, lab, 5)
    with subprocess.Popen(argv, stderr=subprocess.PIPE) as first:
        wait_for(lambda: ports.holds(first.pid, port))
        assert tunnel.answers(f"http://127.0.0.1:{port}") == "2.21.1"
        assert not listens(user_config)
        first.terminate()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        argv = kept_tunnel.argv(target, taken.getsockname()[1], lab, 5)
        done = subprocess.run(argv, capture_output=True, text=True, timeout=10)
    assert done.returncode
    with pytest.raises(SetupError, match="a port of this machine is taken.*local_port"):
        raise openssh.explain(target, done.stderr)


def test_silent_host(home: Path) -> None:
    """A host that never answers is an error after the time-out."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        began = time.monotonic()
        with pytest.raises(SetupError, match="no answer on port"):
            tunnel.open(
                Target("homelab", "127.0.0.1", "x", silent.getsockname()[1]),
                free_port(),
                1,
                timeout=1,
            )
        assert time.monotonic() - began < 4


@pytest.mark.parametrize("alias", ["../x", "-n", "a b"])
def test_alias(alias: str, home: Path) -> None:
    """A name that is no alias is refused before anything happens."""
    for act in (
        lambda: tunnel.open(Target(alias), 1, 1),
        lambda: tunnel.status(alias),
        lambda: tunnel.close(alias),
    ):
        with pytest.raises(SetupError, match="cannot be an alias"):
            act()


def test_no_free_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """If every port is taken, the error names the setting to change."""
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 65535))
        busy.listen()
        with pytest.raises(SetupError, match="local_port"):
            ports.first_free(65535)


def test_side_by_side_each_gets_a_port_of_its_own() -> None:
    """Eight hosts whose tunnels open at the same time would all find the same port free."""
    port = free_port()
    with contextlib.ExitStack() as stack:
        assert len({stack.enter_context(ports.reserved_port(port)) for _ in range(8)}) == 8
    with ports.reserved_port(port) as again:
        assert again == port


@pytest.mark.parametrize("body", [b"", b"[]", b'{"version": 3}', b"<html>", b"\xff"])
def test_no_jupyter(body: bytes, home: Path) -> None:
    """Other answers are not mistaken for Jupyter."""

    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        assert tunnel.answers(f"http://127.0.0.1:{server.server_port}/") is None


def test_state_is_not_trusted(home: Path) -> None:
    """A state file that names foreign processes or lacks fields does no harm."""
    folder = files.make_private(files.config_folder("homelab"))
    sleeper = subprocess.Popen(["sleep", "30"])
    state = {
        "target": {},
        "wanted_port": 1,
        "local_port": 1,
        "remote_port": 1,
        "pid": sleeper.pid,
        "control": "/x",
    }
    try:
        for text in ("", "[]", "{}", '"x"', json.dumps(state), json.dumps({**state, "control": 5})):
            (folder / "tunnel.json").write_text(text)
            assert tunnel.status("homelab") is None
            assert not tunnel.close("homelab")
        assert sleeper.poll() is None
    finally:
        sleeper.kill()
        sleeper.wait()
