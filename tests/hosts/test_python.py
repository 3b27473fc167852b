"""Python from an installer: verified, resumed, healed; the publishers are doubled by a server on this machine."""

import re
import threading
import time

import pytest

from tests.rig import installer, network

pytestmark = pytest.mark.host


@pytest.fixture(scope="module")
def mirror(engine):
    """Serve the installers where hosts can reach them."""
    address = str(next(network.ensure(engine).hosts()))
    folders = [installer.build(kind).parent for kind in installer.VERSIONS]
    try:
        serving = installer.serve(*folders, address=address)
        server = serving.__enter__()
    except OSError:
        pytest.skip(f"the engine's hosts do not see this machine as {address}")
    try:
        yield server
    finally:
        serving.__exit__(None, None, None)


@pytest.fixture(scope="module")
def box(module_host):
    return module_host("debian12")


@pytest.fixture
def fab_on(box, module_fab, mirror):
    """Run fab against the host, with Python from the mirror."""

    def run(kind: str, *words: str, **more: str):
        env = {"LABFAB_PYTHON": kind} | installer.settings(kind, mirror.url)
        return module_fab.on(box, *words, env=env | more)

    return run


def name_of(kind: str) -> str:
    return installer.double(kind, "").filename


def left(box) -> str:
    """List what the account has of an installation."""
    return box.run("ls -d /home/lab/miniforge3 /home/lab/.cache/labfab/*.sh 2>/dev/null || true")


def test_anaconda_waits_for_its_terms(box, fab_on, mirror):
    before, seen = box.checksums(), mirror.count()
    fab_on("anaconda", "python.install").fails("accept_anaconda_terms")
    assert box.checksums() == before and mirror.count() == seen


def test_a_file_that_is_not_there_is_named(box, fab_on, mirror):
    mirror.missing = {"*"}
    try:
        fab_on("miniforge", "python.install").fails(
            "404", "python_version", "python_mirror", name_of("miniforge")
        )
    finally:
        mirror.missing = set()
    assert left(box) == ""


def test_a_file_with_another_checksum_never_runs(box, fab_on, mirror):
    fab_on("miniforge", "python.install", LABFAB_PYTHON_CHECKSUM="ab" * 32).fails("SHA-256")
    assert left(box) == ""


def test_a_mirror_without_tls_vouches_for_nothing(box, fab_on, mirror):
    """Its checksum would come the same way as the file, so it is not even asked."""
    before, seen = box.checksums(), mirror.count()
    done = fab_on("miniforge", "python.install", LABFAB_PYTHON_CHECKSUM="")
    done.fails("python_mirror", "https://", "python_checksum")
    assert box.checksums() == before and mirror.count() == seen


def test_a_download_goes_on_where_it_was_cut_and_an_unpacking_is_healed(box, fab_on, mirror):
    size = installer.build("miniforge").stat().st_size
    mirror.seen.clear()
    mirror.cuts = [size // 2]
    killer = threading.Thread(target=kill_the_installer, args=(box,))
    killer.start()
    first = fab_on("miniforge", "python.install")
    if "unpack" not in first.text:  # its curl does not go on by itself after a cut
        first.fails("download", name_of("miniforge"))
        fab_on("miniforge", "python.install").fails("unpack", name_of("miniforge"))
    else:
        first.fails("unpack")
    killer.join(60)
    starts = [
        start
        for method, name, start in mirror.seen
        if name == name_of("miniforge") and method == "GET"
    ]
    assert len(starts) == 2 and starts[0] == 0 and size // 3 < starts[1] <= size // 2
    assert box.run("test -x /home/lab/miniforge3/bin/conda || echo half").endswith("half")
    fab_on("miniforge", "python.install").ok()
    assert len(mirror.seen) - len(starts) <= 4  # checksums only: the file was there
    assert box.run("runuser -u lab -- /home/lab/miniforge3/bin/conda --version").startswith(
        "conda "
    )


def kill_the_installer(box) -> None:
    """Wait until the installer writes, then end it."""
    end = time.monotonic() + 100
    while time.monotonic() < end:
        if box.run(
            "pgrep -u lab -f 'bash Miniforge3' >/dev/null && ls /home/lab/miniforge3/pkgs 2>/dev/null | head -n 1 || true"
        ):
            box.run("pkill -KILL -u lab -f 'bash Miniforge3|pkgs/uv|tar -x'")
            return
        time.sleep(0.1)


@pytest.mark.parametrize("kind", ["miniforge", "miniconda", "anaconda"])
def test_lab_runs_from_it(box, fab_on, mirror, kind):
    accepted = {"LABFAB_ACCEPT_ANACONDA_TERMS": "true"} if kind == "anaconda" else {}
    fab_on(kind, "python.install", **accepted).ok()
    prefix = f"/home/lab/{kind}3"
    version = box.run(f"runuser -u lab -- {prefix}/bin/jupyter server --version")
    assert tuple(map(int, version.split(".")[:2])) >= (2, 21)
    fab_on(kind, "lab.start", **accepted).ok()
    try:
        assert re.search(
            rf"{prefix}/bin/\S*python\S* {prefix}/bin/jupyter-lab", box.run("ps -o args= -u lab")
        )
        assert "answers on port 9999" in fab_on(kind, "lab.status", **accepted).ok().out
        seen = mirror.count()
        assert "nothing to change" in fab_on(kind, "python.install", **accepted).ok().out
        assert mirror.count() == seen
    finally:
        fab_on(kind, "lab.stop", **accepted).ok()
    assert "Traceback" not in box.run("cat /home/lab/.jupyter/lab.log")


def test_login_shells_find_conda(box, fab_on):
    fab_on("miniforge", "python.init-shell").ok()
    assert (
        box.run("runuser -l lab -c 'bash -ic \"command -v jupyter\" 2>/dev/null'")
        == "/home/lab/miniforge3/bin/jupyter"
    )
    assert "nothing to change" in fab_on("miniforge", "python.init-shell").ok().out


def test_a_backup_brings_the_packages_of_a_conda_back(box, fab_on, module_fab):
    fab_on(
        "miniforge", "python.install", "keys.copy", "jupyter.configure", LABFAB_PACKAGES="humanize"
    ).ok()
    fab_on("miniforge", "backup.create").ok()
    assert (
        "humanize=="
        in next((module_fab.home / "labfab-backups").rglob("environment.yml")).read_text()
    )
    box.run("runuser -u lab -- /home/lab/miniforge3/bin/python -m pip uninstall -q -y humanize")
    try:
        assert "password match " in fab_on("miniforge", "backup.restore").ok().out
        assert (
            box.run(
                "/home/lab/miniforge3/bin/python -c 'import humanize; print(humanize.naturalsize(3000))'"
            )
            == "3.0 kB"
        )
        assert "nothing to change" in fab_on("miniforge", "backup.restore").ok().out
    finally:
        fab_on("miniforge", "lab.stop").ok()
