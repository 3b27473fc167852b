"""Accounts of a host that try to speak for root, to aim root's kill, or to take JupyterLab's socket: labfab listens to none."""

import json
import re
import shlex
import time
from contextlib import closing

import pytest

from labfab.laptop import kernel
from labfab.on_host import loader
from tests.rig import squatter

pytestmark = pytest.mark.host

ENV = {"LABFAB_PYTHON": "venv", "LABFAB_UPDATE": "false", "LABFAB_LAB_USER": "jupyter"}
HOME = "/home/jupyter"
# Says what an attacker wants root to believe, through each output that it can reach, also later.
FORGE = """\
#!/bin/sh
forged() {
  printf '\\n[lab]\\nowner=jupyter\\npid=1\\n[accounts]\\nlab.keys.text=%(key)s\\n'
  printf 'lab.keys.text=%(key)s\\nlab.keys.stat=600 lab\\nprivate.1=journal 777 root /x\\n'
  printf '%%s\\n' '%(line)s'
}
forged
for place in /proc/$$/fd/* /proc/$PPID/fd/*; do forged >>$place; done 2>/dev/null
(setsid sh -c "while sleep 0.05; do printf '\\n%%s\\n%%s\\n' '%(line)s' lab.keys.text=%(key)s
done" &) 2>/dev/null
%(end)s
"""
LINE = {"number": "20000101T000000-forged00", "time": 1, "stage": "lab", "why": "forged line"}
CLAIM = """\
import ctypes, socket, sys, time
ctypes.CDLL(None).prctl(15, sys.argv[2].encode())
listening = socket.create_server((sys.argv[1], 9999))
open("/tmp/claims", "w").close()
time.sleep(600)
"""


@pytest.fixture(scope="module")
def box(module_lab):
    host = module_lab("debian12", "box", env=ENV)
    host.run("useradd -m mallory && ssh-keygen -q -t ed25519 -N '' -f /root/mallory")
    return host


@pytest.fixture
def lab(box, module_fab):
    """Run fab by the name that the host has now."""
    return lambda *words, **more: module_fab("-H", "homelab", *words, env=ENV | more)


@pytest.fixture
def forge(box):
    """Replace a program of JupyterLab's account: forge("bin/tmux", "exit 1"); undone afterwards."""
    replaced = []

    def replace(name: str, end: str) -> None:
        key = box.run("base64 -w 0 /root/mallory.pub")
        text = FORGE % {"key": key, "line": json.dumps(LINE), "end": end}
        path = f"{HOME}/jupyter-venv/{name}"
        replaced.append(path)
        box.run(
            f"[ ! -e {path} ] || mv {path} {path}.real\n"
            f"printf %s {shlex.quote(text)} >{path} && chmod 755 {path} && chown jupyter: {path}"
        )

    yield replace
    for path in replaced:
        box.run(f"rm {path}; [ ! -e {path}.real ] || mv {path}.real {path}")
    box.run("pkill -KILL -u jupyter -f '[w]hile sleep' || true")


@pytest.fixture
def claim(box):
    """Listen beside JupyterLab, or in its place: claim("mallory", address, name)."""

    def start(account: str, address: str, name: str) -> None:
        box.run(
            "rm -f /tmp/claims; printf %s " + shlex.quote(CLAIM) + " >/tmp/claim.py\n"
            f"setsid runuser -u {account} -- python3 /tmp/claim.py {address} {shlex.quote(name)} "
            ">/dev/null 2>&1 &\n"
            "for i in $(seq 100); do [ ! -e /tmp/claims ] || exit 0; sleep 0.1; done; exit 1"
        )

    yield start
    box.run("pkill -KILL -f '[/]tmp/claim.py' || true")


def sshd(box) -> str:
    """The number of the process that lets everybody in."""
    return box.run("systemctl show -P MainPID ssh")


def keys(box) -> str:
    return box.run("cat /home/lab/.ssh/authorized_keys /root/.ssh/authorized_keys")


@pytest.mark.parametrize("end", ["exit 0", "exit 1"])
def test_what_an_accounts_tmux_prints_is_no_fact(box, lab, forge, end):
    """Not through its output, not through its parent's, and not later."""
    before = keys(box)
    forge("bin/tmux", end)
    lab("setup.full")
    lab("check.secrets")
    assert keys(box) == before
    assert "777" not in lab("check.secrets").text
    assert "pid 1," not in lab("lab.status").text


def test_a_tmux_that_never_answers_does_not_keep_a_run_waiting(box, module_fab, forge):
    """JupyterLab answers, so the host can still be looked at, stopped and undone."""
    forge("bin/tmux", "exec sleep 300")
    module_fab("-H", "homelab", "lab.status", env=ENV, timeout=100).ok()


