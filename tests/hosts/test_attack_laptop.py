"""A hostile host against the laptop: its certificate, its files, its text and its answers."""

import json
import os
import re
import stat
import subprocess
from pathlib import Path

import pytest

from tests.made_certificates import issue
from tests.rig.terminal import terminal

pytestmark = pytest.mark.host

ENV = {"LABFAB_PYTHON": "venv", "LABFAB_UPDATE": "false"}
HTTPS = ENV | {"LABFAB_PUBLISH": "https"}
TOKEN = "the-token-of-a-registry"
ESCAPES = "\x1b]0;PWNED\x07\x1b[2J\u202e\x9b31m"


class Lab:
    """A lab whose host is taken over, and the laptop that works with it."""

    def __init__(self, box, fab) -> None:
        self.box, self.fab = box, fab

    def __call__(self, *words: str, env=ENV, **options):
        return self.fab("-H", "homelab", *words, env=env, **options)

    def as_lab(self, script: str) -> str:
        return self.box.run("runuser -u lab -- sh -s", input=f"set -eu; cd ~\n{script}")

    @property
    def home(self) -> Path:
        return self.fab.home


@pytest.fixture(scope="module")
def lab(module_lab, module_fab):
    lab = Lab(module_lab("debian12", "box", ENV), module_fab)
    secret = lab.home / ".docker/config.json"
    secret.parent.mkdir(exist_ok=True)
    secret.write_text(json.dumps({"auths": {"registry.example": {"auth": TOKEN}}}))
    return lab


# Its certificate ------------------------------------------------------------------------------


def test_no_second_ca_comes_with_the_first(lab, tmp_path):
    """H5: the account that runs JupyterLab appends a CA for everything to ca.pem, then signs for a bank."""
    lab("https.issue", env=HTTPS).ok()
    evil = issue("a CA for everything")
    tls, own = "/home/lab/.jupyter/tls/ca.pem", lab.home / ".config/labfab/homelab/ca.pem"
    lab.box.run(f"cat >>{tls}", input=evil.pem)
    own.unlink()  # a second laptop, or one that was trusting before
    said = lab("https.issue", env=HTTPS).ok().out
    assert "ca.pem contains more than one certificate" in said
    kept = own.read_text()
    assert kept.count("-----BEGIN") == 1 and kept == lab.box.run(f"cat {tls}") + "\n"
    bundle, leaf = tmp_path / "bundle", tmp_path / "leaf"
    bundle.write_text(kept)
    leaf.write_text(issue("bank", ("bank.example",), by=evil).pem)
    command = ["openssl", "verify", "-CAfile", str(bundle), str(leaf)]
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0


def test_a_ca_that_an_earlier_version_kept_is_not_trusted(lab):
    """No browser gets it, and no command for it is printed."""
    own = lab.home / ".config/labfab/homelab/ca.pem"
    good = own.read_text()
    own.write_text(good + issue("a CA for everything").pem)
    try:
        run = lab("https.trust", env=HTTPS).fails("may vouch for more", "https.untrust")
        assert "update-ca-certificates" not in run.text
        lab("https.issue", env=HTTPS).ok()
        assert own.read_text() == good
    finally:
        own.write_text(good)


# Its files ------------------------------------------------------------------------------------


def everything(folder: Path) -> str:
    return "".join(
        path.read_text(errors="replace")
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    )


