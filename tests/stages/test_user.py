"""An account with sudo; if set, another without for JupyterLab."""

import pytest

from labfab.errors import SetupError
from labfab.host.session import Host
from labfab.local_state import secrets
from labfab.stages import user
from labfab.stages.keys import authorized_keys

BARE = [
    "install sudo",
    "add the account lab",
    "add lab to the group sudo",
    "give lab a password for sudo",
]


def test_a_bare_host_gets_the_account(fake):
    """Four changes in this order; the next run makes none."""
    model = fake()
    user.add(model.c)
    assert model.whys == BARE
    user.add(model.again())
    assert model.whys == []


def test_the_password_goes_over_standard_input_only(fake, capsys):
    """The password is stored on the laptop; no command, journal line or message has it."""
    model = fake()
    user.add(model.c)
    value = secrets.load("homelab", "sudo-password").reveal()
    made = model.wrote(BARE[3])
    assert made.stdin == f"lab:{value}\n" and value not in made.command + made.why
    assert sum(value in told for told in model.told) == 1
    assert value not in str(capsys.readouterr())


@pytest.mark.parametrize("value", ['it\'s "$HOME" `id` \\n %s', "  Käse € ", "a:b:c"])
def test_a_given_password_arrives_as_it_is(fake, monkeypatch, value):
    """Quotes, $, backslash, spaces, umlauts and colons reach chpasswd unchanged."""
    monkeypatch.setenv("LABFAB_SUDO_PASSWORD", value)
    model = fake()
    user.add(model.c)
    assert model.sudo_passwords["lab"] == value


def test_an_existing_account_is_kept_as_it_is(fake):
    """An existing account keeps its shell, home, groups and password; only sudo is added."""
    model = fake()
    model.install("sudo")
    model.add_account("lab", home="/srv/lab", shell="/bin/zsh", groups="lab docker", password="P")
    before = dict(model.sections["accounts"])
    user.add(model.c)
    assert model.whys == ["add lab to the group sudo"]
    changed = {key for key, value in model.sections["accounts"].items() if before.get(key) != value}
    assert changed == {"lab.groups"}


@pytest.mark.parametrize(
    ("lab", "more", "closed"),
    [
        ({}, {"home_stat": "755 lab"}, "700 lab"),
        ({}, {"home_stat": "750 lab"}, "700 lab"),
        ({}, {"home_stat": "755 lab", "serves": "yes"}, "711 lab"),
        ({"webroot": "/home/lab/www"}, {"home_stat": "755 lab"}, "711 lab"),
        ({}, {"home_stat": "755 root"}, "755 root"),
    ],
)
def test_the_home_of_jupyterlab_is_closed_to_other_accounts(fake, lab, more, closed):
    """Also one that was there before; a web server may still pass through to its files."""
    model = fake(**lab)
    model.install("sudo")
    model.add_account("lab", groups="lab sudo", password="P", **more)
    user.add(model.c)
    wanted = ["close /home/lab to other accounts"] if closed != more["home_stat"] else []
    assert model.whys == wanted and model.sections["accounts"]["lab.home_stat"] == closed
    user.add(model.again())
    assert model.whys == []


def test_with_two_accounts_the_other_home_stays_as_it_is(fake):
    model = fake(lab_user="jupyter")
    user.add(model.c)
    model.sections["accounts"] |= {"lab.home_stat": "755 lab", "jupyter.home_stat": "755 jupyter"}
    user.add(model.again())
    assert model.whys == ["close /home/jupyter to other accounts"]


def test_a_home_that_is_missing_is_named_before_any_change(fake):
    model = fake()
    model.install("sudo")
    model.add_account("lab", groups="lab sudo", password="P")
    del model.sections["accounts"]["lab.home_stat"]
    with pytest.raises(SetupError, match="the home /home/lab of lab is missing or does not answer"):
        user.add(model.c)
    assert model.writes == []


# Accounts of somebody else -----------------------------------------------------------------------

KEYS = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOldKeyOfTheOwner ada@old\n# a note\n"