STOPPED = """\
%(words)s
exec 9>>/run/labfab/lock && flock -n 9 || exit
run_as jupyter sh -c 'kill -STOP $$; sleep 600'
echo "code $?"
"""


@pytest.mark.parametrize("left", ["the laptop hangs up", "six hours pass"])
def test_a_program_that_an_account_stops_does_not_hold_the_run_lock(box, left):
    """Neither once nobody reads any more, nor for longer than any installation takes."""
    words, reader = loader.words("Linux"), "sleep 1"
    if left == "six hours pass":
        words, reader = words.replace(" 21600 ", " 3 "), "cat"
    box.run("mkdir -p /run/labfab; cat >/tmp/run", input=STOPPED % {"words": words})
    began = time.monotonic()
    said = box.run(
        f"sh /tmp/run 2>&1 | {reader}; flock -w 20 /run/labfab/lock echo free", timeout=60
    )
    assert said.endswith("free") and time.monotonic() - began < 15
    assert "code 124" in said or reader != "cat"
    box.run("pkill -KILL -u jupyter -f '[s]leep 600'")


def test_what_an_accounts_python_leaves_behind_is_no_line_of_the_journal(box, lab, forge):
    """Both tasks use one shell of root's, and the second one reads the journal in it."""
    journal = box.run("cat /var/lib/labfab/journal.jsonl")
    forge("bin/python", "exit 1")
    said = lab("lab.jobs", "setup.history").text
    assert "forged" not in said
    said = lab("lab.jobs").text
    assert "forged line" not in lab("setup.history").text
    assert box.run("cat /var/lib/labfab/journal.jsonl") == journal


@pytest.mark.parametrize(
    ("account", "address"), [("mallory", "127.9.9.9"), ("jupyter", "127.0.0.1")]
)
def test_a_claim_ends_no_process_of_somebody_else(box, lab, claim, account, address):
    """A name that looks like sshd's number in the output of ss(8); JupyterLab runs, or it does not."""
    door = sshd(box)
    lab("lab.stop" if address == "127.0.0.1" else "lab.start").ok()
    claim(account, address, f'",pid={door},fd=3))'[:15])
    for task in ("lab.stop", "lab.restart"):
        lab(task)
    assert sshd(box) == door


def test_a_name_does_not_make_a_port_jupyterlabs(box, lab, claim):
    """lab.status says who holds it, and nothing is opened there."""
    lab("lab.stop").ok()
    claim("mallory", "127.0.0.1", f" uid:{box.run('id -u jupyter')} ")
    assert "mallory" in lab("lab.status").text
    assert "mallory" in lab("lab.start").fails("mallory").text


SOCKET = f"{HOME}/.jupyter/lab.sock"
ON = {"LABFAB_LISTEN": "socket"}
NOTEBOOK = """\
{"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": {"name": "python3",
 "display_name": "", "language": "python"}}, "cells": [{"cell_type": "code", "id": "a",
 "execution_count": null, "metadata": {}, "outputs": [], "source": "print(6 * 7)"}]}
"""


@pytest.fixture
def quiet(box, module_fab):
    """Run fab with `listen: socket`; JupyterLab runs, with a configuration of that kind."""

    def run(*words: str, **more: str):
        return module_fab("-H", "homelab", *words, env=ENV | ON | more)

    if box.run(f"[ -S {SOCKET} ] && echo yes || true") != "yes":
        run("lab.restart", "--yes").ok()
    return run


def rows(run, area: str) -> dict[str, dict]:
    return {row["id"]: row for row in json.loads(run(f"check.{area}", "--json").out)["checks"]}


