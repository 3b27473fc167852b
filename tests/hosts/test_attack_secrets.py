"""Another account of the host, without sudo, tries to hear what belongs to JupyterLab's account."""

import json
import re
import shlex
import threading
import time
from contextlib import closing

import pytest

from labfab.laptop import kernel
from tests.hosts.test_open import Desk
from tests.rig import squatter

pytestmark = pytest.mark.host

ENV = {"LABFAB_PYTHON": "venv", "LABFAB_UPDATE": "false"}
SITE = "/home/lab/jupyter-venv/lib/python3*/site-packages"
CONFIG = "/home/lab/.jupyter/jupyter_server_config.json"
# Subscribes to every port of the loopback, as Jupyter's clients do, and prints what it gets.
OVERHEAR = """\
import sys, time, zmq
ports = {int(line.split()[1].split(":")[1], 16) for name in ("tcp", "tcp6")
         for line in list(open(f"/proc/net/{name}"))[1:] if line.split()[3] == "0A"}
context, poller = zmq.Context(), zmq.Poller()
for port in ports:
    ear = context.socket(zmq.SUB)
    ear.subscribe(b"")
    ear.connect(f"tcp://127.0.0.1:{port}")
    poller.register(ear, zmq.POLLIN)
end = time.monotonic() + 4
while time.monotonic() < end:
    for ear, _ in poller.poll(200):
        print(ear.recv_multipart())
print("tried", len(ports))
"""
TALK = "import time\nfor _ in range(16): print('%s', flush=True); time.sleep(0.5)"
NOTEBOOK = """\
{"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": {"name": "python3",
 "display_name": "", "language": "python"}}, "cells": [{"cell_type": "code", "id": "a",
 "execution_count": null, "metadata": {}, "outputs": [], "source": %s}]}
"""


@pytest.fixture(scope="module")
def host(module_lab):
    host = module_lab("debian12", "secrets", env=ENV)
    host.run("useradd -m -s /bin/bash mallory")
    return host


@pytest.fixture(scope="module")
def desk(host, module_fab) -> Desk:
    return Desk(module_fab, "-H", "homelab")


def as_mallory(host, command: str, **given: str) -> str:
    return host.run(f"cd /tmp; runuser -u mallory -- sh -c {shlex.quote(command)} 2>&1", **given)


def secrets_of(host, desk: Desk) -> set[str]:
    """What opens JupyterLab now."""
    password = (desk.fab.home / ".config/labfab/homelab/jupyter-password").read_text().strip()
    return {password, *re.findall(r'"token": "(\w+)"', host.run(f"cat {CONFIG}"))}


def test_what_a_kernel_or_a_job_computes_is_not_overheard(host, desk, tmp_path):
    """Kernels and jobs talk over Unix sockets in folders that only their account can enter."""
    host.run(f"mkdir -p /opt/ear; cp -r {SITE}/zmq {SITE}/pyzmq.libs /opt/ear; chmod -R a+rX /opt")
    notebook = tmp_path / "job.ipynb"
    notebook.write_text(NOTEBOOK % f'"{TALK % "said by a job"}"'.replace("\n", "\\n"))
    desk("lab.submit", str(notebook)).ok()
    address, _, token = desk("lab.url", "--with-token").ok().out.strip().partition("?token=")
    client = kernel.new_client(address)
    client.headers["Authorization"] = f"token {token}"
    with closing(client):
        client.get("api/status")
        talk = threading.Thread(target=kernel.execute, args=(client, TALK % "said by a kernel"))
        talk.start()
        wait_for_kernels(host, 2)
        heard = as_mallory(host, "PYTHONPATH=/opt/ear python3 -", input=OVERHEAR)
        sockets = "find / -name '*-ipc-*' -o -name 'kernel*.json' 2>/dev/null | xargs -r ls -l"
        files = as_mallory(host, sockets)
        talk.join()
    assert "tried" in heard and "said by" not in heard, heard
    assert "/home/lab" not in files
    assert "done" in wait_for_job(desk)


def wait_for_kernels(host, count: int) -> None:
    for _ in range(100):
        if int(host.run("pgrep -u lab -fc '[i]pykernel_launcher' || true")) >= count:
            time.sleep(1)  # until they listen
            return
        time.sleep(0.2)
    pytest.fail("the kernels do not start")


def wait_for_job(desk: Desk) -> str:
    for _ in range(50):
        said = desk("lab.jobs").ok().out
        if "running" not in said and "queued" not in said:
            return said
        time.sleep(0.5)
    return said


