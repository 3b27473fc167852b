"""The double keeps the rules of the published installers, so that what installs it installs them."""

import hashlib
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from labfab.platforms.installers import checksum_in
from tests.rig.installer import build, double, serve

pytestmark = pytest.mark.host
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """Give commands a home of their own and this Python as the machine's."""
    home = tmp_path_factory.mktemp("home")
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])

    def run(*words, **extra):
        env = {"HOME": str(home), "PATH": path, "LANG": "C.UTF-8", **extra}
        return subprocess.run(
            words,
            env=env,
            cwd=home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    run.home = home
    return run


@pytest.fixture(scope="module")
def miniforge(machine):
    """Install Miniforge3 once."""
    prefix = machine.home / "miniforge3"
    done = machine("bash", str(build("miniforge", (PYTHON,))), "-b", "-p", str(prefix))
    assert done.returncode == 0, done.stdout + done.stderr
    machine.said = done.stdout
    return prefix


@pytest.fixture(scope="module")
def anaconda(machine):
    """Install Anaconda3 once."""
    prefix = machine.home / "anaconda3"
    done = machine("bash", str(build("anaconda", (PYTHON,))), "-b", "-u", "-p", str(prefix))
    assert done.returncode == 0, done.stdout + done.stderr
    return prefix


def test_installs_a_working_python_without_touching_the_shell(machine, miniforge):
    assert f"PREFIX={miniforge}\n" in machine.said and "Unpacking payload ...\n" in machine.said
    assert machine.said.endswith("installation finished.\n")
    assert not (machine.home / ".bashrc").exists()
    assert machine(str(miniforge / "bin/pip"), "--version").returncode == 0
    assert machine(str(miniforge / "bin/conda"), "--version").stdout.startswith("conda ")
    assert not (miniforge / "bin/jupyter").exists()


@pytest.mark.parametrize(
    "flags, status, says",
    [
        (["-b", "-p", "PREFIX"], 1, "ERROR: File or directory already exists: 'PREFIX'"),
        (["-b", "-p", "PREFIX/a b"], 1, "spaces"),
        (["-b", "-p", "/proc/nowhere/x"], 1, "Could not create directory"),
        (["-p", "PREFIX-2"], 2, "terminal"),
        (["-h"], 2, "usage"),
        (["-x"], 1, "did not recognize"),
    ],
)
def test_refuses_what_the_published_one_refuses(machine, miniforge, flags, status, says):
    words = [flag.replace("PREFIX", str(miniforge)) for flag in flags]
    done = machine("bash", str(build("miniforge", (PYTHON,))), *words)
    assert done.returncode == status
    assert says.replace("PREFIX", str(miniforge)) in done.stdout + done.stderr


def test_the_file_name_must_end_in_sh(machine, tmp_path):
    copy = tmp_path / "installer.XyZ"
    copy.symlink_to(build("miniforge", (PYTHON,)))
    assert machine("bash", str(copy), "-b", "-p", str(tmp_path / "p")).returncode == 1
    assert not (tmp_path / "p").exists()


def test_a_short_file_warns_and_fails_and_the_whole_one_repairs_with_u(machine, tmp_path):
    whole = build("miniforge", (PYTHON,))
    short = tmp_path / whole.name
    short.write_bytes(whole.read_bytes()[:30_000_000])
    done = machine("bash", str(short), "-b", "-p", str(tmp_path / "p"))
    assert "WARNING: md5sum mismatch" in done.stderr
    assert done.returncode == 1
    assert machine("bash", str(whole), "-b", "-p", str(tmp_path / "p")).returncode == 1
    assert machine("bash", str(whole), "-b", "-u", "-p", str(tmp_path / "p")).returncode == 0
    assert machine(str(tmp_path / "p/bin/conda"), "--version").returncode == 0


def test_conda_installs_jupyterlab_and_says_when_there_is_nothing_to_do(machine, miniforge):
    words = [
        str(miniforge / "bin/conda"),
        "install",
        "-y",
        "--override-channels",
        "-c",
        "conda-forge",
        "-n",
        "base",
    ]
    done = machine(*words, "jupyterlab", "jupyter_server>=2.21")
    assert done.returncode == 0, done.stderr
    assert machine(str(miniforge / "bin/jupyter"), "lab", "--version").stdout.startswith("4.")
    assert "already installed" in machine(*words, "jupyterlab", "jupyter_server>=2.21").stdout


@pytest.mark.parametrize(
    "words, says",
    [
        (["install", "-y", "--override-channels", "jupyterlab"], "ArgumentError"),
        (["install", "-y", "-c", "conda-forge", "no-such-package"], "PackagesNotFoundError"),
        (["install", "-y", "-c", "conda-forge", "jupyterlab>=99"], "Unsatisfiable"),
        (["install", "-c", "conda-forge", "humanize"], "Exiting"),
        (["install", "-y", "-n", "other", "humanize"], "EnvironmentLocationNotFound"),
        (["install", "-y", "--no-such-flag", "humanize"], "unrecognized arguments"),
        (["tos", "accept"], "invalid choice"),
    ],
)
def test_conda_refuses_what_the_real_one_refuses(machine, miniforge, words, says):
    done = machine(str(miniforge / "bin/conda"), *words)
    assert done.returncode != 0
    assert says in done.stderr


def test_conda_init_writes_one_block_and_keeps_the_rest(machine, miniforge):
    rc = machine.home / ".bashrc"
    rc.write_text("export MINE=1\n")
    for _ in range(2):
        assert machine(str(miniforge / "bin/conda"), "init", "bash", "zsh").returncode == 0
    assert rc.read_text().count("# >>> conda initialize >>>") == 1
    assert rc.read_text().startswith("export MINE=1\n")
    assert machine("bash", "-c", f". {rc}; command -v conda").stdout.strip() == str(
        miniforge / "bin/conda"
    )


def test_anaconda_brings_an_old_jupyter_and_asks_for_its_terms(machine, anaconda):
    conda = str(anaconda / "bin/conda")
    assert machine(str(anaconda / "bin/jupyter"), "server", "--version").stdout.startswith("2.17.")
    done = machine(conda, "install", "-y", "jupyter_server>=2.21")
    assert done.returncode == 1 and "CondaToSNonInteractiveError" in done.stderr
    for channel in ("main", "r"):
        words = [
            "tos",
            "accept",
            "--override-channels",
            "--channel",
            f"https://repo.anaconda.com/pkgs/{channel}",
        ]
        assert machine(conda, *words).returncode == 0
    assert machine(conda, "install", "-y", "jupyter_server>=2.21").returncode == 0
    listed = json.loads(machine(conda, "list", "^jupyter.server$", "--json").stdout)
    assert tuple(map(int, listed[0]["version"].split(".")[:2])) >= (2, 21)


def fetch(url: str, start: int = 0) -> bytes:
    """Read an address, from one byte on."""
    headers = {"Range": f"bytes={start}-"} if start else {}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as answer:
        return answer.read()


def test_the_server_serves_resumes_and_counts(tmp_path):
    named = double("miniforge", "http://unused")
    content = os.urandom(300_000)
    (tmp_path / named.filename).write_bytes(content)
    with serve(tmp_path) as server:
        named = double("miniforge", server.url)
        assert fetch(named.url) == content
        assert fetch(named.url, start=100_000) == content[100_000:]
        assert (
            checksum_in(fetch(named.checksum_url).decode(), named.filename)
            == hashlib.sha256(content).hexdigest()
        )
        assert server.count(named.filename) == 2 and server.seen[1] == (
            "GET",
            named.filename,
            100_000,
        )
        with pytest.raises(urllib.error.HTTPError, match="416"):
            fetch(named.url, start=300_000)


def test_the_server_has_bad_days(tmp_path):
    (tmp_path / "x.sh").write_bytes(os.urandom(300_000))
    with serve(tmp_path) as server:
        server.cuts = [1000]
        with pytest.raises(Exception, match="IncompleteRead.1000 bytes"):
            fetch(server.url + "/x.sh")
        assert len(fetch(server.url + "/x.sh")) == 300_000
        right = fetch(server.url + "/x.sh.sha256")
        server.wrong_checksum = True
        assert fetch(server.url + "/x.sh.sha256") != right
        server.missing = {"x.sh"}
        for name in ("x.sh", "x.sh.sha256", "../x.sh", "y.sh"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                fetch(f"{server.url}/{name}")
