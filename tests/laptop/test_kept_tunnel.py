"""What keeps a tunnel open: the unit, the agent, and a machine that has neither."""

import os
import plistlib
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from labfab.errors import SetupError
from labfab.laptop import kept_tunnel, launch_agent, ports, ssh_control, systemd_user, tunnel
from labfab.laptop.openssh import Target

# Stands in for the program of macOS: knows one agent, and only the words that labfab uses.
LAUNCHCTL = """\
#!/bin/sh
case "$1 $2" in
    "print gui/%(uid)s") exit 0 ;;
    "print "*) [ -e loaded ] || exit 113; echo "	state = running"; echo "	pid = 4711" ;;
    "bootstrap gui/%(uid)s") [ -e "$3" ] && touch loaded ;;
    "bootout gui/%(uid)s/labfab.homelab") rm loaded 2>/dev/null ;;
    *) exit 64 ;;
esac
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def program(home: Path, name: str, text: str) -> None:
    (home / name).write_text(text)
    (home / name).chmod(0o755)


@pytest.fixture
def mac(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "platform", "darwin")
    program(home, "launchctl", LAUNCHCTL % {"uid": os.getuid()})
    return home


def test_what_systemd_would_read_otherwise_is_quoted():
    assert systemd_user.quoted('a b "c" $HOME 100% \\') == '"a b \\"c\\" $$HOME 100%% \\\\"'


def test_the_command_removes_a_stale_socket_and_notices_a_dead_line(home):
    """No ssh would share its socket with another one, and none may be in the way."""
    words = kept_tunnel.argv(Target("homelab"), 9000, 9999, 7)
    control = str(kept_tunnel.socket_path("homelab"))
    assert words[:5] == ["/bin/sh", "-c", kept_tunnel.START, "labfab", control]
    assert words[5].startswith("/") and words[-2:] == ["--", "homelab"]
    assert control != str(ssh_control.socket_path("homelab"))
    for option in ("ServerAliveInterval=10", "BatchMode=yes", "StrictHostKeyChecking=yes"):
        assert option in words
    forward = next(word for word in words if word.startswith("LocalCommand="))
    assert "-L 127.0.0.1:9000:127.0.0.1:9999" in forward


def test_a_home_that_a_host_invents_is_refused(home, monkeypatch):
    """ssh would expand it, and send a variable of this laptop to the host."""
    monkeypatch.setattr(tunnel.openssh, "ask", lambda *_: "/h/${SECRET}")
    with pytest.raises(SetupError, match="characters that a tunnel cannot use"):
        kept_tunnel.argv(Target("homelab"), 9000, ".jupyter/lab.sock", 7)


def test_without_user_services_one_line_names_the_other_way(home, monkeypatch):
    """In a container, under WSL 1, with another init."""
    program(
        home,
        "systemctl",
        "#!/bin/sh\necho 'Failed to connect to bus: No medium found' >&2; exit 1\n",
    )
    with pytest.raises(SetupError, match="user services.*No medium found.*tunnel.open"):
        systemd_user.refuse_without_manager()
    monkeypatch.setenv("PATH", str(home / "empty"))
    with pytest.raises(SetupError, match="user services.*No such file.*tunnel.open"):
        systemd_user.refuse_without_manager()


def test_launchd_gets_a_property_list_and_is_asked_in_its_words(mac):
    """A model of launchctl: started, seen, stopped, removed."""
    launch_agent.refuse_without_manager()
    launch_agent.install("homelab", ["/usr/bin/ssh", "-N", "a & b <c>"], mac / "log")
    agent = plistlib.loads(launch_agent.path("homelab").read_bytes())
    assert launch_agent.path("homelab") == mac / "Library/LaunchAgents/labfab.homelab.plist"
    assert (
        agent["ProgramArguments"] == ["/usr/bin/ssh", "-N", "a & b <c>"]
        and agent["KeepAlive"]
        and agent["RunAtLoad"]
    )
    assert launch_agent.pid("homelab") == 4711
    assert launch_agent.stop("homelab") and launch_agent.pid("homelab") == 0
    launch_agent.start("homelab")
    assert launch_agent.pid("homelab") == 4711
    assert (
        launch_agent.remove("homelab")
        and not launch_agent.path("homelab").exists()
        and not launch_agent.remove("homelab")
    )


def test_a_tunnel_that_never_comes_up_is_not_kept(mac, monkeypatch):
    """The error quotes ssh, and neither agent nor state is left behind."""
    program(mac, "ssh", "#!/bin/sh\n")
    refusing = "touch loaded && echo 'Permission denied' >\"$ERRORS\""
    program(mac, "launchctl", (LAUNCHCTL % {"uid": os.getuid()}).replace("touch loaded", refusing))
    monkeypatch.setenv("ERRORS", str(tunnel.errors_path("homelab")))
    with pytest.raises(SetupError, match="Permission denied"):
        kept_tunnel.keep(Target("homelab"), 9000, 9999, timeout=1)
    assert (
        not launch_agent.path("homelab").exists()
        and tunnel.load("homelab") == {}
        and not tunnel.errors_path("homelab").exists()
    )
    assert not kept_tunnel.forget("homelab")


def test_kept_with_other_settings_is_told(mac):
    """Changed settings do not open a second tunnel next to the kept one."""
    tunnel.files.make_private(tunnel.state_path("homelab").parent)
    state = {
        "target": {},
        "wanted_port": 1,
        "remote_port": 1,
        "local_port": 1,
        "pid": 0,
        "control": "",
        "keeper": "launchd",
    }
    tunnel.save("homelab", state)
    with pytest.raises(SetupError, match="kept with other settings: tunnel.keep"):
        tunnel.open(Target("homelab"), 9000, 9999)


@pytest.fixture
def kept(home):
    """A tunnel that systemd keeps, and a listener of this process at its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        tunnel.files.make_private(tunnel.state_path("homelab").parent)
        state = {
            "target": {},
            "wanted_port": port,
            "remote_port": 9999,
            "local_port": port,
            "pid": 0,
            "control": "",
            "keeper": "systemd",
        }
        tunnel.save("homelab", state)
        yield port