@pytest.mark.parametrize(
    "settings, key, name",
    [({}, "user", "lab"), ({"lab_user": "jupyter"}, "lab_user", "jupyter")],
)
def test_an_account_of_somebody_else_is_not_taken_over_unasked(fake, settings, key, name):
    """Before any change, in one line: what would open it, and the setting that agrees to it."""
    model = fake(**settings)
    model.add_account(name, foreign=True, password="P")
    model.set_file("accounts", f"{name}.keys", KEYS, f"600 {name}")
    with pytest.raises(SetupError) as refused:
        user.add(model.c)
    text = refused.value.text
    assert model.writes == [] and "\n" not in text
    assert f"the account {name} exists already" in text and f"take_over: [{name}]" in text
    assert f"its own password and 1 key in /home/{name}/.ssh/authorized_keys" in text
    assert f"choose another {key}" in text


@pytest.mark.parametrize("mark", ["ours", "known"])
def test_an_account_that_labfab_made_or_worked_with_is_not_asked_about(fake, mark):
    """Hosts that earlier versions set up go on as they are."""
    model = fake()
    model.add_account("lab", foreign=True, **{mark: "yes"})
    user.add(model.c)
    assert "add lab to the group sudo" in model.whys


def test_the_login_itself_is_not_asked_about(fake):
    """Who logs in as that account may use it."""
    model = fake("lab")
    model.add_account("lab", foreign=True, password="P", groups="lab sudo")
    user.add(model.c)
    assert model.whys == ["install sudo"]


@pytest.mark.parametrize("key", ["user", "lab_user"])
def test_an_account_of_a_service_is_never_taken_over(fake, key):
    """Even if the setting names it: its files and its rights belong to a service."""
    model = fake(**{key: "postgres", "take_over": ["postgres"]})
    model.add_account("postgres", uid=114, foreign=True, service="yes", shell="/usr/sbin/nologin")
    with pytest.raises(SetupError, match="the account postgres belongs to a service"):
        user.add(model.c)
    assert model.writes == []


def test_an_account_that_is_taken_over_gets_sudo_only_together_with_your_key(fake, capsys):
    """In a setup, user.add gives nothing yet; keys.copy gives it inside its window."""
    model = fake(take_over=["lab"])
    model.add_account("lab", foreign=True)
    model.set_file("accounts", "lab.keys", KEYS, "600 lab")
    with Host.of(model.c).filed_under("setup"):
        user.add(model.c)
    assert model.whys == ["install sudo"]
    assert "lab is taken over; 1 key in /home/lab/.ssh/authorized_keys" in capsys.readouterr().err
    model.again()
    model.refused_logins = 1
    with pytest.raises(SetupError, match="reverted everything"):
        authorized_keys.copy(model.c)
    assert model.guard == ["arm", "revert"]
    assert {"add lab to the group sudo", "give lab a password for sudo"} <= set(model.whys)
    authorized_keys.copy(model.again())
    assert "add lab to the group sudo" in model.whys and model.logins == [("lab", 22)]


def test_in_a_setup_an_account_gets_sudo_and_a_password_only_with_your_key(fake):
    """Where passwords still log in, an account that is not proven would be open from outside."""
    model = fake()
    with Host.of(model.c).filed_under("setup"):
        user.add(model.c)
    assert model.whys == BARE[:2]
    model.again()
    model.refused_logins = 1
    with pytest.raises(SetupError, match="reverted everything"):
        authorized_keys.copy(model.c)
    assert model.sections["accounts"]["lab.password"] == "L"
    assert model.sections["accounts"]["lab.groups"] == "lab"
    authorized_keys.copy(model.again())
    assert model.whys[:2] == BARE[2:] and model.guard == ["arm", "disarm"]
    assert model.sections["accounts"]["lab.password"] == "P"


