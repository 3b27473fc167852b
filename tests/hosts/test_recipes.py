"""Each guide as a ready recipe: run whole with one command, then used the way the guide's reader would."""

import json
import random
import re
import shutil
import ssl
import subprocess
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

import httpx
import pytest

from labfab.laptop import kernel
from tests.conftest import booter, lent_fab
from tests.rig import Host, probes
from tests.rig.fab import Fab, Run
from tests.rig.places import REPO

pytestmark = pytest.mark.host

# Where Python comes from is the one thing that cannot be had here as the recipes say.
VENV = {"LABFAB_PYTHON": "venv"}
RECIPES = {"https": "ubuntu-like", "droplet": "debian13", "mac-mini": "debian12"}
ALIASES = {"https": "homelab", "droplet": "droplet", "mac-mini": "macmini"}


@dataclass
class Guide:
    """A machine that was set up by a recipe."""

    host: Host
    fab: Fab
    alias: str
    first: Run

    def later(self, *words: str) -> Run:
        """Run fab with the alias alone: the recipe is remembered."""
        return self.fab("-H", self.alias, *words, env=VENV)

    @property
    def password(self) -> str:
        return (
            (self.fab.home / ".config/labfab" / self.alias / "jupyter-password").read_text().strip()
        )

    @property
    def tls(self) -> ssl.SSLContext:
        """Trust this lab's CA and nobody else."""
        return ssl.create_default_context(
            cafile=str(self.fab.home / ".config/labfab" / self.alias / "ca.pem")
        )

    def ssh(self, command: str, admin: bool = False) -> str:
        """Type a command on the host, as `ssh ALIAS` does, or `ssh ALIAS-admin`."""
        ssh = self.fab.home / ".ssh"
        words = [
            "ssh",
            "-F",
            ssh / "config",
            "-o",
            f"UserKnownHostsFile={ssh}/known_hosts",
            "-o",
            "BatchMode=yes",
            f"{self.alias}-admin" if admin else self.alias,
            command,
        ]
        return subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout


@contextmanager
def set_up(name: str, engine, log):
    """Run a recipe whole, as its first lines say."""
    with ExitStack() as stack:
        fab = stack.enter_context(contextmanager(lent_fab)(log))
        host = booter(engine, fab, stack)(RECIPES[name], name, key=fab.key)
        assert (
            "would start JupyterLab"
            in fab.on(host, "--dry", "-f", f"config/{name}.yaml", "setup.full", env=VENV).ok().out
        )
        first = fab.on(host, "-f", f"config/{name}.yaml", "setup.full", env=VENV).ok()
        yield Guide(host, fab, ALIASES[name], first)


@pytest.fixture(scope="module")
def https(engine, fab_log):
    with set_up("https", engine, fab_log) as guide:
        yield guide


@pytest.fixture(scope="module")
def droplet(engine, fab_log):
    with set_up("droplet", engine, fab_log) as guide:
        yield guide


@pytest.fixture(scope="module")
def mac_mini(engine, fab_log):
    with set_up("mac-mini", engine, fab_log) as guide:
        yield guide


def product(client: httpx.Client, tls: ssl.SSLContext | None = None) -> bool:
    a, b = random.randint(10**6, 10**9), random.randint(10**6, 10**9)
    return kernel.execute(client, f"{a} * {b}", tls) == str(a * b)


def test_https_serves_the_machines_own_address(https):
    url = f"https://{https.host.address}:8888"
    assert f"{url}/lab" in https.first.out
    with closing(kernel.login(url, https.password, https.tls)) as client:
        assert product(client, https.tls)
    with pytest.raises(httpx.ConnectError, match="certificate"):
        httpx.get(url, trust_env=False)
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"http://{https.host.address}:8888/api", trust_env=False)
    assert probes.answering(https.host.address, [22, 80, 443, 292, 8888, 9999]) == [292, 8888]


def test_https_starts_with_the_word_of_the_guide(https):
    https.later("lab.stop").ok()
    assert "does not run" in https.later("lab.status").ok().out
    assert "JupyterLab runs: https://" in https.ssh("bash -lc start_jupyter_server")
    assert "JupyterLab runs already" in https.ssh("bash -lc start_jupyter_server")
    assert "nothing to change" in https.later("lab.start").ok().out
    https.later("check.all").ok()


