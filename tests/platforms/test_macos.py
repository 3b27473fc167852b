"""A Mac is set up as guide 000 has it, on a model: the account, who may log in, keys only, the port; and what is refused."""

import plistlib
import subprocess

import pytest

from labfab import setup
from labfab.errors import SetupError
from labfab.facts import facts
from labfab.host.changes import fill
from labfab.host.session import Host
from labfab.laptop import openssh
from labfab.local_state import secrets
from labfab.on_host import loader
from labfab.platforms import macos, platform
from labfab.settings import Settings
from labfab.stages import firewall, user
from labfab.stages.keys import authorized_keys, rotation
from labfab.stages.ssh import algorithms, hardening, remote_login
from tests.fake import alone, fake  # noqa: F401
from tests.fake_mac import turn_into_mac
from tests.platforms.test_algorithms import DEBIAN_12

ACCESS = (
    user.add,
    authorized_keys.copy,
    remote_login.restrict,
    hardening.disable_passwords,
    hardening.disable_root,
    hardening.change_port,
)


@pytest.fixture
def mac(fake):  # noqa: F811
    """A model of a Mac that an administrator logs in to."""
    return lambda dry=False, **lab: turn_into_mac(fake("admin", dry, **lab))


def go(model, *stages) -> list[str]:
    for stage in stages:
        stage(model.c)
    return model.whys


def test_the_guide_step_by_step_and_then_nothing_more(mac):
    model = mac()
    assert go(model, *ACCESS) == [
        "add the account lab",
        "make /Users/lab",
        "hide lab in the login window",
        "stop the login window from offering other accounts",
        "make /Users/admin/.ssh private",
        "let your key log in as admin",
        "make /Users/lab/.ssh private",
        "let your key log in as lab",
        "let only administrators, admin and lab log in over SSH",
        "refuse passwords for every user",
        "refuse logins as root",
        "let sshd listen on port 292 too",
        "make launchd listen there",
    ]
    model.again()
    assert go(model, *ACCESS) == []


def test_a_plan_tells_what_a_run_does(mac):
    model = mac()
    go(model, *ACCESS)
    dry = mac(dry=True)
    for stage in ACCESS:
        stage(dry.c)
    assert [
        why for why in dry.planned if not why.startswith(("remember", "let homelab lead"))
    ] == model.whys


def test_the_password_of_the_account_goes_over_standard_input_and_is_kept_here(mac):
    model = mac()
    user.add(model.c)
    value = secrets.load("homelab", macos.SECRET).reveal()
    made = model.wrote("add the account lab")
    assert made.stdin == value and value not in made.command


def test_the_administrator_stays_as_it_is(mac):
    """labfab does not change the groups, password and shell of the account that logs in."""
    model = mac()
    before = {
        key: value for key, value in model.sections["accounts"].items() if key.startswith("admin.")
    }
    user.add(model.c)
    assert {key: model.sections["accounts"][key] for key in before} == before


def test_an_account_of_labfabs_that_is_shown_is_hidden_and_anothers_is_not(mac):
    """Two commands make it and hide it, and the connection may break between them."""
    model = mac()
    user.add(model.c)
    del model.sections["accounts"]["lab.hidden"]
    user.add(model.again())
    assert model.whys == ["hide lab in the login window"]
    del model.sections["accounts"]["lab.hidden"], model.sections["accounts"]["lab.ours"]
    model.lab["take_over"] = ["lab"]
    user.add(model.again())
    assert model.whys == []


def test_who_may_use_sudo_and_is_no_administrator_is_made_none(mac):
    model = mac()
    model.sections["accounts"]["admin.groups"] = "staff"
    with pytest.raises(SetupError, match="admin is not an administrator of this Mac"):
        user.add(model.c)
    assert model.writes == []


