"""A host that is down: said soon, and in one row."""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time

import pytest

from tests.rig.places import REPO

FAB = [sys.executable, "-c", "from fabric.main import program; program.run()"]


@pytest.fixture
def silent(tmp_path):
    """Return a login whose port takes packets and answers none: its queue is full."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield f"root@127.0.0.1:{server.getsockname()[1]}"


def check(home, *words: str) -> tuple[subprocess.CompletedProcess[str], float]:
    environment = {name: text for name, text in os.environ.items() if "LABFAB" not in name}
    began = time.monotonic()
    said = subprocess.run(
        [*FAB, *words],
        cwd=REPO,
        env=environment | {"HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return said, time.monotonic() - began


def test_a_silent_host_is_down_within_seconds_and_in_one_row(silent, tmp_path):
    said, took = check(tmp_path, "-H", silent, "check.all")
    assert said.returncode == 1 and took < 5 + 5, f"{took:.1f} s: {said}"
    assert "no answer yet from 127.0.0.1, port " in said.stdout
    assert re.search(r"fail +ssh-reach .*no answer on port \d+ within 5 s", said.stdout)
    rows = [
        line for line in said.stdout.splitlines() if re.match(r"(ok|fail|warn|not checked) ", line)
    ]
    assert [line.split()[1] for line in rows if not line.startswith("ok")] == ["ssh-reach"], rows
    assert "1 check fails: ssh-reach" in said.stderr


def test_for_programs_every_row_is_there(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    said, took = check(tmp_path, "-H", f"root@127.0.0.1:{port}", "check.all", "--json")
    rows = json.loads(said.stdout)["checks"]
    assert [row["id"] for row in rows if row["state"] == "fail"] == ["ssh-reach"]
    assert len(rows) > 25 and took < 10
