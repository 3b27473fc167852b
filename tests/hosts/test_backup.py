"""A lab is backed up to the laptop and comes to life on another host: the same files, packages and password."""

import json
import re
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from labfab.laptop import kernel

pytestmark = pytest.mark.host

PASSWORD = "pä$'\"\\ s s"
FIRST = {"LABFAB_PYTHON": "venv", "LABFAB_UPDATE": "false", "LABFAB_FIREWALL": "false"}
SECOND = FIRST | {
    "LABFAB_ALIAS": "second",
    "LABFAB_LAB_USER": "nb",
    "LABFAB_USER": "admin",
    "LABFAB_ROOT_DIR": "my work",
}
# What somebody has made: notebooks of any name, a kernelspec, a setting of JupyterLab, a package, an option of the server.
WORK = r"""
set -eu; cd ~
mkdir -p 'notebooks/it'"'"'s $HOME/empty' .local/share/jupyter/kernels/mine '.jupyter/lab/user-settings/@jupyterlab/apputils-extension'
printf 'a\nb' >'notebooks/it'"'"'s $HOME/new
line `id`'
ln -s /no/where notebooks/dangling; echo secret >notebooks/private; chmod 600 notebooks/private; touch -d 2001-02-03 notebooks/private
head -c 3000000 /dev/urandom >notebooks/data.bin
echo '{"argv": ["python", "-m", "ipykernel_launcher", "-f", "{connection_file}"], "display_name": "Mine", "language": "python"}' \
  >.local/share/jupyter/kernels/mine/kernel.json
echo '{"theme": "JupyterLab Dark"}' >'.jupyter/lab/user-settings/@jupyterlab/apputils-extension/themes.jupyterlab-settings'
jupyter-venv/bin/uv pip install -q --python jupyter-venv/bin/python humanize==4.9.0
"""
SUMS = r"""
cd %s && find . \( -type f -exec sha256sum -z {} + \) -o \( -type l -printf '%%p -> %%l\0' \) -o -printf '%%p/\0' | sort -z | base64 -w0
"""


class Lab:
    """The first host, its backup, and the second host."""

    def __init__(self, fab, first, second) -> None:
        self.fab, self.first, self.second = fab, first, second

    def on_first(self, *words: str):
        return self.fab("-H", "homelab", *words, env=FIRST)

    def on_second(self, *words: str):
        return self.fab.on(self.second, *words, env=SECOND)

    @property
    def folder(self) -> Path:
        rows = json.loads(self.fab("backup.list", "--json").ok().out)
        assert len(rows) == 1 and rows[0]["whole"] and rows[0]["name"].startswith("homelab/")
        return Path(rows[0]["folder"])


@pytest.fixture(scope="module")
def labs(module_host, module_fab):
    first = module_host("debian13", "first")
    module_fab.on(
        first,
        "keys.copy",
        "python.install",
        "jupyter.configure",
        env=FIRST | {"LABFAB_JUPYTER_PASSWORD": PASSWORD},
    ).ok()
    first.run("runuser -u lab -- sh -s", input=WORK)
    return Lab(module_fab, first, module_host("debian13", "second"))


def sums(host, folder: str) -> str:
    return host.run(SUMS % f"'{folder}'")


def test_a_backup_is_whole_and_private(labs):
    before = labs.first.checksums()
    said = labs.on_first("--dry", "backup.create").ok().out
    assert "would back up" in said and not (labs.fab.home / "labfab-backups").exists()
    labs.on_first("backup.create").ok()
    after = labs.first.checksums()
    assert {
        path
        for path in {*before, *after}
        if before.get(path) != after.get(path) and path.startswith("home/")
    } == set()
    folder = labs.folder
    assert folder.parent == labs.fab.home / "labfab-backups/homelab" and re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d{6}", folder.name
    )
    assert (
        folder.stat().st_mode & 0o777 == 0o700
        and (folder.parent.parent).stat().st_mode & 0o777 == 0o700
    )
    for secret in (
        "jupyter/jupyter_server_config.json",
        "manifest.json",
        "settings.json",
        "notebooks/private",
    ):
        assert (folder / secret).stat().st_mode & 0o777 == 0o600, secret
    assert "humanize==4.9.0" in (folder / "requirements.txt").read_text().splitlines()
    assert not (folder / "jupyter/lab.log").exists() and not list(folder.parent.glob(".unfinished"))
    assert (folder / "notebooks/it's $HOME/new\nline `id`").read_text() == "a\nb" and (
        folder / "notebooks/it's $HOME/empty"
    ).is_dir()


