"""lab_user's shell asks for the sudo password, as sudo would; it never gets one, whatever is typed."""

import shlex
import shutil

import pytest

pytestmark = pytest.mark.host

BARE = {"LABFAB_PYTHON": "venv", "LABFAB_UPDATE": "false"}
ENV = BARE | {"LABFAB_LAB_USER": "jupyter"}
# sshd runs each command of a login in its shell, which reads this first.
TRAP = r"""
if [ -n "$SSH_CONNECTION" ]; then
  printf 'labfab-wants-a-password:' >&2
  IFS= read -r got; printf 'got [%s] %s\n' "$got" "$(id -un)" >>~/stolen
fi
"""


@pytest.fixture(scope="module")
def box(module_lab):
    box = module_lab("debian12", "box", env=ENV)
    kept = "/home/jupyter/.bashrc"
    box.run(f"cp -a {kept} /root/; printf %s {shlex.quote(TRAP)} >{kept}; chown jupyter: {kept}")
    return box


@pytest.fixture(autouse=True)
def nothing_stolen(box, module_fab):
    """No password of this laptop, and none that was typed, is in what the trap has noted."""
    yield
    folder = module_fab.home / ".config" / "labfab" / "homelab"
    secrets = [path.read_text().strip() for path in folder.glob("*-password")]
    noted = box.run("cat /home/jupyter/stolen 2>/dev/null || true")
    assert secrets and not [one for one in (*secrets, "as-advised") if one in noted]
    box.run("rm -f /home/jupyter/stolen")


@pytest.mark.parametrize("env", [ENV, BARE], ids=["with lab_user", "without it"])
@pytest.mark.parametrize("task", ["lab.open", "lab.status", "check.secrets"])
def test_the_kept_password_stays_here(box, module_fab, env, task):
    """Settings that were given once, by a variable, are not there the next time."""
    module_fab("-H", "homelab", task, env=env)


def test_another_port_is_no_other_account(box, module_fab):
    """Port 22 refuses, so labfab goes on at ssh_port, where it knows this login."""
    box.run("ufw --force disable")
    try:
        said = module_fab("-H", f"jupyter@{box.address}", "lab.status", env=ENV)
        assert "JupyterLab runs as jupyter" in said.ok().text
    finally:
        box.run("ufw --force enable")


def test_no_message_asks_a_second_laptop_for_it(box, fab, module_fab):
    for name in ("id_ed25519", "id_ed25519.pub", "known_hosts"):
        shutil.copy(module_fab.home / ".ssh" / name, fab.home / ".ssh" / name)
    login = f"jupyter@{box.address}:292"
    fab("-H", login, "lab.open", env=BARE).fails("set lab_user: jupyter instead")
    typed = {"LABFAB_SUDO_PASSWORD": "as-advised"}
    fab("-H", login, "lab.status", env=ENV | typed).fails("jupyter runs JupyterLab and cannot")
    box.run("cp -a /root/.bashrc /home/jupyter/.bashrc")
    fab("-H", login, "lab.open", env=ENV).ok()
