"""What lies below a home is its account's: root follows no link there, neither to read nor to change."""

import os
import subprocess
import tempfile

import pytest

from labfab.errors import SetupError
from labfab.facts import records
from labfab.host.changes import fill
from labfab.on_host import loader
from labfab.stages import user
from labfab.stages.jupyter import config
from labfab.stages.keys import authorized_keys
from tests import fake as models
from tests.facts.test_facts import ME, read

alone, fake = models.alone, models.fake
__all__ = ["read"]
CONFIG = ".jupyter/jupyter_server_config.json"


@pytest.mark.parametrize("link, target", [(".jupyter", "/etc"), (CONFIG, "/etc/passwd")])
def test_a_link_that_leads_away_is_told_and_not_read(read, tmp_path, link, target):
    """Only the link's target is reported: no mode that somebody could want to fix, no content."""
    if os.getuid() == 0:  # it is read as that account
        for folder in (tmp_path, *tmp_path.parents):
            if folder.is_relative_to(tempfile.gettempdir() + "/pytest-of-root"):
                folder.chmod(0o711)
    (tmp_path / link).parent.mkdir(exist_ok=True)
    (tmp_path / link).symlink_to(target)
    found = read("jupyter", LAB_USER="nobody")["jupyter"]
    assert records.link_target(found, "folder_link", "config.link") == target
    assert "config.text" not in found and (link != ".jupyter" or "folder_stat" not in found)


def test_a_link_to_what_is_ones_own_is_followed(read, tmp_path):
    """A home whose folders are links to another disk still works."""
    (tmp_path / "disk").mkdir(mode=0o700)
    (tmp_path / "disk/jupyter_server_config.json").write_text("{}")
    (tmp_path / ".jupyter").symlink_to(tmp_path / "disk")
    found = read("jupyter")["jupyter"]
    assert (
        found["folder_stat"] == f"700 {ME.pw_name}"
        and records.file_from(found, "config").content == "{}"
    )
    assert not [key for key in found if "link" in key]


@pytest.mark.parametrize("key", ["folder_link", "config.link"])
def test_jupyter_stops_at_such_a_link(fake, key):
    """One line names the link and its target, and nothing is written."""
    model = fake()
    user.add(model.c)
    model.again()
    model.sections["jupyter"][key] = "/etc"
    with pytest.raises(
        SetupError,
        match="a link in the home of lab leads to /etc, which is not lab's: .* remove the link",
    ):
        config.configure(model.c)
    assert model.whys == []


@pytest.mark.parametrize("key", ["ssh_link", "keys.link"])
def test_keys_stop_at_such_a_link(fake, key):
    """The same applies to the folder and the file of the keys."""
    model = fake()
    user.add(model.c)
    model.again()
    model.sections["accounts"][f"lab.{key}"] = "/etc/shadow"
    with pytest.raises(SetupError, match="a link in the home of lab leads to /etc/shadow"):
        authorized_keys.copy(model.c)
    assert model.whys == []


def test_the_link_of_another_account_is_told(fake, capsys):
    """Its keys are not copied, and the run continues."""
    model = fake()
    model.sections["accounts"]["root.keys.link"] = "/data/keys"
    authorized_keys.copy(model.c)
    assert (
        "a link in the home of root leads to /data/keys, which is not root's: it is not followed"
        in capsys.readouterr().err
    )


def test_modes_are_the_accounts_own_work(fake):
    """Root changes nothing but the owner."""
    model = fake(lab_user="student")
    user.add(model.c)
    model.again()
    model.sections["jupyter"]["folder_stat"] = "755 root"
    config.configure(model.c)
    made = [
        (write.user, write.command.split()[0])
        for write in model.writes
        if write.why.endswith(".jupyter private")
    ]
    assert made == [("root", "set"), ("student", "mkdir")]


def own(folder, path: str) -> subprocess.CompletedProcess:
    parent, _, name = path.rpartition("/")
    script = fill(loader.as_command("chown_in_home", 4), folder, parent, name, ME.pw_name)
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)


def test_an_owner_is_changed_in_the_home_only(tmp_path):
    """Neither the path nor its folder may have been replaced by a link in the meantime."""
    there, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    (there / ".ssh").mkdir(parents=True)
    elsewhere.mkdir()
    for path in (there / ".ssh/authorized_keys", elsewhere / "authorized_keys"):
        path.touch()
    assert (
        own(there, f"{there}/.ssh").returncode
        == own(there, f"{there}/.ssh/authorized_keys").returncode
        == 0
    )
    (there / ".jupyter").symlink_to(elsewhere)
    done = own(there, f"{there}/.jupyter")
    assert (done.returncode, done.stderr) == (1, "it is a link\n")
    os.rename(there / ".ssh", there / "old")
    (there / ".ssh").symlink_to(elsewhere)
    done = own(there, f"{there}/.ssh/authorized_keys")
    assert done.returncode == 1 and "a link leads there" in done.stderr
