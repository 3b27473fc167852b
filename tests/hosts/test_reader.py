"""What a reader of the docs meets: an undo that asks, settings given once, a login that had a password."""

import pytest

from tests.rig.snapshot import snapshot
from tests.rig.terminal import terminal

pytestmark = pytest.mark.host

ENV = {"LABFAB_PYTHON": "venv", "LABFAB_UPDATE": "false"}
NO_UPDATE = {"LABFAB_UPDATE": "false"}
PASSWORD = "it's ann's"


@pytest.fixture(scope="module")
def box(module_lab):
    return module_lab("debian12", "box", env=ENV)


def test_what_the_setup_was_given_once_holds_for_later_commands(box, module_fab):
    """Without LABFAB_PYTHON, the plan would be to install Miniforge."""
    said = module_fab("-H", "homelab", "setup.plan", env=NO_UPDATE).ok()
    assert "nothing to change" in said.out


def test_undo_asks_and_without_a_terminal_needs_yes(box, module_fab):
    before = snapshot(box)
    said = module_fab("-H", "homelab", "setup.undo").fails("setup.undo needs --yes")
    assert "type: fab -H homelab setup.undo --yes" in said.err
    with terminal(module_fab, "-H", "homelab", "setup.undo") as tty:
        tty.sees("undo ").sees(" changes on homelab: JupyterLab").sees("go on? [y/N]").types("n")
        assert tty.ends() != 0 and "nothing was changed" in tty.seen
    assert snapshot(box) ^ before == set()


def test_a_setup_that_died_leaves_its_recipe_and_its_names(box, module_fab):
    given = {"LABFAB_RECIPE": "https", "LABFAB_NAMES": "lab.example.org", "LABFAB_LAB_USER": ""}
    broken = ENV | given | {"LABFAB_PACKAGES": "no-such-package-of-ours"}
    module_fab("-H", "homelab", "setup.full", env=broken).fails("no-such-package-of-ours")
    planned = module_fab("-H", "homelab", "setup.plan", env=NO_UPDATE).text
    assert "no-such-package-of-ours" in planned and "lab.example.org" in planned
    kept = module_fab.home / ".config/labfab/homelab/settings.json"
    assert kept.stat().st_mode & 0o777 == 0o600


def test_the_password_of_the_old_login_is_asked_for_before_anything_is_undone(host, fab):
    """ann came with a password; sshd refuses passwords now. Wrong, missing, and right ones."""
    box = host("debian13", "box", user="ann", key=None, password=PASSWORD, nopasswd=False)
    box.run("runuser -u ann -- touch /home/ann/.sudo_as_admin_successful")  # sudo's own note
    before = snapshot(box)
    given = {"LABFAB_LOGIN_PASSWORD": PASSWORD}
    fab.on(box, "keys.copy", user="ann", env=given).ok()
    fab.on(box, "ssh.disable-passwords", user="ann", env={"LABFAB_ACCEPT": "passwords"}).ok()
    done = snapshot(box)

    fab("-H", "homelab", "setup.undo", "--yes").fails("nothing was undone", "LABFAB_LOGIN_PASSWORD")
    wrong = {"LABFAB_LOGIN_PASSWORD": "wrong"}
    fab("-H", "homelab", "setup.undo", "--yes", env=wrong).fails("that was given is wrong")
    assert snapshot(box) ^ done == set()

    with terminal(fab, "-H", "homelab", "setup.undo") as tty:
        tty.sees("go on? [y/N]").types("y")
        tty.sees("password of ann@").types("wrong")
        tty.sees("that is not the password of ann@").sees("password of ann@").types(PASSWORD)
        tty.sees("prove the login ann@").sees("log in as before: ssh ann@")
        assert tty.ends() == 0, tty.seen
    assert snapshot(box) ^ before == set()