@pytest.mark.parametrize(
    "state, kept, others", [("on", "user:ada ", " and the user ada"), ("off", "", "")]
)
def test_the_list_has_the_administrators_first_and_keeps_who_is_on_it(mac, state, kept, others):
    """Unless that list was not in force; the undo names the earlier list."""
    model = mac()
    authorized_keys.copy(model.c)
    model.sections["ssh"] |= {"access": state, "member.user:ada": "yes"}
    model.again()
    remote_login.restrict(model.c)
    wanted = f"group:admin {kept}user:admin user:lab"
    assert (
        model.writes[0].command == f"set_access on {wanted}"
        and f"admin and lab{others} log in" in model.whys[0]
    )
    assert f'"undo": ["set_access {state} group:admin user:ada"]' in "".join(model.told)
    assert model.logins[-2:] == [("lab", 22), ("admin", 22)]  # both got in, before it was kept


def test_a_new_key_opens_both_accounts_and_the_old_one_none(mac, monkeypatch):
    model = mac()
    authorized_keys.copy(model.c)
    old = model.file("accounts", "lab.keys")
    model.again()
    # The model's sshd looks at no key.
    monkeypatch.setattr(rotation, "prove_refused", lambda c, want, path: None)
    rotation.rotate(model.c)
    new = model.file("accounts", "admin.keys")
    assert new and old and new != old and model.file("accounts", "lab.keys") == new


def test_a_list_that_shuts_out_is_taken_back(mac):
    model = mac()
    authorized_keys.copy(model.c)
    model.again()
    model.refused_logins = 1
    with pytest.raises(SetupError, match="could not let only the accounts.*reverted everything"):
        remote_login.restrict(model.c)
    assert model.guard == ["arm", "revert"]


def test_nothing_else_is_ever_in_the_folder_of_sshd(tmp_path):
    """There every file counts, so a new one is written outside the folder; undo and revert do so too."""
    folder = tmp_path / "ssh" / "sshd_config.d"
    folder.mkdir(parents=True)
    path, seen = folder / "000-labfab.conf", tmp_path / "seen"
    script = fill(
        loader.as_command("put", 3),
        str(path),
        "644",
        f'ls "{folder}" >"{seen}"; cat "$NEW" >>"{seen}"',
    )
    subprocess.run(["sh", "-c", script], input="PermitRootLogin no\n", text=True, check=True)
    assert seen.read_text() == path.read_text() == "PermitRootLogin no\n" and [
        *folder.iterdir()
    ] == [path]
    named = subprocess.run(
        ["sh", "-c", f'{loader.shared("words")}new_name "{path}"'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert named.stdout == f"{tmp_path}/ssh/000-labfab.conf.labfab-new\n"


def test_the_job_of_sshd_is_apples_but_for_the_label_and_the_port(mac):
    """The wrapper refuses arguments, so only its name is given."""
    job = plistlib.loads(macos.plist([292]).encode())
    assert (job["Label"], job["Sockets"]) == (
        "org.labfab.sshd",
        {"Listeners": {"SockServiceName": "292"}},
    )
    assert job["ProgramArguments"] == ["sshd-keygen-wrapper"] and job["inetdCompatibility"] == {
        "Wait": False,
        "Instances": 42,
    }
    assert not {"Disabled", "Bonjour"} & {*job}


def test_remote_login_keeps_its_port_unless_it_is_told_to_close(mac):
    model = mac(close_port_22=True)
    go(model, authorized_keys.copy, hardening.change_port)
    assert facts(model.c).ssh.ports == {22, 292}
    model.again()
    remote_login.close_port_22(model.c)
    # The run moved to the other port first.
    assert model.whys == ["close port 22"] and Host.of(model.c).c.port == 292
    model.again()
    model.c.port = 292
    assert go(model, hardening.change_port, remote_login.close_port_22) == []


def test_port_22_does_not_close_where_it_is_the_only_one(mac):
    model = mac()
    with pytest.raises(SetupError, match="sshd listens on port 22 only: ssh.change-port first"):
        remote_login.close_port_22(model.c)
    assert model.writes == []


def test_another_port_of_ours_is_listened_at_beside_the_old_one_first(mac):
    model = mac()
    go(model, authorized_keys.copy, hardening.change_port)
    model.again()
    hardening.change_port(model.c, port=2200)
    texts = [
        plistlib.loads(write.text.encode())["Sockets"]["Listeners"]
        for write in model.writes
        if write.path
    ]
    assert texts == [
        [{"SockServiceName": "292"}, {"SockServiceName": "2200"}],
        {"SockServiceName": "2200"},
    ]
    assert facts(model.c).ssh.ports == {22, 2200}


def test_its_firewall_is_told_of_and_left_alone(mac, capsys):
    model = mac()
    model.sections["firewall"]["active"] = "yes"
    firewall.enable(model.c)
    assert model.whys == [] and "own firewall is on and stays so" in capsys.readouterr().out


@pytest.mark.parametrize(
    "settings, account",
    [({}, "lab"), ({"lab_user": "remote"}, "remote"), ({"user": "admin"}, "admin")],
)
def test_who_runs_jupyterlab(mac, settings, account):
    """The name in `user` is that of guide 000's account; with the name of the login, that one runs it."""
    model = mac(**settings)
    Host.of(model.c).open()
    want = Settings.of(model.c)
    assert (want.user, want.jupyter_user) == ("admin", account)


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"publish": "apache"}, "apache is for Debian and Ubuntu"),
        (
            {"publish": "https", "certificate": "letsencrypt", "names": ["lab.example.org"]},
            "letsencrypt is for Debian and Ubuntu",
        ),
    ],
)
def test_what_is_for_linux_is_refused_before_the_mac_is_touched(mac, settings, words):
    model = mac(**settings)
    with pytest.raises(SetupError, match=words):
        setup.full(model.c)
    assert model.writes == []