# What an earlier account left -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        ("folder 1500 UNKNOWN 755", "/home/lab is there already and belongs to uid 1500: choose"),
        ("folder 501 501 755", "/home/lab is there already and belongs to uid 501: choose"),
        ("folder 1001 bob 755", "belongs to bob: choose another user, or move it away"),
        ("folder 0 root 755", "/home/lab is there already and belongs to root"),
        ("link /srv/lab home", "/home/lab is there already, a link to /srv/lab home"),
        ("file 0 root 644", "/home/lab is there already and is no folder"),
        ("silent", "/home/lab is there already and does not answer"),
    ],
)
def test_an_old_home_is_not_inherited(fake, seen, says):
    """The keys in it would open the new account, with sudo."""
    for task in (user.add, authorized_keys.copy):
        model = fake()
        model.sections["accounts"] |= {"lab.left.home": "/home/lab", "lab.left.seen": seen}
        with pytest.raises(SetupError, match=says):
            task(model.c)
        assert model.writes == []


@pytest.mark.parametrize(
    ("stat", "keys", "path"),
    [
        ("755 bob", "600 lab", "/home/lab belongs to bob"),
        ("700 lab", "600 bob", "/home/lab/.ssh/authorized_keys belongs to bob"),
        ("755 UNKNOWN", "600 lab", "/home/lab belongs to an account that is gone"),
    ],
)
def test_keys_that_sshd_does_not_take_are_not_made_good(fake, stat, keys, path):
    """The account was made anew, by hand, on an old home."""
    model = fake(take_over=["lab"])
    model.add_account("lab", foreign=True, home_stat=stat)
    model.set_file("accounts", "lab.keys", KEYS, keys)
    with pytest.raises(SetupError, match=f"{path}, not to lab"):
        user.add(model.c)
    assert model.writes == []


def test_nothing_that_is_left_is_no_obstacle(fake):
    """The home is made where the host's useradd makes it."""
    model = fake()
    model.sections["accounts"]["lab.left.home"] = "/srv/homes/lab"
    user.add(model.c)
    assert model.whys == BARE and "/srv/homes/lab" in "".join(model.told)


def test_jobs_keys_and_a_group_of_an_account_that_is_gone_are_named_together(fake):
    model = fake()
    model.sections["accounts"] |= {
        "lab.left.home": "/home/lab",
        "lab.left.jobs.1": "/var/spool/cron/crontabs/lab",
        "lab.left.group": "yes",
    }
    model.sections["ssh"] |= {
        "lab.permitrootlogin": "no",
        "lab.left_keys.1": "/etc/ssh/keys/lab",
    }
    with pytest.raises(SetupError) as refused:
        user.add(model.c)
    assert refused.value.text == (
        "/var/spool/cron/crontabs/lab would run as lab; "
        "the group lab is there already (groupdel lab removes it); "
        "/etc/ssh/keys/lab has keys to it: choose another user, or move them away"
    )


def test_a_rule_for_the_name_is_said_and_stops_only_lab_user(fake, capsys):
    rule = "/etc/sudoers.d/x:1:lab ALL=(ALL) ALL"
    model = fake()
    model.sections["accounts"] |= {"lab.left.home": "/home/lab", "lab.left.rule": rule}
    user.add(model.c)
    assert f"a rule for lab is there already: {rule}" in capsys.readouterr().err
    Host.sessions.clear()
    model = fake(user="ada", lab_user="lab")
    model.sections["accounts"] |= {"lab.left.home": "/home/lab", "lab.left.rule": rule}
    with pytest.raises(SetupError, match="a rule may let it become root .*another lab_user"):
        user.add(model.c)
    assert model.writes == []


# What sudo keeps ------------------------------------------------------------------------------------

LOG = {
    "sudoers.log": "/var/log/sudo-io/00/00/01/stdin",
    "sudoers.log_line": "/etc/sudoers.d/io:1:Defaults log_input",
}


def test_no_secret_is_sent_to_a_sudo_that_keeps_it_unless_that_is_wanted(fake, capsys):
    model = fake("debian")
    model.sections["accounts"] |= LOG
    with pytest.raises(SetupError) as refused:
        user.add(model.c)
    text = refused.value.text
    assert model.writes == [] and "/etc/sudoers.d/io:1:Defaults log_input" in text
    assert "in /var/log/sudo-io/00/00/01/stdin" in text and "LABFAB_ACCEPT=sudo-log" in text
    Host.sessions.clear()
    model = fake("debian", accept=["sudo-log"])
    model.sections["accounts"] |= LOG
    user.add(model.c)
    assert model.whys == BARE and "sudo keeps what labfab types" in capsys.readouterr().err
    model.again()
    user.add(model.c)  # nothing secret is left to send
    assert model.whys == [] and "sudo keeps" not in capsys.readouterr().err