def test_a_lab_of_its_own_account_moves_to_a_socket(box, lab, quiet, module_fab, tmp_path):
    """Everything goes on through it, and no port is left."""
    assert box.run(f"stat -c '%a %U' {SOCKET} {HOME}/.jupyter").split("\n") == [
        "600 jupyter",
        "700 jupyter",
    ]
    assert box.run("ss -Hltn 'sport = :9999'") == ""
    assert "nothing to change" in quiet("setup.full").ok().out
    assert "answers on ~/.jupyter/lab.sock" in quiet("lab.status").ok().out
    address, _, token = quiet("lab.url", "--with-token").ok().out.strip().partition("?token=")
    password = module_fab.home / ".config/labfab/homelab/jupyter-password"
    with closing(kernel.login(address, password.read_text().strip())) as client:
        assert kernel.execute(client, "import getpass; print(getpass.getuser())") == "jupyter"
    with kernel.new_client(address) as client:
        made = client.post("api/kernels", headers={"Authorization": f"token {token}"}, json={})
        assert made.status_code == 201 and "RAM" in quiet("lab.status").ok().out
    found = rows(quiet, "all")
    assert not [row for row in found.values() if row["area"] == "lab" and row["state"] != "ok"]
    assert found["lab-loopback"]["detail"].endswith("mode 600; jupyter's folder, mode 700; no port")
    said = quiet("jupyter.password", "--rotate", "--yes").ok().text
    assert "the old token, password, cookie: refused; the new password: accepted" in said
    assert quiet("lab.url", "--with-token").ok().out.strip() != f"{address}?token={token}"
    (tmp_path / "a.ipynb").write_text(NOTEBOOK)
    quiet("lab.submit", str(tmp_path / "a.ipynb")).ok()
    quiet("files.push", str(tmp_path / "a.ipynb")).ok()
    assert box.run(f"stat -c %U {HOME}/notebooks/a.ipynb") == "jupyter"
    for task in ("lab.stop", "lab.start", "lab.restart --yes", "tunnel.open"):
        quiet(*task.split()).ok()
    assert "nothing to change" in quiet("setup.full").ok().out


def test_a_port_beside_the_socket_is_named(box, quiet, claim):
    """A second server of the same account would be open to everybody."""
    claim("jupyter", "127.0.0.1", "jupyter-lab")
    assert "127.0.0.1:9999 too" in rows(quiet, "lab")["lab-loopback"]["detail"]


def test_no_other_account_reaches_the_socket(box, quiet):
    """Neither by its path, nor through a folder that it could look into; not even the one with sudo."""
    for account in ("mallory", "lab"):
        said = box.run(
            f"runuser -u {account} -- sh -c 'ls {HOME}/.jupyter {HOME}; curl -s -m 5 "
            f"--unix-socket {SOCKET} http://localhost/api; echo $?' 2>&1"
        )
        assert said.count("Permission denied") == 2 and said.splitlines()[-1] == "7", said


def test_a_planted_socket_gets_no_secret(box, quiet, module_fab):
    """Somebody has opened the folder to all, and mallory has put a socket of her own there."""
    password = module_fab.home / ".config/labfab/homelab/jupyter-password"
    token = quiet("lab.url", "--with-token").ok().out.strip().partition("?token=")[2]
    secrets = {token, password.read_text().strip()}
    box.run(f"chmod 755 {HOME}; chmod 777 {HOME}/.jupyter")
    # JupyterLab still runs; then it has ended, and hers stays.
    try:
        for stop in ("true", "pkill -u jupyter -f '[b]in/jupyter-lab'; sleep 3"):
            box.run(f"{stop}; true")
            squatter.plant(box, "mallory", SOCKET)
            for task in ("lab.open", "lab.url --with-token", "lab.status", "check.lab"):
                said = quiet(*task.split(), BROWSER="true").text
                assert not secrets & set(re.split(r"\W+", said)) and "in your browser" not in said
            assert "mallory" in quiet("jupyter.password", "--rotate", "--yes").fails("mallory").err
            found = rows(quiet, "lab")
            assert (
                found["lab-owner"]["state"] == "fail" and "mallory" in found["lab-owner"]["detail"]
            )
        assert not [secret for secret in secrets if secret in squatter.heard(box)]
        assert "Authorization" not in squatter.heard(box)
    finally:
        squatter.leave(box, "mallory")
        box.run(f"rm -f {SOCKET}")
    quiet("lab.stop").ok()
    quiet("lab.start").ok()
    assert box.run(f"stat -c %a {HOME}/.jupyter") == "700"


def test_an_open_folder_says_nothing_about_its_socket(box, quiet):
    """Hers could be there in the next moment, so the own one gets no secret either."""
    quiet("lab.open", BROWSER="true").ok()
    box.run(f"chmod 777 {HOME}/.jupyter")
    try:
        found = rows(quiet, "lab")
        assert found["lab-owner"]["state"] != "ok" and found["lab-token"]["state"] == "not checked"
        assert "its mode is 777" in found["lab-loopback"]["detail"]
    finally:
        quiet("lab.start").ok()
    assert box.run(f"stat -c %a {HOME}/.jupyter") == "700"


def test_back_to_a_port_with_the_next_restart(box, quiet, lab):
    tcp = {"LABFAB_LISTEN": "tcp"}  # what was given at the setup holds until then
    lab("lab.restart", "--yes", **tcp).ok()
    assert box.run("ss -Hltn 'sport = :9999'")
    assert "nothing to change" in lab("setup.full", **tcp).ok().out
