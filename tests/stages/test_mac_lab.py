"""A modeled Mac: Apple's updates and restarts, sleep, tmux, launchd, zsh's start-up files."""

import plistlib

import pytest

from labfab.errors import SetupError
from labfab.host.shell import Result
from labfab.platforms import launchd, mac_programs, softwareupdate
from labfab.stages import lab, power, python
from labfab.stages.lab import autostart
from labfab.stages.system import updates as system
from tests import fake_commands

QUIET, LOUD = ("Command Line Tools for Xcode 26.5-26.5", False), ("macOS Tahoe 26.6-25G80", True)

AWAKE = "keep the Mac awake, and start it after a power cut"


@pytest.fixture
def mac(fake, monkeypatch):
    """Make models of a Mac with JupyterLab: mac([QUIET], machine="x86_64", reboot=True)."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)

    def make(updates=(), machine: str = "arm64", **want):
        model = fake("admin", **want)
        model.updates = list(updates)
        model.sections["system"] = {
            "kernel": "Darwin",
            "machine": machine,
            "id": "macos",
            "version": "26.5",
            "name": "macOS 26.5",
            "boot_id": "boot-1",
            "login": "admin",
            "others_shown": "0",
            "package.tmux": "yes",
            "package.python3": "yes",
        }
        model.sections["updates"] = {"age": "1790000000"}
        model.sections["power"]["sleep"] = "0"
        model.add_account(
            "admin",
            uid=501,
            home="/Users/admin",
            shell="/bin/zsh",
            groups="staff admin",
            password="P",
            linger="yes",
        )
        model.add_account(
            "lab",
            uid=502,
            home="/Users/lab",
            shell="/bin/zsh",
            groups="staff",
            password="P",
            linger="yes",
            hidden="yes",
        )
        model.sections["python"] |= {
            "prefix": "/Users/lab/miniforge3",
            "python": "yes",
            "conda": "yes",
            "lab": "yes",
            "version.jupyter_server": "2.21.0",
        }
        return model

    return make


# Updates -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("Software Update Tool\n\nFinding available software\nNo new software available.", []),
        (
            "* Label: Command Line Tools for Xcode 26.5-26.5\n\tTitle: Command Line Tools for Xcode 26.5, Version: 26.5, Size: 920416KiB, "
            "Recommended: YES, \n* Label: macOS Tahoe 26.5-25F71\n\tTitle: macOS Tahoe 26.5, Version: 26.5, Size: 3690218KiB, "
            "Recommended: YES, Action: restart, ",
            [
                ("Command Line Tools for Xcode 26.5-26.5", False, ""),
                ("macOS Tahoe 26.5-25F71", True, "26"),
            ],
        ),
        ("", []),
    ],
)
def test_the_list_is_read_as_softwareupdate_writes_it(said, expected):
    assert softwareupdate.parse(said) == expected


def test_what_needs_no_restart_is_installed_once_and_the_rest_is_named(mac, capsys):
    model = mac([QUIET, LOUD])
    system.update(model.c)
    assert model.whys == ["ask Apple for updates", f"install {QUIET[0]}"]
    assert model.wrote(f"install {QUIET[0]}").command.startswith(
        f"softwareupdate -i '{QUIET[0]}' && "
    )
    assert (
        f"not installed yet, needs a restart: {LOUD[0]}; set reboot: true"
        in capsys.readouterr().out
    )
    system.update(model.again())
    assert model.whys == []


@pytest.mark.parametrize("machine", ["arm64", "x86_64"])
def test_another_macos_is_named_and_left_to_its_owner(mac, machine, capsys):
    model = mac([QUIET, LOUD, ("macOS Sequoia 15.7-24G1", True)], machine=machine, reboot=True)
    model.sections["system"]["version"] = "15.3"
    system.update(model.c)
    said = capsys.readouterr()
    commands = "".join(write.command for write in model.writes) + said.err
    assert "macOS Sequoia 15.7-24G1" in commands and LOUD[0] not in commands
    assert f"{LOUD[0]}: a new macOS is yours to install" in said.out


def test_an_update_that_did_not_install_is_reported(mac, monkeypatch, capsys):
    """softwareupdate exits with 0 even so."""
    model = mac([QUIET])
    softwareupdate.refresh(model.c)
    effects = [
        (pattern, (lambda *words: None) if "softwareupdate -i" in pattern else effect)
        for pattern, effect in fake_commands.EFFECTS
    ]
    monkeypatch.setattr(fake_commands, "EFFECTS", effects)
    softwareupdate.upgrade(model.c)
    assert (
        f"{QUIET[0]} did not install: /var/log/install.log there says why"
        in capsys.readouterr().err
    )


def test_apple_silicon_takes_an_owner_s_password(mac, capsys):
    model = mac([LOUD], reboot=True)
    system.update(model.c)
    said = capsys.readouterr().err
    assert (
        model.whys == ["ask Apple for updates"]
        and "softwareupdate -i -R" in said
        and "--user admin" in said
    )


def test_intel_installs_and_waits_for_the_new_boot(mac):
    model = mac([LOUD], machine="x86_64", reboot=True)
    system.update(model.c)
    assert model.whys == [
        "ask Apple for updates",
        f"install {LOUD[0]} and restart",
        "ask Apple for updates",
    ]
    assert model.updates == [] and ("admin", 22) in model.logins


@pytest.mark.parametrize("machine", ["arm64", "x86_64"])
def test_filevault_comes_before_any_restart(mac, machine):
    model = mac([LOUD], machine=machine, reboot=True)
    model.sections["updates"]["filevault"] = "yes"
    with pytest.raises(
        SetupError,
        match=r"FileVault is on.*reboot: false leaves that out.*sudo fdesetup authrestart",
    ):
        system.update(model.c)
    with pytest.raises(SetupError, match="FileVault is on"):
        system.reboot(model.again())
    assert "reboot" not in model.whys


def test_a_restart_waits_for_the_new_boot(mac):
    model = mac()
    system.reboot(model.c)
    assert model.whys == ["reboot"] and model.logins


# Sleep -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sleep", "wanted", "whys"), [("10", True, [AWAKE]), ("10", False, []), ("0", True, [])]
)
def test_a_mac_that_sleeps_is_told_and_changed_only_when_asked(mac, capsys, sleep, wanted, whys):
    model = mac(keep_awake=wanted)
    model.sections["power"]["sleep"] = sleep
    power.keep_awake(model.c)
    assert model.whys == whys and ("sleeps after 10 min" in capsys.readouterr().err) is (
        sleep == "10" and not wanted
    )
    power.keep_awake(model.again())
    assert model.whys == []


@pytest.mark.parametrize(
    ("name", "value", "whys"),
    [("autorestart", "0", [AWAKE]), ("womp", "0", [AWAKE]), ("autorestart", "1", [])],
)
def test_one_that_never_sleeps_is_to_start_after_a_power_cut_as_well(mac, name, value, whys):
    model = mac(keep_awake=True)
    model.sections["power"] |= {"sleep": "0", name: value}
    power.keep_awake(model.c)
    assert model.whys == whys and power.keep_awake(model.again()) is None and model.whys == []


def test_a_server_of_debian_needs_none_of_it(fake, capsys):
    model = fake()
    power.keep_awake(model.c)
    assert model.whys == [] and "do not go to sleep" in capsys.readouterr().out


# Programs ----------------------------------------------------------------------------------------


def test_tmux_comes_from_conda_forge_where_there_is_none(mac):
    model = mac()
    del model.sections["system"]["package.tmux"]
    lab.start(model.c)
    assert model.whys[-2:] == ["install tmux", "start JupyterLab"]
    assert model.wrote("install tmux").user == "lab"
    assert "/opt/homebrew/bin" in model.wrote("start JupyterLab").command


@pytest.mark.parametrize(
    ("missing", "said"),
    [("tmux", "there is no tmux: set python"), ("python3", "needs a python3 of 3.10")],
)
def test_what_only_the_owner_can_bring_is_asked_for_first(mac, missing, said):
    model = mac(python="venv")
    del model.sections["system"][f"package.{missing}"]
    with pytest.raises(SetupError, match=said):
        mac_programs.refuse_missing_programs(model.c)
    assert model.writes == []


def test_zsh_reads_other_files_than_bash(mac):
    model = mac()
    python.init_shell(model.c)
    assert (
        model.wrote("set up conda in login shells").command
        == "~/miniforge3/bin/conda init bash zsh"
    )
    model = mac(python="venv")
    python.init_shell(model.again())
    assert model.writes[-1].command.endswith(">>/Users/lab/.zprofile")


# launchd -----------------------------------------------------------------------------------------


def test_launchd_starts_it_as_its_account(mac):
    """launchd, which is root, opens no log: the account does, for itself alone."""
    model = mac()
    autostart.service(model.c)
    assert model.whys[-2:] == ["make launchd start JupyterLab at boot", "start JupyterLab"]
    made = model.wrote("make launchd start JupyterLab at boot")
    assert (made.path, made.user, made.mode, made.check) == (
        launchd.PLIST,
        "root",
        "644",
        'plutil -lint -s "$NEW"',
    )
    plist = plistlib.loads(made.text.encode())
    assert (
        plist["UserName"] == "lab"
        and plist["RunAtLoad"]
        and plist["KeepAlive"] == {"SuccessfulExit": False}
    )
    assert plist["ProgramArguments"][2].startswith(
        'umask 077; exec "$HOME"/miniforge3/bin/jupyter-lab '
    )
    assert (
        plist["EnvironmentVariables"]["HOME"] == "/Users/lab"
        and not {"StandardOutPath", "StandardErrorPath"} & plist.keys()
    )
    autostart.service(model.again())
    assert model.whys == []


def test_it_is_stopped_started_and_taken_from_launchd(mac):
    model = mac()
    autostart.service(model.c)
    model.answers = [(r"\[activity\]", Result(0, "[activity]\n", ""))]
    lab.stop(model.again())
    assert (
        model.whys == ["stop JupyterLab"]
        and model.writes[-1].command == "unload_daemon org.labfab.jupyter"
    )
    lab.start(model.again())
    assert model.whys == ["start JupyterLab"]
    autostart.service(model.again(), remove=True)
    assert model.whys == [
        "stop JupyterLab",
        "remove JupyterLab's job from launchd",
        "start JupyterLab",
    ]
    assert "tmux new-session" in model.writes[-1].command


def test_where_launchd_starts_it_no_tmux_is_needed_until_it_goes_back(mac):
    model = mac(python="venv")
    model.sections["python"]["prefix"] = "/Users/lab/jupyter-venv"
    del model.sections["system"]["package.tmux"]
    autostart.service(model.c)
    lab.start(model.again())
    with pytest.raises(SetupError, match="there is no tmux"):
        autostart.service(model.again(), remove=True)
    assert model.whys == []