def test_a_plan_says_that_sudo_keeps_what_is_typed_and_goes_on(fake, capsys):
    model = fake("debian", dry=True)
    model.sections["accounts"] |= LOG
    user.add(model.c)
    said = capsys.readouterr()
    assert "accept: [sudo-log]" in said.out and "sudo keeps" in said.err


def test_sudo_without_a_password_is_checked_by_visudo(fake):
    """sudo: nopasswd writes one read-only file, which visudo checks before sudo reads it."""
    model = fake(sudo="nopasswd")
    user.add(model.c)
    made = model.wrote("let lab use sudo without a password")
    assert (made.path, made.mode, made.text) == (
        "/etc/sudoers.d/90-labfab",
        "440",
        "lab ALL=(ALL:ALL) NOPASSWD: ALL\n",
    )
    assert "visudo -c" in made.check and '"$NEW"' in made.check
    user.add(model.again())
    assert model.whys == []


def test_an_account_of_its_own_for_lab(fake):
    """lab_user is added without sudo and without a password."""
    model = fake(lab_user="jupyter")
    user.add(model.c)
    assert model.whys == [*BARE, "add the account jupyter"]
    assert model.sections["accounts"]["jupyter.groups"] == "jupyter"


@pytest.mark.parametrize(
    "group", ["docker", "lxd", "incus", "disk", "libvirt", "adm", "shadow", "systemd-journal"]
)
def test_a_lab_user_that_can_become_root_is_refused(fake, group):
    """Groups that are as good as sudo are named; nothing is changed."""
    model = fake(lab_user="boss")
    model.add_account("boss", groups=f"boss users {group}")
    with pytest.raises(
        SetupError, match=rf"lab_user boss can become root \(by the group {group}\)"
    ):
        user.add(model.c)
    assert model.writes == []


@pytest.mark.parametrize("rules", ["sudo", "doas", "doas sudo"])
def test_a_lab_user_with_a_rule_in_any_file_is_refused(fake, rules):
    """sudo's and doas' rules count wherever they are."""
    model = fake(lab_user="boss")
    model.add_account("boss", rules=rules)
    with pytest.raises(SetupError, match=f"a rule of {rules.split()[0]}"):
        user.add(model.c)
    assert model.writes == []


@pytest.mark.parametrize("group", ["sudo", "admin"])
def test_a_lab_user_with_sudo_is_refused_before_anything_is_done(fake, group):
    """A lab_user that may use sudo is a mistake: the stage stops and changes nothing."""
    model = fake(lab_user="boss")
    model.add_account("boss", groups=f"boss {group}")
    with pytest.raises(SetupError, match="lab_user boss may use sudo"):
        user.add(model.c)
    assert model.writes == []


def test_sudo_without_a_password_that_locks_out_is_taken_back(fake):
    """If the login fails afterwards, the file is removed and the error says so."""
    model = fake(sudo="nopasswd")
    model.refused_logins = 1
    with pytest.raises(
        SetupError,
        match="could not let lab use sudo without a password: .*refused; .*reverted everything",
    ):
        user.add(model.c)
    assert model.guard == ["arm", "revert"] and "sudoers.text" not in model.sections["accounts"]


def test_a_failed_command_is_reported(fake):
    """The host's own error fits on one line; the next run continues where this one stopped."""
    model = fake()
    model.failing = {"usermod": "usermod: group 'sudo' does not exist"}
    with pytest.raises(
        SetupError,
        match="could not add lab to the group sudo: usermod: group 'sudo' does not exist",
    ):
        user.add(model.c)
    model.failing = {}
    user.add(model.again())
    assert model.whys == BARE[2:]