def test_nobody_else_reads_the_notebooks_or_what_was_pushed(host, desk, tmp_path):
    """Debian 12 would leave both homes and folders open; a pushed folder brings its own mode."""
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(0o777)
    (data / "salaries.csv").write_text("confidential\n")
    (data / "salaries.csv").chmod(0o666)
    for words in ([f"{data}/"], [str(data), "--to", "~/new"], [str(data), "--to", "/tmp/fresh"]):
        desk("files.push", *words).ok()
        assert "nothing to change" in desk("files.push", *words).ok().text
    places = "/home/lab/notebooks /home/lab/new/data /tmp/fresh/data"
    found = as_mallory(host, f"for p in {places}; do cat $p/salaries.csv; ls $p; done || true")
    assert "confidential" not in found and found.count("Permission denied") == 6
    modes = host.run("stat -c %a /home/lab /home/lab/notebooks /home/lab/new /tmp/fresh").split()
    assert modes == ["700"] * 4
    desk("check.secrets").ok()


def test_no_advice_leads_root_into_somebody_elses_files(host, desk):
    """mallory's ~/.ssh leads elsewhere; what check.secrets advises is done to the letter."""
    host.run("runuser -u mallory -- ln -s /home/lab /home/mallory/.ssh")
    host.run("mkdir -m 777 /home/mallory/own; chown mallory /home/mallory/own")
    before = host.run("stat -c '%a %U' /home/lab /tmp")
    try:
        for target in ("/home/lab", "/tmp", "/home/mallory/own"):
            host.run(f"ln -sfn {target} /home/mallory/.ssh")
            rows = json.loads(desk("check.secrets", "--json").out)["checks"]
            advice = [row["mend"] for row in rows if row["mend"].startswith("ssh -t")]
            assert bool(advice) is (target == "/home/mallory/own"), rows
            for one in advice:
                host.run(shlex.split(one)[-1])
        assert host.run("stat -c '%a %U' /home/lab /tmp") == before
        assert host.run("stat -c %a /home/mallory/own").strip() == "755"
    finally:
        host.run("rm /home/mallory/.ssh")


def test_who_takes_jupyterlabs_port_hears_no_secret(host, desk):
    """JupyterLab has crashed; a tunnel is open, over which it was used before."""
    desk.open().ok()
    desk.seen()
    secrets = secrets_of(host, desk)
    host.run("pkill -u lab -f bin/jupyter-lab")
    uid = host.run("id -u lab").strip()
    squatter.take(host, "mallory", name=f" uid:{uid} ")  # what ss prints of JupyterLab's account
    try:
        desk("check.lab").fails("lab-owner")
        said = desk("check.all", "--json").text
        assert '"needs lab-owner"' in said
        taken = "port 9999 (is (taken|held) by .* of|belongs to) mallory"
        assert re.search(taken, desk.open().text)
        assert re.search(taken, desk("lab.url", "--with-token").text)
        assert re.search(taken, desk("lab.status").text)
        assert re.search(taken, desk("lab.restart", "--yes").text)
        desk("tunnel.close").ok()
        assert re.search(taken, desk.open().text)
        assert re.search(taken, desk("jupyter.password", "--rotate", "--yes").text)
        heard = squatter.heard(host)
    finally:
        squatter.leave(host, "mallory")
    secrets |= secrets_of(host, desk)
    assert "GET /api" in heard and len(secrets) == 4
    assert not [secret for secret in secrets if secret in heard]
    assert not re.search(r"(?i)authorization|^POST|cookie: (?!_xsrf)", heard, re.MULTILINE), heard


def test_afterwards_all_is_well(desk):
    desk("lab.start").ok()
    desk("check.lab").ok()


def test_in_a_long_home_kernels_and_jobs_have_sockets_too(host, desk, tmp_path):
    """The path of a Unix socket has 107 characters at most; an account's name may have 32."""
    home = f"/home/{'a' * 32}"
    desk("lab.stop").ok()
    host.run(f"loginctl terminate-user lab; sleep 1; usermod -d {home} lab")
    host.run(f"mv /home/lab {home}; ln -s {home} /home/lab")
    desk("tunnel.close").ok()
    desk("lab.start").ok()
    desk("check.lab").ok()
    notebook = tmp_path / "job.ipynb"
    notebook.write_text(NOTEBOOK % '"print(6 * 7)"')
    desk("lab.submit", str(notebook)).ok()
    assert "done" in wait_for_job(desk)