def test_a_damaged_backup_is_refused_before_anything_is_changed(labs, tmp_path):
    before = labs.second.checksums()
    for name, damage in (
        ("notebooks/data.bin", flip),
        ("manifest.json", flip),
        ("notebooks/private", Path.unlink),
    ):
        copy = tmp_path / name.replace("/", "-")
        shutil.copytree(labs.folder, copy, symlinks=True)
        damage(copy / name)
        labs.on_second("backup.restore", "--from", str(copy)).fails(
            "damaged", "nothing was changed"
        )
    labs.on_second("backup.restore").fails("no backup of second", "backup.list")
    another = SECOND | {"LABFAB_PYTHON": "miniforge"}
    labs.fab.on(labs.second, "backup.restore", "--from", str(labs.folder), env=another).fails(
        "LABFAB_PYTHON=venv"
    )
    said = labs.on_second("--dry", "backup.restore", "--from", str(labs.folder)).ok().out
    assert "would restore" in said and "would start JupyterLab" in said
    assert labs.second.checksums() == before


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_bare_host_becomes_the_same_lab(labs):
    """Another account without sudo, another folder and another alias: the backup fits all the same."""
    said = labs.on_second("backup.restore", "--from", f"homelab/{labs.folder.name}").ok().out
    assert "match homelab/" in said
    kernels, settings = ".local/share/jupyter/kernels", ".jupyter/lab"
    for there, here in (("notebooks", "my work"), (kernels, kernels), (settings, settings)):
        assert sums(labs.second, f"/home/nb/{here}") == sums(labs.first, f"/home/lab/{there}")
    assert labs.second.run("find '/home/nb/my work' /home/nb/.jupyter ! -user nb") == ""
    assert labs.second.run("stat -c '%a %Y' '/home/nb/my work/private'") == labs.first.run(
        "stat -c '%a %Y' /home/lab/notebooks/private"
    )
    config = "stat -c %a:%U /home/nb/.jupyter/jupyter_server_config.json"
    assert labs.second.run(config) == "600:nb"
    labs.on_second("keys.copy").ok()
    url = re.search(r"http://127\.0\.0\.1:\d+", labs.on_second("tunnel.open").ok().out).group()
    with closing(kernel.login(url, PASSWORD)) as client:
        said = kernel.execute(
            client,
            "import humanize, os, getpass; print(humanize.__version__, getpass.getuser(), os.listdir('my work'))",
        )
        assert said.split()[:2] == ["4.9.0", "nb"] and "dangling" in said
        assert "mine" in client.get("api/kernelspecs").json()["kernelspecs"]
    stored = labs.fab.home / ".config/labfab/second/jupyter-password"
    assert (
        stored.read_text()
        == (labs.fab.home / ".config/labfab/homelab/jupyter-password").read_text()
        == f"{PASSWORD}\n"
    )
    assert (
        "nothing to change" in labs.on_second("backup.restore", "--from", str(labs.folder)).ok().out
    )
    assert "restore" in labs.on_second("setup.journal").ok().out


def test_what_differs_is_kept(labs):
    labs.second.run(
        'runuser -u nb -- sh -c \'echo newer work >"/home/nb/my work/private"; echo more >"/home/nb/my work/more"\''
    )
    before = labs.second.checksums()
    labs.on_second("backup.restore", "--from", str(labs.folder)).fails(
        "private", "--force", "nothing was changed"
    )
    assert labs.second.checksums() == before
    labs.on_second("backup.restore", "--from", str(labs.folder), "--force").ok()
    assert (
        labs.second.run("cd '/home/nb/my work' && cat private private.before-2* more")
        == "secret\nnewer work\nmore"
    )
