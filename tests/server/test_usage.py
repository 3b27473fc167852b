"""lab_usage.sh asks each server with the address and the token that it started with."""

import json
import os
import socket
import subprocess

import pytest

from labfab.host.changes import fill
from labfab.on_host import loader
from labfab.server import usage


@pytest.fixture
def home(tmp_path):
    """A home with a configuration, and programs that only say how they were called."""
    (tmp_path / "bin").mkdir()
    for name, text in {
        "curl": 'echo "$* $(cat)" >>"$HOME/calls"; echo "[]"',
        "pgrep": 'case "$*" in *ython*) echo 7; echo 8 ;; *) [ "$2" = 7 ] ;; esac',
        "ps": "true",
    }.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / ".jupyter").mkdir()
    (tmp_path / ".jupyter/jupyter_server_config.json").write_text(
        '{\n  "IdentityProvider": {\n    "token": "new"\n  }\n}\n'
    )
    return tmp_path


@pytest.fixture
def port():
    """A port of ours."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def asked(home, pid: str, port: int) -> dict[str, str]:
    """Run the script for real; the calls are left in a file."""
    script = loader.as_command("lab_usage", 4, uses="port_owner")
    script = fill(script, str(home), f"http://127.0.0.1:{port}/", "", pid)
    environment = {"HOME": str(home), "PATH": f"{home}/bin:{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, env=environment, check=True
    )
    return usage.parse(done.stdout, ("activity",))["activity"]


@pytest.mark.parametrize("data", [".local/share/jupyter", "Library/Jupyter"])
def test_a_server_is_asked_where_it_says_itself(home, port, data):
    """With the port, scheme, path and token it started with; macOS keeps the note elsewhere."""
    runtime = home / data / "runtime"
    runtime.mkdir(parents=True)
    note = {
        "base_url": "/old/",
        "pid": 7,
        "port": port,
        "secure": True,
        "sock": "",
        "token": "abc",
        "url": f"https://x:{port}/old/",
    }
    (runtime / "jpserver-7.json").write_text(json.dumps(note, indent=2))
    found = asked(home, "7", 9999)
    assert usage.listed(found["kernels.7"], usage.KernelAnswer) == [] and found["parent.7"] == "yes"
    calls = (home / "calls").read_text()
    assert (
        f"https://127.0.0.1:{port}/old/api/kernels" in calls
        and "token abc" in calls
        and "new" not in calls
    )


def test_a_server_without_a_note_is_asked_as_the_settings_say(home, port):
    assert set(asked(home, "7", port)) >= {"kernels.7", "sessions.7", "parent.7"}
    calls = (home / "calls").read_text()
    assert f"http://127.0.0.1:{port}/api/kernels" in calls and "token new" in calls


@pytest.mark.skipif(not os.path.exists("/proc/net/tcp"), reason="asks Linux")
def test_where_the_port_is_not_the_accounts_own_no_token_is_sent(home, port):
    """The kernel is asked; a server that ended leaves its note, and another account may take its port."""
    with socket.socket() as bound:  # nobody listens there
        bound.bind(("127.0.0.1", 0))
        found = asked(home, "7", bound.getsockname()[1])
    assert found["kernels.7"] == "" and found["parent.7"] == "yes"
    assert not (home / "calls").exists()
    for uid, code in ((os.getuid(), 0), (os.getuid() + 1, 1)):
        words = f"{loader.shared('port_owner')}port_is_of {uid} {port}"
        assert subprocess.run(["sh", "-c", words], check=False).returncode == code


@pytest.mark.skipif(not os.path.exists("/proc/net/tcp"), reason="asks Linux")
def test_a_port_is_its_most_exact_listeners(port):
    """What takes IPv6 calls only, or listens at another address, cannot hide whose 127.0.0.1 is."""
    with (
        socket.socket(socket.AF_INET6) as six,
        socket.create_server(("127.0.0.2", port)),
    ):
        six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        six.bind(("::", port))
        six.listen()
        words = f"{loader.shared('port_owner')}listening_uids {port}"
        done = subprocess.run(["sh", "-c", words], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(os.getuid())]


def test_where_the_port_is_nobodys_each_jupyterlab_is_asked(home):
    found = asked(home, "", 9999)
    assert {"kernels.7", "kernels.8", "parent.7"} <= set(found) and "parent.8" not in found