def ssh_is(monkeypatch, process: int) -> None:
    monkeypatch.setattr(systemd_user, "pid", lambda alias: process)


def test_a_port_that_another_program_took_is_no_tunnel(kept, monkeypatch):
    """While ssh reconnects, anybody here may listen on its port: they must not get the token."""
    with subprocess.Popen(["sleep", "30"]) as reconnecting:
        try:
            ssh_is(monkeypatch, reconnecting.pid)
            assert tunnel.status("homelab") is None
        finally:
            reconnecting.kill()
    ssh_is(monkeypatch, os.getpid())
    assert tunnel.status("homelab").local_port == kept
    assert not ports.holds(os.getpid(), 1) and not ports.holds(2**22 + 1, kept)


def test_without_proc_lsof_tells_whose_a_port_is(kept, home, monkeypatch):
    """As on macOS. Without lsof the port counts as somebody else's."""
    monkeypatch.setattr(ports, "Path", lambda path: Path("/nowhere") / path.lstrip("/"))
    assert not ports.holds(4711, kept)
    program(
        home,
        "lsof",
        f"#!/bin/sh\nwanted='-nP -a -t -p 4711 -iTCP@127.0.0.1:{kept} -sTCP:LISTEN'\n"
        '[ "$*" = "$wanted" ] && echo 4711\n',
    )
    assert ports.holds(4711, kept) and not ports.holds(4712, kept)


def test_what_was_proven_of_one_ssh_holds_for_no_other(kept, monkeypatch):
    """After a reboot of the host a kept tunnel is a new ssh, even if it has the same number."""
    ssh_is(monkeypatch, os.getpid())
    assert not tunnel.status("homelab").proven
    tunnel.prove_owner(tunnel.status("homelab"))
    assert tunnel.status("homelab").proven and tunnel.status("homelab").kept == "systemd"
    born = ssh_control.process_identity(os.getpid())
    monkeypatch.setattr(ssh_control, "process_identity", lambda process: born + "1")
    assert not tunnel.status("homelab").proven


def test_a_process_is_told_from_another_of_its_number(home, monkeypatch):
    """By when it started, with /proc and without."""
    with subprocess.Popen(["sleep", "30"]) as other:
        try:
            assert (
                ssh_control.process_identity(other.pid)
                == ssh_control.process_identity(other.pid)
                != ssh_control.process_identity(os.getpid())
            )
        finally:
            other.kill()
    monkeypatch.setattr(ssh_control, "Path", lambda path: Path("/nowhere") / path.lstrip("/"))
    program(home, "ps", "#!/bin/sh\necho ' Fri Nov 20 10:00:00 2026 '\n")
    assert ssh_control.process_identity(4711) == "4711 Fri Nov 20 10:00:00 2026"
