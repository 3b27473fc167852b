"""Day two: what runs, restarting without losing work, new passwords and keys, a newer JupyterLab, a reboot."""

import json
import re
import signal
import subprocess
import time
from contextlib import closing

import httpx
import pytest

from labfab.errors import SetupError
from labfab.laptop import kernel
from labfab.local_state import keypair
from tests.rig import network, package_index, probes
from tests.rig.fab import BIN
from tests.rig.places import REPO
from tests.rig.wheels import collect

pytestmark = pytest.mark.host

VENV = {"LABFAB_PYTHON": "venv"}


@pytest.fixture(scope="module")
def box(module_lab):
    """One machine for all of a week."""
    return module_lab("debian12", "daily", env=VENV)


@pytest.fixture
def later(box, module_fab):
    """Run fab with the name that the host has."""

    def run(*words: str, env: dict[str, str] | None = None):
        return module_fab("-H", "homelab", *words, env=VENV | (env or {}))

    return run


@pytest.fixture
def url(later) -> str:
    return re.search(r"http://127\.0\.0\.1:\d+", later("tunnel.open").ok().out).group()


def stored(fab) -> str:
    return (fab.home / ".config/labfab/homelab/jupyter-password").read_text().strip()


def pid(later) -> str:
    return json.loads(later("lab.status", "--json").ok().out)["pid"]


def test_status_tells_what_computes_and_restart_asks(box, later, module_fab, url):
    assert "no kernel is running" in later("lab.status").ok().out
    with closing(kernel.login(url, stored(module_fab))) as client:
        headers = {"X-XSRFToken": client.cookies.get("_xsrf", "")}
        body = {
            "path": "deep thought.ipynb",
            "name": "",
            "type": "notebook",
            "kernel": {"name": "python3"},
        }
        made = client.post("api/sessions", headers=headers, json=body).json()["kernel"]["id"]
        channel = kernel.connect(client, f"api/kernels/{made}/channels")
        channel.send(json.dumps(kernel.execute_request("import time\nwhile True: time.sleep(0.1)")))
        end = time.monotonic() + 30
        found = {}
        while found.get("state") != "busy" and time.monotonic() < end:
            (found,) = json.loads(later("lab.status", "--json").ok().out)["kernels"]
        channel.close()
    assert (
        found["state"] == "busy"
        and found["notebook"] == "deep thought.ipynb"
        and found["ram_bytes"] > 10_000_000
    )
    assert box.run(f"ps -o args= -p {found['pid']}").count("ipykernel")
    said = later("lab.status").ok().out
    assert "deep thought.ipynb" in said and "busy" in said and "free of" in said
    before = pid(later)
    later("lab.restart").fails("homelab", "deep thought.ipynb", "--yes")
    later("setup.undo").fails("needs --yes", "deep thought.ipynb is running code right now")
    for changed in (
        {"LABFAB_LAB_PORT": "9998"},
        {"LABFAB_BASE_URL": "/new/"},
        {"LABFAB_LISTEN": "socket"},
    ):
        later("lab.restart", env=changed).fails("homelab", "deep thought.ipynb", "--yes")
    assert pid(later) == before
    later("lab.restart", "--yes").ok()
    assert pid(later) != before
    assert "no kernel is running" in later("lab.status").ok().out


# What ends with a login, and with the last one who looks at a session of tmux.
ENDING = r"""
mkdir -p /etc/systemd/logind.conf.d
printf '[Login]\nKillUserProcesses=yes\n' >/etc/systemd/logind.conf.d/ends.conf
systemctl restart systemd-logind
printf 'set -g destroy-unattached on\nset -s exit-unattached on\nset -g remain-on-exit on\n' >/etc/tmux.conf
"""


def test_it_outlives_the_login_whatever_the_host_ends(box, later):
    box.run(ENDING)
    later("lab.restart", "--yes").ok()
    started = pid(later)
    sessions = "loginctl list-sessions --no-legend | grep -c ' lab ' || true"
    end = time.monotonic() + 30
    while box.run(sessions) != "0" and time.monotonic() < end:
        time.sleep(1)
    time.sleep(3)
    assert box.run(f"ps -o user= -p {started}") == "lab"
    later("lab.stop").ok()
    later("lab.start").ok()
    box.run(
        "rm /etc/tmux.conf /etc/systemd/logind.conf.d/ends.conf; systemctl restart systemd-logind"
    )


