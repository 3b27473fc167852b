"""Packages are kept up to date; a reboot happens only if it is needed and allowed."""

import paramiko
import pytest

from labfab.errors import SetupError
from labfab.host.session import Host
from labfab.platforms import platform
from labfab.stages.system import packages, updates
from tests import fake_commands


def test_an_up_to_date_host_is_left_alone(fake):
    """Fresh lists and an empty simulation mean that no command is sent, so no mirror is asked."""
    model = fake()
    updates.update(model.c)
    assert model.whys == []


def test_old_lists_are_fetched_and_upgrades_installed(fake):
    """Lists older than update_max_age are fetched; pending upgrades need no answer."""
    model = fake(update_max_age=1)
    model.sections["updates"]["age"], model.sections["upgrades"]["pending"] = "3601", "7"
    updates.update(model.c)
    assert model.whys == ["fetch the package lists", "upgrade the system (7 packages)"]
    assert (
        "noninteractive" in model.writes[1].command and "--force-confold" in model.writes[1].command
    )
    updates.update(model.again())
    assert model.whys == []


@pytest.mark.parametrize("autoremove", [False, True])
def test_the_packages_are_named_and_removed_only_if_wanted(fake, autoremove):
    """The plan, the run and the journal say which; nothing goes without the setting, nothing is purged."""
    model = fake(autoremove=autoremove)
    model.sections["upgrades"] |= {"pending": "3", "upgraded": "tar bash", "removed": "old"}
    updates.update(model.c)
    assert model.whys == ["upgrade the system (3 packages; upgraded: bash, tar; removed: old)"]
    command = model.writes[0].command
    assert ("remove" in command.replace("AutomaticRemove=false", "").lower()) == autoremove
    assert "purge" not in command


def test_lists_of_the_last_day_are_fresh_enough(fake):
    """The age is compared with the setting, not with the clock of this machine."""
    model = fake(update_max_age=1)
    model.sections["updates"]["age"] = "3600"
    updates.update(model.c)
    assert model.whys == []


def test_an_interrupted_dpkg_is_repaired_first(fake):
    """What an interrupted run left half-configured is finished before anything is installed."""
    model = fake()
    model.sections["updates"]["interrupted"], model.sections["upgrades"]["pending"] = "yes", "2"
    updates.update(model.c)
    assert model.whys == [
        "finish the interrupted dpkg run",
        "repair broken dependencies",
        "upgrade the system (2 packages)",
    ]


@pytest.mark.parametrize("interrupted", [False, True])
def test_packages_come_after_the_lists_and_what_dpkg_was_stopped_in(fake, interrupted):
    """Fetching the lists changes nothing about dpkg, so the host is read once."""
    model = fake()
    model.sections["updates"] |= {"age": "999999"} | ({"interrupted": "yes"} if interrupted else {})
    platform(model.c).install(model.c, "rsync")
    mended = ["finish the interrupted dpkg run", "repair broken dependencies"] * interrupted
    assert model.whys == ["fetch the package lists", *mended, "install rsync"]
    assert len(model.readings) == 1 + interrupted


@pytest.mark.parametrize(
    ("update", "age", "due"), [(True, "999999", True), (False, "999999", False), (True, "1", False)]
)
def test_old_lists_are_fetched_ahead_where_nothing_is_missing(fake, update, age, due):
    """So it is on a host made from an image with all packages."""
    model = fake(update=update, python="venv")
    model.install("sudo", *packages.needed(model.c))
    model.sections["updates"]["age"] = age
    assert packages.can_prepare_early(model.again()) is due
    packages.prepare(model.c)
    assert model.whys == ["fetch the package lists"] * (age != "1")


def test_a_simulation_that_failed_is_reported(fake):
    """If apt cannot say what is pending, nothing is guessed."""
    model = fake()
    model.sections["upgrades"]["pending"] = ""
    with pytest.raises(SetupError, match="apt cannot tell"):
        updates.update(model.c)


def test_a_new_machine_is_waited_for(fake):
    """cloud-init goes first."""
    model = fake()
    model.sections["system"]["settling"] = "yes"
    updates.update(model.c)
    assert model.whys == ["wait for cloud-init"]


@pytest.mark.parametrize("allowed, whys", [(False, []), (True, ["reboot"])])
def test_a_reboot_needs_permission(fake, monkeypatch, capsys, allowed, whys):
    """A pending reboot is reported; with reboot: true it is made, and a new boot_id is awaited"""
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    model = fake(reboot=allowed)
    model.sections["system"]["reboot_required"] = "yes"
    updates.update(model.c)
    assert model.whys == whys
    assert ("a reboot is pending" in capsys.readouterr().out) is not allowed