def test_a_backup_takes_no_file_of_the_laptop_to_a_host(lab):
    """M1: Jupyter's configuration on the host is a link that leads to one of ours on the laptop."""
    lab.as_lab("cp .jupyter/jupyter_server_config.json was.json")
    lab.box.run(
        "mkdir -p /.docker && cp /home/lab/was.json /.docker/config.json && chown -R lab: /.docker"
    )
    lab.as_lab(
        "ln -sf ../../../../.docker/config.json .jupyter/jupyter_server_config.json\n"
        "cd notebooks; ln -s ../../../../../../.docker loot; ln -s /etc/passwd accounts; mkfifo pipe\n"
        "echo 1 >one; ln -s one inside; chmod 6777 one; mkdir -p kernels; ln -s / kernels/all"
    )
    try:
        run = lab("backup.create").ok()
        assert "links of notebooks lead" in run.text and "loot -> " in run.text
        folder = Path(json.loads(lab("backup.list", "--json").ok().out)[0]["folder"])
        links = {path.name for path in folder.rglob("*") if path.is_symlink()}
        assert links == {"inside"} and not list(folder.rglob("pipe"))
        assert TOKEN not in everything(folder)
        assert not stat.S_IMODE((folder / "notebooks/one").stat().st_mode) & 0o6000
        lab.as_lab("cd notebooks; rm loot accounts")
        lab("backup.restore", "--force", "--yes").ok()
        assert lab.box.run(f"grep -rlF {TOKEN} /home /.docker /etc /root || true") == ""
        # Nothing of the host's is lost: the links are there again.
        assert lab.as_lab("readlink notebooks/loot notebooks/accounts notebooks/kernels/all").split(
            "\n"
        ) == ["../../../../../../.docker", "/etc/passwd", "/"]
    finally:
        lab.as_lab(
            "rm -rf .jupyter/jupyter_server_config.json notebooks/*; cp was.json .jupyter/jupyter_server_config.json"
        )


def test_a_backup_whose_files_lead_elsewhere_is_refused(lab, tmp_path):
    """As if an older version had made it."""
    lab("backup.create").ok()
    folder = Path(json.loads(lab("backup.list", "--json").ok().out)[-1]["folder"])
    for name, says in (
        ("jupyter/jupyter_server_config.json", "is a link"),
        ("requirements.txt", "is a link"),
        ("notebooks", "is a link"),
    ):
        copy = tmp_path / name.replace("/", "-")
        subprocess.run(["cp", "-r", str(folder), str(copy)], check=True)
        subprocess.run(["rm", "-rf", str(copy / name)], check=True)
        secret = lab.home / ".docker"
        (copy / name).symlink_to(secret if name == "notebooks" else secret / "config.json")
        reseal(copy)
        lab("backup.restore", "--force", "--yes", "--from", str(copy)).fails(says)
    assert lab.box.run(f"grep -rlF {TOKEN} /home /etc /root || true") == ""


def reseal(folder: Path) -> None:
    from labfab.laptop import archive

    path = folder / "manifest.json"
    manifest = json.loads(path.read_text()) | {"entries": archive.entries(folder)}
    path.write_text(json.dumps(manifest | {"seal": archive.manifest_digest(manifest)}))


def test_what_is_pulled_changes_nothing_else_here(lab, tmp_path):
    """M4: modes, links out, and what --delete was agreed to for."""
    lab.as_lab(
        "mkdir -p notebooks/data/sub; cd notebooks/data; echo new >new; echo x >sub/x; chmod 6777 new\n"
        f"chmod 777 . sub; ln -s ../mine out; ln -s {lab.home}/.docker docker; ln -s new in"
    )
    here = tmp_path / "here"
    (here / "sub").mkdir(parents=True)
    (here / "old").write_text("old"), (here / "mine").write_text("mine")
    here.chmod(0o700), (here / "sub").chmod(0o700)
    run = lab("files.pull", "data/", "--to", str(here)).ok()
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (here, here / "sub", here / "new")]
    assert modes[:2] == [0o700, 0o700] and not modes[2] & 0o6022
    assert {path.name for path in here.iterdir() if path.is_symlink()} == {"in"}
    assert "2 links not taken" in run.out and "docker -> " in run.out
    assert "nothing to pull" in lab("files.pull", "data/", "--to", str(here)).ok().out
    # The host shows that it lacks `old`, and then that it lacks `mine` instead.
    lab.as_lab("touch notebooks/data/mine")
    lab.box.run("mv /usr/bin/rsync /usr/bin/rsync.real && cat >/usr/bin/rsync", input=SWAP)
    lab.box.run("chmod 755 /usr/bin/rsync")
    try:
        run = lab("files.pull", "data/", "--to", str(here), "--delete", "--yes").ok()
    finally:
        lab.box.run("mv /usr/bin/rsync.real /usr/bin/rsync; rm -f /tmp/called")
    assert "1 file will be deleted from this machine: old" in run.out
    # What the host has sent meanwhile is not what was shown, so it stays as well.
    assert (here / "mine").read_text() == "mine" and (here / "old").read_text() == ""