@pytest.mark.parametrize("version", ["12.7.6", "13.0", "14.8", "15.7.1", "26.5"])
def test_these_releases_are_set_up(fake, version):  # noqa: F811
    assert platform(turn_into_mac(fake("admin"), version=version).c) is macos


@pytest.mark.parametrize("version", ["11.7.10", "10.15", "27.0"])
def test_other_releases_are_refused_by_name(fake, version):  # noqa: F811
    model = turn_into_mac(fake("admin"), version=version, name=f"macOS {version}")
    with pytest.raises(
        SetupError, match=f"runs macOS {version}: labfab sets up .*macOS 12, 13, 14, 15, 26"
    ):
        platform(model.c)


def test_setup_macos_is_for_macs_alone(fake):  # noqa: F811
    with pytest.raises(SetupError, match="setup.macos is for Macs, this is Debian"):
        setup.macos_(fake().c)


def test_setup_ubuntu_is_not_for_macs(mac):
    with pytest.raises(
        SetupError, match="setup.ubuntu is for Debian and Ubuntu, this is macOS 26.5"
    ):
        setup.ubuntu(mac().c)


@pytest.mark.parametrize(
    "said, words",
    [
        (
            "2026-06-24 21:49:30.218 sysadminctl[24957:6712781] ### Error:-14120 File:/x/DSRecord.m Line:418",
            "Allow full disk access",
        ),
        (
            "2026-06-24 21:49:30.218 sysadminctl[1:2] -------\n2026-06-24 21:49:30.218 sysadminctl[1:2] Operation is not permitted",
            "Operation is not permitted",
        ),
    ],
)
def test_what_sysadminctl_says_is_told_in_words(said, words):
    assert words in macos.explain(said) and "sysadminctl[" not in macos.explain(said)


def test_weak_algorithms_go_in_the_same_file_and_apples_list_is_not_widened(mac, monkeypatch):
    """Apple's crypto.conf leaves out more than OpenSSH does, and our line would win over it."""
    monkeypatch.setattr(openssh, "capabilities", lambda host: {})
    model = mac()
    go(model, *ACCESS)
    apples = "hmac-sha2-512-etm@openssh.com,hmac-sha1"
    model.sshd_defaults = {"macs": DEBIAN_12["MACs"]}
    model.sections["ssh"] |= {"sshd.macs": apples, "host_key.ssh-ed25519": "AAAA"}
    model.again()
    assert go(model, algorithms.harden) == [
        "stop offering hmac-sha1*",
        "keep what another file leaves out of MACs",
    ]
    assert model.sections["ssh"]["sshd.macs"] == "hmac-sha2-512-etm@openssh.com"
    assert model.writes[-1].path == macos.DROP_IN
    model.again()
    assert go(model, algorithms.harden) == []
