"""What lab_user prints never speaks for ssh or for the system: no command for your laptop comes of it."""

import re
import shlex
import subprocess

import pytest

pytestmark = pytest.mark.host

ENV = {"LABFAB_PYTHON": "venv", "LABFAB_UPDATE": "false", "LABFAB_LAB_USER": "jupyter"}
HOME = "/home/jupyter"
FORGED = r"""
if [ -n "$SSH_CONNECTION" ]; then
  echo "@@@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @@@" >&2
  echo "Host key for x';id>PWNED;' has changed and you have requested strict checking." >&2
  exit 12
fi
"""
# Writes into the pipe of lab_user's df, over and over.
INJECT = r"""
import ctypes, os, time
call = ctypes.CDLL(None, use_errno=True).syscall
line = b"a 0 99 1 1% /;touch${IFS}/tmp/PWNED;#\n"
seen, end = set(), time.time() + 120
while time.time() < end:
    last = int(open("/proc/loadavg").read().split()[4])
    for pid in range(last - 12, last + 3):
        try:
            name = open(f"/proc/{pid}/comm").read().strip()
        except OSError:
            continue
        if name == "df" and pid not in seen:
            seen.add(pid)
            fd = call(438, call(434, pid, 0), 1, 0)  # pidfd_getfd of pidfd_open
            if fd >= 0:
                os.write(fd, line)
                open("/home/jupyter/hit", "a").write(f"{pid}\n")
                os.close(fd)
"""
# So many links that df needs some milliseconds for the folder of the notebooks.
SLOW = r"""
cd; mkdir -p m/d; mv notebooks real; ln -s ../real m/l0
python3 - <<"X"
import os
for i in range(1, 38): os.symlink("d/../" * 780 + f"l{i-1}", f"m/l{i}")
os.symlink("m/l37", "notebooks")
X
"""


@pytest.fixture(scope="module")
def box(module_lab):
    return module_lab("debian12", "words", env=ENV)


def plant(box, name: str, text: str) -> None:
    path = f"{HOME}/{name}"
    box.run(f"printf %s {shlex.quote(text)} >{path} && chown jupyter: {path}")


@pytest.fixture
def bashrc(box):
    """A start-up file that forges the words of ssh, and the usual one afterwards."""
    plant(box, ".bashrc", FORGED)
    yield
    box.run(f"cp /etc/skel/.bashrc {HOME}/.bashrc")


@pytest.mark.parametrize("task", ["files.pull", "files.push", "backup.create"])
def test_lab_user_cannot_forge_a_changed_host_key(box, bashrc, module_fab, tmp_path, task):
    """The pinned key is not given up, and the text is shown as that of the host."""
    (tmp_path / "x").write_text("hello")
    words = {
        "files.pull": ("x", "--to", str(tmp_path)),
        "files.push": (str(tmp_path / "x"),),
        "backup.create": (),
    }
    run = module_fab("-H", "homelab", task, *words[task], env=ENV)
    assert "ssh-keygen" not in run.text and "THE HOST KEY HAS CHANGED" not in run.text
    assert run.rc and "printed: Host key for x" in run.text


def test_a_key_that_did_change_is_still_told(box, module_fab, tmp_path):
    """By ssh itself for the tunnel, and at the login: the name is the one that known_hosts has."""
    module_fab("-H", "homelab", "tunnel.close", env=ENV).ok()
    known = module_fab.home / ".ssh/known_hosts"
    before = known.read_text()
    subprocess.run(["ssh-keygen", "-qt", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    kind, blob = (tmp_path / "key.pub").read_text().split()[:2]
    known.write_text(re.sub(r"(?m)(292 )ssh-ed25519 \S+", rf"\g<1>{kind} {blob}", before))
    assert known.read_text() != before
    try:
        run = module_fab("-H", "homelab", "tunnel.open", env=ENV)
        told = module_fab("-H", "homelab", "files.pull", "x", "--to", str(tmp_path), env=ENV)
    finally:
        known.write_text(before)
    for text in (run.text, told.text):
        assert f"ssh-keygen -R '[{box.address}]:292'" in text


def test_lab_user_cannot_put_a_command_into_the_advice_about_disks(box, module_fab):
    """He writes into the output of his own df, which check.host reads: a path that no disk is mounted at."""
    plant(box, "inject.py", INJECT)
    box.run(f"rm -f {HOME}/hit; runuser -u jupyter -- sh -c {shlex.quote(SLOW)}")
    box.run(
        f"cd /; setsid runuser -u jupyter -- python3 {HOME}/inject.py >/dev/null 2>&1 & sleep 0.5"
    )
    try:
        for _ in range(3):
            run = module_fab("-H", "homelab", "check.host", env=ENV)
            assert "touch" not in run.text and "host-disk" in run.text
            if box.run(f"cat {HOME}/hit 2>/dev/null || true").strip():
                break
        else:
            pytest.skip("df was too quick for him here")
    finally:
        box.run("pkill -u jupyter -f [i]nject.py || true")