SWAP = """\
#!/bin/sh
if [ -e /tmp/called ]; then rm -f /home/lab/notebooks/data/mine; touch /home/lab/notebooks/data/old; fi
touch /tmp/called; exec /usr/bin/rsync.real "$@"
"""


# Its text and its answers ---------------------------------------------------------------------


def test_escapes_of_a_host_never_reach_the_terminal(lab):
    """M6: in rows of jobs, in errors, in what a program prints while it works, on a real terminal."""
    state = {
        "job": f"1{ESCAPES}",
        "notebook": f"a{ESCAPES}\n[homelab] all is well",
        "state": ESCAPES,
        "kernel": ESCAPES,
        "cell": 1,
        "cells": 2,
        "submitted": 1.0,
        "started": 1.0,
        "ended": 2.0,
        "error": f"{ESCAPES}\n[homelab] all is well",
    }
    for answer, words in (
        (f"print({json.dumps(json.dumps({'now': 3.0, 'jobs': [state]}))})", ("lab.jobs",)),
        (f"print({json.dumps(json.dumps({'now': 3.0, 'jobs': [state]}))})", ("lab.jobs", "--json")),
        (f"import sys; sys.exit({json.dumps(ESCAPES + chr(10) + ESCAPES)})", ("lab.jobs",)),
    ):
        runner(lab, answer)
        with terminal(lab.fab, "-H", "homelab", *words, env=ENV | {"TERM": "xterm"}) as screen:
            screen.ends()
        said = screen.seen
        plain = re.sub(r"\x1b\[[0-9;]*m|\x1b\[K", "", said)
        assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202e]", plain), repr(said)
        assert not [line for line in said.splitlines() if line.startswith("[homelab] all is")]


def runner(lab, program: str) -> None:
    """Put another program in place of the job runner."""
    lab.as_lab("mkdir -p .local/share/labfab; rm -f .local/share/labfab/jobs.py")
    lab.box.run("cat >/home/lab/.local/share/labfab/jobs.py", input=program)
    lab.box.run("chown -R lab: /home/lab/.local")


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("while True: print('x' * 1000)", "answered more than 64 MB"),
        ("import sys\nwhile True: sys.stderr.write('x' * 1000)", "answered more than 64 MB"),
        ("print('[' * 1000000)", "makes no sense"),
        ("print('{\"jobs\": [{}]}')", "makes no sense"),
    ],
)
def test_an_answer_without_an_end_is_one_line(lab, program, says):
    runner(lab, program)
    run = lab("lab.jobs", timeout=120).fails(says)
    assert len(run.err.strip().splitlines()) == 1


def test_a_revoked_host_key_is_refused_though_the_alias_is_known(lab):
    known = lab.home / ".ssh/known_hosts"
    before = known.read_text()
    kind, blob = lab.box.run("cat /etc/ssh/ssh_host_ed25519_key.pub").split()[:2]
    try:
        known.write_text(f"@revoked * {kind} {blob}\n{before}")
        run = lab("lab.jobs")
        if "REVOKED" not in run.text:  # the host has another key that is known
            assert run.rc != 0, run.text
        run.fails("REVOKED")
    finally:
        known.write_text(before)
    assert os.path.exists(known)