def test_logs_follow_until_ctrl_c(box, later, module_fab):
    assert "ServerApp" in later("lab.logs", "--lines", "5").ok().out
    words = [str(BIN / "fab"), "-H", "homelab", "lab.logs", "--follow", "--lines", "1"]
    environment = module_fab.environment(VENV)
    process = subprocess.Popen(
        words,
        cwd=REPO,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        process.stdout.readline()
        time.sleep(1)
        box.run("echo 'a new line ?token=0123456789abcdef' >>/home/lab/.jupyter/lab.log")
        seen = process.stdout.readline()
        assert "a new line" in seen and "0123456789" not in seen
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.stdout.close()


def test_the_log_leads_root_nowhere(box, later):
    """The account may put a link or a pipe in place of its log; root reads neither."""
    log = "/home/lab/.jupyter/lab.log"
    box.run(
        f"mv {log} {log}.kept; echo 'token=of-root secret' >/root/secret; chmod 600 /root/secret"
    )
    box.run(f"runuser -u lab -- ln -s /root/secret {log}")
    assert "secret" not in later("lab.logs").text
    box.run(f"rm {log}; runuser -u lab -- mkfifo {log}")
    later("lab.logs").ok()
    box.run(f"mv {log}.kept {log}; printf 'moves \\033[2J the cursor\\n' >>{log}")
    said = later("lab.logs").ok().out
    assert "moves ?[2J the cursor" in said and "\x1b" not in said


def test_rotating_the_password_ends_every_older_way_in(box, later, module_fab, url):
    old = stored(module_fab)
    config = json.loads(box.run("cat /home/lab/.jupyter/jupyter_server_config.json"))[
        "IdentityProvider"
    ]
    with closing(kernel.login(url, old)) as visitor:
        said = later("jupyter.password", "--rotate").ok().out
        assert "the old token, password, cookie: refused" in said
        assert visitor.get("api/status").status_code == 403
    with pytest.raises(SetupError):
        kernel.login(url, old)
    assert (
        httpx.get(
            f"{url}/api/status",
            headers={"Authorization": f"token {config['token']}"},
            trust_env=False,
        ).status_code
        == 403
    )
    # Set since it was started: then JupyterLab itself knows another password than its configuration.
    later("jupyter.password", env={"LABFAB_JUPYTER_PASSWORD": "for-a-while-only"}).ok()
    assert "the old token, password: refused" in later("jupyter.password", "--rotate").ok().out
    new = stored(module_fab)
    assert new not in (old, "for-a-while-only") and len(new) >= 20 and new not in said
    with closing(kernel.login(url, new)) as client:
        assert kernel.execute(client, "6 * 7") == "42"


def test_a_second_laptop_and_a_new_key(box, later, module_fab, tmp_path):
    other = keypair.generate(tmp_path / "other", comment="other laptop")
    later("keys.add", "--key", f"{other}.pub").ok()
    later("keys.add", "--key", f"{other}.pub").ok()
    assert box.run("cat /home/lab/.ssh/authorized_keys").count(keypair.public_line(other)) == 1
    later("keys.add", "--key", str(other)).fails("private")
    later("keys.add", "--key", str(tmp_path / "none.pub")).fails("none.pub")

    cut_off = keypair.generate(
        module_fab.home / ".ssh/id_ed25519_homelab", comment="of a rotation that was cut off"
    )
    later("keys.add", "--key", f"{cut_off}.pub").ok()
    old = module_fab.key
    assert old in box.run("cat /root/.ssh/authorized_keys")
    later("keys.rotate").ok()
    keys = box.run("cat /home/lab/.ssh/authorized_keys /root/.ssh/authorized_keys")
    assert (
        old not in keys
        and keypair.public_line(cut_off) not in keys
        and keypair.public_line(other) in keys
    )
    assert not probes.takes_key(
        box.address, "lab", box.next_port, module_fab.home
    )  # offers ~/.ssh/id_ed25519
    assert "nothing to change" in later("setup.full").ok().out  # the old key does not come back
    assert old not in box.run("cat /home/lab/.ssh/authorized_keys")
    later("check.ssh").ok()
    module_fab("-H", f"lab@{box.address}:{box.next_port}", "check.ssh", env=VENV).ok()


@pytest.fixture
def index(engine, tmp_path):
    """A package index that hosts can reach."""
    address = str(next(network.ensure(engine).hosts()))
    package_index.fill(tmp_path, collect("3.11"))
    with package_index.served(tmp_path, address) as url:
        yield tmp_path, url


def lab_version(box) -> str:
    return box.run(
        "/home/lab/jupyter-venv/bin/python -c 'import jupyterlab; print(jupyterlab.__version__)'"
    )


def test_an_update_that_works_and_one_that_does_not(box, later, index, tmp_path):
    folder, mirror = index
    pip = f"runuser -u lab -- /home/lab/jupyter-venv/bin/uv pip install -q --python /home/lab/jupyter-venv/bin/python --index-url {mirror}"
    box.run(f"{pip} jupyterlab==4.4.10", timeout=180)
    later("lab.restart").ok()
    env = {"LABFAB_PACKAGE_INDEX": mirror, "LABFAB_ACCEPT_HTTP_INDEX": "true"}
    assert "JupyterLab 4.4.10 →" in later("lab.update", env=env).ok().out
    good = lab_version(box)
    assert good != "4.4.10"
    before = pid(later)
    assert "nothing to change" in later("lab.update", env=env).ok().out
    assert pid(later) == before

    later("lab.update", env=env | {"LABFAB_PACKAGE_INDEX": "http://127.0.0.1:9/simple"}).fails(
        "homelab: cannot find out what is newer"
    )

    package_index.add(folder, package_index.broken_wheel(tmp_path, "jupyterlab", "99.0"))
    later("lab.update", env=env).fails(
        "this release is broken", f"JupyterLab {good} is back and answers"
    )
    assert lab_version(box) == good
    later("check.lab").ok()


def stopped_in_a_crash_loop(box, later) -> None:
    """A JupyterLab that systemd starts in vain again and again has no port, and is stopped all the same."""
    state = "runuser -u lab -- env XDG_RUNTIME_DIR=/run/user/$(id -u lab) systemctl --user is-active jupyter.service || true"
    program = "/home/lab/jupyter-venv/bin/jupyter-lab"
    box.run(
        f"mv {program} {program}.kept; printf '#!/bin/sh\\nsleep 1; exit 1\\n' >{program}; chmod 755 {program}"
    )
    box.run(f"kill -9 {pid(later)}")
    end = time.monotonic() + 20
    while box.run(state) != "activating" and time.monotonic() < end:
        time.sleep(0.2)
    later("lab.stop").ok()
    assert box.run(state) in ("inactive", "failed")
    assert "nothing to change" in later("lab.stop").ok().out
    box.run(f"mv {program}.kept {program}")
    later("lab.start").ok()


def test_a_service_is_there_again_after_a_reboot(box, later, module_fab):
    assert "make systemd start JupyterLab at boot" in later("lab.service").ok().out
    assert "nothing to change" in later("lab.service").ok().out
    assert "by systemd" in later("lab.status").ok().out
    box.run(f"kill -9 {pid(later)}")
    end = time.monotonic() + 40
    while "does not run" in later("lab.status").ok().out and time.monotonic() < end:
        time.sleep(1)
    later("check.lab").ok()
    box.reboot(box.next_port)
    end = time.monotonic() + 60
    while "by systemd" not in later("lab.status").text and time.monotonic() < end:
        time.sleep(1)
    assert "by systemd" in later("lab.status").ok().out
    later("check.lab").ok()
    assert "nothing to change" in later("lab.start").ok().out
    later("lab.restart").ok()
    stopped_in_a_crash_loop(box, later)
    later("lab.service", "--remove").ok()
    assert "in tmux" in later("lab.status").ok().out
    assert box.run("ls /home/lab/.config/systemd/user/").split() in ([], ["default.target.wants"])
    later("check.lab").ok()