def test_what_runs_in_a_notebook_of_a_recipe_does_not_become_root(https, droplet):
    """JupyterLab's account has no sudo; the everyday alias leads there, and labfab to the other."""
    for guide in (https, droplet):
        assert guide.host.run("ps -o user= -C jupyter-lab").split() == ["jupyter"]
        assert guide.ssh("id -nG; sudo -n true 2>/dev/null || echo refused").split() == [
            "jupyter",
            "refused",
        ]
        assert "lab sudo" in guide.ssh("id -nG", admin=True)
        row = json.loads(guide.later("check.all", "--json").ok().out)["checks"]
        assert {one["id"]: one["state"] for one in row}["https-account"] == "ok"
        guide.later("lab.status").ok()
    (https.fab.home / "new.txt").write_text("mine")
    https.later("files.push", str(https.fab.home / "new.txt")).ok()
    assert https.host.run("stat -c %U /home/jupyter/notebooks/new.txt") == "jupyter"
    https.later("files.pull", "new.txt", "--to", str(https.fab.home / "back")).ok()
    assert (https.fab.home / "back/new.txt").read_text() == "mine"
    https.host.run("rm /home/jupyter/notebooks/new.txt")


def test_a_second_run_knows_the_recipe(https, droplet):
    for guide in (https, droplet):
        before = guide.host.checksums()
        assert "nothing to change" in guide.later("setup.full").ok().out
        assert guide.host.checksums() == before
    assert (droplet.fab.home / ".config/labfab/droplet/recipe").read_text() == "droplet\n"


def test_droplet_is_reached_by_its_address(droplet):
    url = f"https://{droplet.host.address}:9000"
    config = json.loads(droplet.host.run("cat /home/jupyter/.jupyter/jupyter_server_config.json"))
    assert config["IdentityProvider"]["hashed_password"].startswith("argon2:")
    with closing(kernel.login(url, droplet.password, droplet.tls)) as client:
        assert product(client, droplet.tls)
        assert len(client.cookies) == 2 and all(cookie.secure for cookie in client.cookies.jar)
        client.post(
            "api/shutdown", headers={"X-XSRFToken": client.cookies.get("_xsrf", "")}
        )  # File › Shut Down
    droplet.later("lab.start").ok()
    droplet.later("check.all").ok()


def test_a_published_lab_wants_a_long_password_and_sudo_with_one(droplet):
    before = droplet.host.checksums()
    droplet.fab(
        "-H",
        "droplet",
        "jupyter.configure",
        env=VENV | {"LABFAB_JUPYTER_PASSWORD": "thirteen-lett"},
    ).fails("14 characters")
    droplet.fab("-H", "droplet", "setup.full", env=VENV | {"LABFAB_SUDO": "nopasswd"}).fails(
        "sudo: nopasswd"
    )
    assert droplet.host.checksums() == before


def test_droplet_is_bare_again_after_undo(droplet):
    droplet.later("setup.undo", "--yes", "--to", "https").ok()
    assert droplet.host.run("ls /home/jupyter/.jupyter/tls 2>/dev/null || echo gone") == "gone"
    droplet.later("setup.full").ok()
    droplet.later("check.https").ok()


def test_mac_mini_on_linux(mac_mini):
    """The parts of guide 000 that a Linux host has: accounts, port, keys, passwords off, tunnel 9000 to 9999."""
    host = mac_mini.host
    assert host.run("id -nG remote") == "remote"
    assert host.run("runuser -u remote -- sudo -n true 2>&1 || echo refused").endswith("refused")
    assert host.run("ps -o user= -C jupyter-lab").split() == ["remote"]
    assert "127.0.0.1:9999" in host.run("ss -Hltn 'sport = :9999'")
    assert probes.answering(host.address, [22, 292, 9000, 9999]) == [292]
    url = re.search(r"http://127\.0\.0\.1:\d+", mac_mini.first.out).group()
    with closing(kernel.login(url, mac_mini.password)) as client:
        assert product(client)
    mac_mini.later("check.all").ok()
    assert "nothing to change" in mac_mini.later("setup.full").ok().out


def test_a_recipe_that_is_gone_is_named(mac_mini, tmp_path):
    own = shutil.copy(REPO / "config/mac-mini.yaml", tmp_path / "mine.yaml")
    note = mac_mini.fab.home / ".config/labfab/macmini/recipe"
    before = note.read_text()
    note.write_text(f"{own}\n")
    try:
        mac_mini.later("lab.status").ok()
        own.unlink()
        mac_mini.later("lab.status").fails("mine.yaml", "is gone", "-f")
    finally:
        note.write_text(before)


def test_undo_forgets_the_recipe(mac_mini):
    """Else the next lab of this name would be set up by it, unasked."""
    mac_mini.later("setup.undo", "--yes").ok()
    assert not (mac_mini.fab.home / ".config/labfab/macmini/recipe").exists()
    assert mac_mini.host.run("getent passwd lab remote || echo gone") == "gone"