def test_a_host_that_does_not_come_back_is_reported(fake, monkeypatch):
    """Without a new boot_id there is an error after ten minutes, and no endless wait."""
    clock = iter(range(0, 100_000, 60))
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    model = fake()
    monkeypatch.setattr("tests.fake_commands.do", lambda model, made: None)
    with pytest.raises(SetupError, match="did not come back within 600 s"):
        updates.reboot(model.c)


@pytest.mark.parametrize(
    "error",
    [
        paramiko.SSHException("Error reading SSH protocol banner"),
        paramiko.AuthenticationException("Authentication failed."),
        paramiko.PasswordRequiredException("encrypted"),
        EOFError(),
        ConnectionResetError(104, "reset"),
        SetupError("no answer"),
    ],
)
def test_an_sshd_that_dies_is_waited_for(fake, monkeypatch, error):
    """However the old sshd hangs up or refuses, nobody is asked, and the next try may succeed."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("labfab.console.hidden", lambda question: pytest.fail(question))
    model = fake()
    tries = []

    def fresh(*login):
        tries.append(login)
        if len(tries) < 3:
            raise error
        return model.fresh(*login)

    monkeypatch.setattr("labfab.host.connection.log_in_again", fresh)
    monkeypatch.setattr(
        "labfab.host.connection.dial", lambda c, settings: pytest.fail("this may ask")
    )
    updates.reboot(model.c)
    assert model.whys == ["reboot"] and len(tries) == 3


def test_a_release_upgrade_is_ubuntus_and_asks_for_a_backup(fake):
    """Neither Debian nor a missing --yes begins one."""
    model = fake()
    with pytest.raises(SetupError, match="release upgrades are Ubuntu's"):
        updates.release_upgrade(model.c, yes=True)
    model = fake()
    model.sections["system"] |= {"id": "ubuntu", "version": "24.04"}
    Host.sessions.clear()
    with pytest.raises(SetupError, match="make a backup first"):
        updates.release_upgrade(model.c)
    assert model.writes == []


@pytest.mark.parametrize("open_already", [False, True])
def test_a_release_upgrade_opens_the_port_of_its_own_sshd_under_the_guard(
    fake, monkeypatch, open_already
):
    """Every change to the firewall is guarded; a rule of the user's is none of ours to undo."""
    model = fake()
    model.sections["system"] |= {"id": "ubuntu", "version": "24.04"}
    model.install("tmux", "ubuntu-release-upgrader-core")
    model.sections["firewall"] |= {"active": "yes", "incoming": "deny", "allowed.22": "yes"}
    if open_already:
        model.sections["firewall"]["allowed.1022"] = "allow 1022/tcp"
    nothing = [(r"rm -f .*ucf-old", lambda *words: None), (r"tmux new-.*", lambda *words: None)]
    monkeypatch.setattr(fake_commands, "EFFECTS", [*fake_commands.EFFECTS, *nothing])
    updates.release_upgrade(model.c, yes=True)
    opened = [] if open_already else ["open port 1022"]
    whys = ["remove a leftover that apt complains about", *opened, "begin the release upgrade"]
    assert model.whys == whys
    assert model.guard == ([] if open_already else ["arm", "disarm"])


@pytest.mark.parametrize("name", ["fedora", ""])
def test_another_system_is_named(fake, name):
    """A system without a platform module is refused before anything is changed."""
    model = fake()
    model.sections["system"] |= {"id": name, "name": name}
    with pytest.raises(SetupError, match=r"labfab sets up Debian 12, 13; Ubuntu 22\.04"):
        updates.update(model.c)
    assert model.writes == []


@pytest.mark.parametrize(
    "says, told",
    [
        ("E: Could not get lock", "could not fetch the package lists: Could not get lock"),
        ("E: write (28: No space left on device)", "no space left on the host"),
    ],
)
def test_a_failing_apt_is_one_line(fake, says, told):
    """apt's last words are passed on, a full disk with what to do about it."""
    model = fake()
    model.sections["updates"]["age"] = "999999"
    model.failing = {"apt-get": says}
    with pytest.raises(SetupError, match=told) as error:
        updates.update(model.c)
    assert "\n" not in str(error.value)
