"""Reuse: the built wheel, alone in an environment, serves a stranger's fabfile in three ways, and many hosts at once."""

import ast
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.rig import probes, wheels
from tests.rig.places import REPO

pytestmark = pytest.mark.host

WHOLE = "from labfab import ns\n"
AMONG = '''
import time

from fabric import task
from invoke import Collection

import labfab
from labfab.facts import facts
from labfab.stages import ssh


@task
def backup(c):
    """Work on a host for a while, and tell when."""
    began = time.time()
    c.run("sleep 2; hostname")
    print(f"backup of {c.host} from {began} to {time.time()}")


@task
def harden(c):
    """Call a stage from a task of one's own."""
    ssh.disable_passwords(c)
    print(f"facts: {facts(c).system.id} on {c.host}")


ns = Collection(backup, harden, lab=labfab.ns)
'''
FABRIC = "tasks:\n  executor_class: labfab.fleet.Executor\n"


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    """Build the wheel with what is installed, nothing fetched."""
    return wheels.build(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def elsewhere(wheel, tmp_path_factory) -> Path:
    """Install the wheel and the locked packages into an empty environment, far from the checkout."""
    folder = tmp_path_factory.mktemp("stranger")
    venv.create(folder / "venv", with_pip=True)
    pip = [
        str(folder / "venv/bin/python"),
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
    ]
    for words in (
        ["--no-deps", "--require-hashes", "-r", str(REPO / "requirements.lock")],
        ["--no-index", "--no-deps", str(wheel)],
    ):
        done = subprocess.run(
            [*pip, *words], capture_output=True, text=True, timeout=300, cwd=folder, check=False
        )
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def project(elsewhere, fab, request):
    """Give a stranger's folder, and the fab of its environment in there."""
    folder = elsewhere / request.node.name
    folder.mkdir()

    def run(*words: str, **env: str):
        return fab(*words, env=env, cwd=folder, command=str(elsewhere / "venv/bin/fab"))

    run.folder = folder
    return run


def test_the_wheel_holds_all_that_it_reads(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    read = {
        str(path.relative_to(REPO))
        for path in (REPO / "labfab").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert {name for name in read if "__pycache__" not in name} <= names
    assert {
        "labfab/on_host/facts.sh",
        "labfab/fleet/executor.py",
        "labfab/on_host/words.macos.sh",
        "labfab/on_host/job.py",
    } <= names
    assert {"labfab/config/droplet.yaml", "labfab/config/templates/apache-site.conf"} <= names
    assert not [name for name in names if name.startswith(("tests/", "config/"))]


def names_imported(node: ast.AST) -> list[str]:
    """The modules that a statement imports, but for those of the own package."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []


def test_it_asks_for_what_it_imports(wheel):
    """The lock may hold more; a plain `pip install labfab` gets what the wheel names."""
    text = (
        zipfile.ZipFile(wheel)
        .read(next(n for n in zipfile.ZipFile(wheel).namelist() if n.endswith("METADATA")))
        .decode()
    )
    asked = {
        re.split(r"[<>=!~ ;\[]", line)[0]
        for line in re.findall(r"^Requires-Dist: (.+)$", text, re.MULTILINE)
    }
    # What lies in on_host runs on the host, with what JupyterLab brings there.
    imported = {
        name.partition(".")[0]
        for path in (REPO / "labfab").rglob("*.py")
        if path.parent.name != "on_host"
        for node in ast.walk(ast.parse(path.read_text()))
        for name in names_imported(node)
    }
    names = {"websocket": "websocket-client", "argon2": "argon2-cffi", "yaml": "pyyaml"}
    own = imported - set(sys.stdlib_module_names) - {"labfab", "__future__"}
    assert {names.get(name, name) for name in own} <= asked | {
        "invoke",
        "paramiko",
        "patchwork",
        "six",
    }  # fabric brings these two


def test_the_program_needs_no_fabfile(elsewhere, project, fab, host):
    """`labfab` of the wheel, in an empty folder: the tasks, the folder's settings, its own name."""
    command = str(elsewhere / "venv/bin/labfab")

    def labfab(*words: str, **env: str):
        return fab(*words, env=env, cwd=project.folder, command=command)

    assert "lab.open" in labfab("--list").ok().out
    labfab("lab.status").fails("labfab -H root@ADDRESS")
    box = host("debian12")
    (project.folder / "invoke.yaml").write_text("lab:\n  user: ada\n  python: venv\n")
    login = ("-H", f"root@{box.address}:{box.port}")
    key = {"LABFAB_HOST_KEY": box.host_key_fingerprint()}
    planned = labfab(*login, "setup.plan", **key).fails("to make: setup.full")
    assert "add the account ada" in planned.text
    labfab(*login, "setup.plan", "--recipe", "droplet", **key).fails("jupyter")


def test_nothing_of_the_checkout_is_used(project, elsewhere):
    (project.folder / "fabfile.py").write_text(
        "import labfab, sys\nprint(labfab.__file__)\n" + WHOLE
    )
    assert f"{elsewhere}/venv/" in project("--list").ok().out


def test_as_a_whole_fabfile_with_settings_of_its_own(project, host):
    box = host("debian12")
    (project.folder / "fabfile.py").write_text(WHOLE)
    (project.folder / "invoke.yaml").write_text("lab:\n  user: ada\n  alias: mine\n")
    trust = {"LABFAB_HOST_KEY": box.host_key_fingerprint()}
    assert (
        "add the account ada"
        in project("-H", f"root@{box.address}:{box.port}", "keys.copy", **trust).ok().out
    )
    assert box.run("id -nG ada").split() == ["ada", "sudo"]
    assert (
        "nothing to change" in project("-H", "mine", "user").ok().out
    )  # a stage by its short name
    recipe = project("-H", "mine", "user.add", LABFAB_RECIPE="no-such").fails("no-such", "demo")
    assert "demo" in recipe.text  # the wheel's own recipes are found


def test_among_tasks_of_ones_own_and_from_inside_them_on_two_hosts_at_once(project, host, fab):
    boxes = [
        host("debian12", "one", key=fab.key, password="x-password-x"),
        host("debian13", "two", key=fab.key, password="x-password-x"),
    ]
    (project.folder / "fabfile.py").write_text(AMONG)
    (project.folder / "fabric.yaml").write_text(FABRIC)
    listed = project("--list").ok().out
    assert {"backup", "harden", "lab.setup.full", "lab.ssh.disable-passwords"} <= set(
        listed.split()
    )
    own = {"LABFAB_ALIAS": "{host}"}
    for box in boxes:  # one at a time, for each key is its own
        login = f"root@{box.address}:{box.port}"
        assert (
            "add the account lab"
            in project(
                "-H", login, "lab.user.add", LABFAB_HOST_KEY=box.host_key_fingerprint(), **own
            )
            .ok()
            .out
        )
    both = ",".join(f"root@{box.address}:{box.port}" for box in boxes)

    said = project("-H", both, "backup", **own).ok().out
    times = {
        h: (float(a), float(b))
        for h, a, b in re.findall(r"backup of (\S+) from ([\d.]+) to ([\d.]+)", said)
    }
    assert set(times) == {box.address for box in boxes}
    (a_began, a_ended), (b_began, b_ended) = times.values()
    assert max(a_began, b_began) < min(a_ended, b_ended)  # side by side

    said = project("-H", both, "harden", **own).ok().out
    for box in boxes:
        assert f"facts: debian on {box.address}" in said
        assert probes.offered(box.address, "root", box.port) == ["publickey"]
    assert "2 of 2 hosts done" in said


def test_one_bad_host_does_not_stop_the_other(project, host):
    box = host("debian12")
    (project.folder / "fabfile.py").write_text(WHOLE)
    (project.folder / "fabric.yaml").write_text(FABRIC)
    trust = {"LABFAB_HOST_KEY": box.host_key_fingerprint(), "LABFAB_ALIAS": "{host}"}
    dead = "root@127.0.0.1:1"
    run = project("-H", f"{dead},root@{box.address}:{box.port}", "user.add", **trust)
    run.fails(f"failed on {dead}", "1 of 2 hosts done", "nothing listens on port 1")
    assert "lab" in box.run("id -nG lab").split()
