"""Your key opens the host; the keys that opened it before still do."""

import paramiko
import pytest

from labfab.errors import SetupError
from labfab.host.session import Host
from labfab.local_state import keypair, ssh_config
from labfab.stages.keys import authorized_keys, rotation

ADD = "let your key log in as lab"
THEIRS = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOfSomebodyWhoCouldBecomeRootBefore them"


def line(comment: str = "old", options: str = "") -> str:
    key = paramiko.ECDSAKey.generate()
    return f"{options}{key.get_name()} {key.get_base64()} {comment}"


def own(alone) -> str:
    return keypair.public_line(alone / "home/.ssh/id_ed25519")


def ready(model, keys_text: str | None = None, stat: str = "600 lab", **account):
    """A host where the account exists already."""
    model.install("sudo")
    model.add_account("lab", groups="lab sudo", password="P", ssh_stat="700 lab", **account)
    if keys_text is not None:
        model.set_file("accounts", "lab.keys", keys_text, stat)
    return model


def test_a_new_key_is_made_and_let_in(fake, alone):
    """A laptop without a key gets one, and only its public half is sent."""
    model = ready(fake())
    authorized_keys.copy(model.c)
    made = model.wrote(ADD)
    assert (made.path, made.user, made.mode) == ("/home/lab/.ssh/authorized_keys", "lab", "600")
    assert made.text == own(alone) + "\n"
    private = (alone / "home/.ssh/id_ed25519").read_text().splitlines()[2]
    assert not any(private in told for told in model.told)


def test_the_login_is_proven_and_remembered(fake, alone):
    """A fresh login as the new user precedes the alias; a second run changes nothing."""
    model = fake()
    authorized_keys.copy(model.c)
    assert model.logins[-1] == ("lab", 22)
    block = ssh_config.read(alone / "home/.ssh/config")[0]
    assert (block.user, block.port, block.former_logins) == ("lab", 22, "root@203.0.113.5:22")
    authorized_keys.copy(model.again())
    assert model.planned == []


def test_the_keys_of_root_come_along(fake, alone):
    """Guide 003: root's keys open the new account, except cloud images' forced commands."""
    forced = line(
        "ubuntu",
        'no-port-forwarding,command="echo \'Please login as the user \\"ubuntu\\"\';sleep 10" ',
    )
    good = [line("one"), line("two words", 'from="203.0.113.0/24" ')]
    model = ready(fake())
    model.set_file(
        "accounts", "root.keys", "\n".join(["# comment", "", good[0], forced, good[1]]), "600 root"
    )
    authorized_keys.copy(model.c)
    assert model.writes[-1].text.splitlines() == [own(alone), *good]
    assert model.writes[-1].why == "let 3 keys log in as lab"


def test_each_key_is_shown_with_where_it_is_from_and_its_limits(fake, alone, capsys):
    """Anybody may have chosen a comment."""
    hostile = line("a\x1b[2J\u202eb" + "c" * 80, 'from="10.0.0.0/8",no-pty ')
    given = line("friend@x")
    model = ready(fake(public_keys=[given]))
    model.set_file("accounts", "root.keys", f"{hostile}\n{THEIRS}\n", "600 root")
    authorized_keys.copy(model.c)
    out = capsys.readouterr().out
    assert "made a new key pair on your laptop" in out and "without a passphrase" in out
    said = [one for one in out.splitlines() if ", from " in one]
    assert f", from your laptop, {alone}/home/.ssh/id_ed25519 (SHA256:" in said[0]
    assert said[1].startswith("  friend@x, from the setting public_keys (SHA256:")
    start = f"  a?[2J?b{'c' * 53}…, from /root/.ssh/authorized_keys (SHA256:"
    assert said[2].startswith(start) and said[2].endswith('; from="10.0.0.0/8",no-pty)')
    assert said[3].startswith("  them, from /root/.ssh/authorized_keys")
    authorized_keys.copy(model.again())
    assert ", from " not in capsys.readouterr().out


def test_what_opens_a_new_account_besides_is_named(fake, capsys):
    """Keys that a template of homes brings, and certificates."""
    model = ready(fake())
    model.set_file("accounts", "lab.keys", line("company@hq") + "\n", "600 lab")
    model.sections["ssh"]["lab.trustedusercakeys"] = "/etc/ssh/ca.pub"
    authorized_keys.copy(model.c)
    out = capsys.readouterr().out
    assert "opens lab too: company@hq, from /home/lab/.ssh/authorized_keys (SHA256:" in out
    assert "opens lab too: whoever has a certificate of /etc/ssh/ca.pub for this name" in out


@pytest.mark.parametrize("ending", ["", "\n", "\n\n"])
def test_what_is_in_the_file_stays_byte_for_byte(fake, alone, ending):
    """Comments, CRLF, options and umlauts stay; a missing final newline joins no two keys."""
    forced = line("forced", 'restrict,command="/bin/true" ')
    old = f"# Schlüssel\r\n{line('Käse')}\n{forced}{ending}"
    model = ready(fake(), old)
    authorized_keys.copy(model.c)
    text = model.wrote(ADD).text
    assert text.startswith(old) and text.removeprefix(old).strip() == own(alone)
    assert text.count("\n") == len(text.splitlines())


def test_a_present_key_is_not_added_again(fake, alone):
    """The key decides, not its comment or options."""
    path = keypair.generate(alone / "home/.ssh/id_ed25519")
    there = " ".join(keypair.public_line(path).split()[:2])
    model = ready(fake(), f'from="203.0.113.9" {there} another comment\n')
    authorized_keys.copy(model.c)
    assert model.whys == []


def test_public_keys_of_the_setting(fake, alone):
    """Files and literal lines both work, and hostile comments do no harm."""
    (alone / "friend.pub").write_text(line("a friend's $(id) `x`") + "\n")
    literal = line('"quoted" %s ü')
    model = ready(fake(public_keys=[str(alone / "friend.pub"), literal]))
    authorized_keys.copy(model.c)
    assert model.writes[-1].text.splitlines()[1:] == [
        (alone / "friend.pub").read_text().strip(),
        literal,
    ]


@pytest.mark.parametrize("value", ["/nowhere.pub", "ssh-ed25519 AAAAgarbled x"])
def test_a_bad_public_key_changes_nothing(fake, value):
    """A missing or garbled key stops before authorized_keys is written."""
    model = ready(fake(public_keys=[value]))
    with pytest.raises(SetupError):
        authorized_keys.copy(model.c)
    assert model.writes == []


CLOSE = "close /home/lab to other accounts"


@pytest.mark.parametrize(
    "account, stat, whys",
    [
        ({"home_stat": "775 lab"}, "600 lab", [CLOSE]),
        ({"home_stat": "755 root"}, "600 lab", ["protect /home/lab from others", CLOSE]),
        ({"ssh_stat": "755 lab"}, "600 lab", ["make /home/lab/.ssh private"]),
        ({"ssh_stat": "700 root"}, "600 lab", ["make /home/lab/.ssh private"]),
        ({}, "644 lab", ["make /home/lab/.ssh/authorized_keys private"]),
        ({}, "600 root", ["make /home/lab/.ssh/authorized_keys private"]),
        ({"home_stat": "755 lab"}, "600 lab", [CLOSE]),
        ({"home_stat": "711 lab", "serves": "yes"}, "600 lab", []),
    ],
)
def test_owners_and_modes_are_fixed(fake, alone, account, stat, whys):
    """What StrictModes would refuse, or others could read, is fixed; nothing else changes."""
    text = keypair.public_line(keypair.generate(alone / "home/.ssh/id_ed25519")) + "\n"
    model = fake()
    ready(model, text, stat)
    model.sections["accounts"] |= {f"lab.{key}": value for key, value in account.items()}
    authorized_keys.copy(model.c)
    assert model.whys == whys
    authorized_keys.copy(model.again())
    assert model.whys == []


def test_a_key_that_does_not_open_the_host_is_taken_back(fake, alone):
    """If the fresh login fails, the file is restored and no alias is written."""
    model = ready(fake())
    model.refused_logins = 1
    with pytest.raises(SetupError, match="could not let your key log in as lab"):
        authorized_keys.copy(model.c)
    assert model.guard == ["arm", "revert"] and "lab.keys.text" not in model.sections["accounts"]
    assert not (alone / "home/.ssh/config").exists()


def test_a_name_that_stands_for_another_machine_is_refused(fake, alone):
    """Two hosts never share an alias."""
    (alone / "home/.ssh").mkdir(mode=0o700)
    ssh_config.write(
        alone / "home/.ssh/config", ssh_config.Alias("homelab", "198.51.100.7", "lab", 2222)
    )
    model = fake()
    with pytest.raises(SetupError, match="the alias homelab already stands for 198.51.100.7:2222"):
        authorized_keys.copy(model.c)
    assert model.writes == []


def test_two_machines_behind_one_address_are_two(fake, alone):
    """Another port with another host key is another machine, which needs another alias."""
    (alone / "home/.ssh").mkdir(mode=0o700)
    ssh_config.write(
        alone / "home/.ssh/config",
        ssh_config.Alias(
            "homelab", "203.0.113.5", "lab", 2201, former_logins="root@203.0.113.5:2200"
        ),
    )
    model = fake()
    with pytest.raises(SetupError, match="the alias homelab already stands for 203.0.113.5:2201"):
        authorized_keys.copy(model.c)
    assert model.writes == []


@pytest.mark.parametrize(
    "text, key",
    [
        ("ssh-ed25519 AAAAx me@there", "AAAAx"),
        ('command="ssh-keygen AAAAno" ssh-rsa AAAAyes', "AAAAyes"),
        ("ecdsa-sha2-nistp256 AAAAz", "AAAAz"),
        ("# ssh-ed25519 AAAAx", ""),
        ("", ""),
        ("ssh-ed25519", ""),
    ],
)
def test_the_key_in_a_line(text, key):
    """Options that look like a key, comments and truncated lines are recognized."""
    assert authorized_keys.key_of(text) == key


# Two accounts --------------------------------------------------------------------------------------


def test_the_alias_leads_to_the_account_of_the_notebooks(fake, alone, capsys):
    """Your key opens both, both logins are proven, and later runs find the one with sudo silently."""
    model = fake(lab_user="jupyter")
    authorized_keys.copy(model.c)
    assert model.logins == [("jupyter", 22), ("lab", 22)]
    block = ssh_config.read(alone / "home/.ssh/config")[0]
    assert (block.user, block.lab_user) == ("lab", "jupyter")
    assert model.sections["accounts"]["jupyter.password"] == "L"
    capsys.readouterr()
    model.again()
    later = model.connect("jupyter")
    authorized_keys.copy(later)
    assert (later.user, model.planned) == ("lab", []) and "is now" not in capsys.readouterr().out


def test_the_keys_of_root_do_not_open_the_notebooks(fake):
    """Who could become root before still can; the notebooks' account is yours."""
    model = fake(lab_user="jupyter")
    model.set_file("accounts", "root.keys", f"{THEIRS}\n", "600 root")
    authorized_keys.copy(model.c)
    assert THEIRS in model.file("accounts", "lab.keys")
    assert THEIRS not in model.file("accounts", "jupyter.keys")


def test_a_lab_user_that_cannot_log_in_is_taken_back(fake, alone):
    """AllowUsers or PAM may refuse it: then nothing of the window stays."""
    model = fake(lab_user="jupyter")
    model.refused_logins = 1
    with pytest.raises(SetupError, match="the login jupyter@.* does not work.*reverted everything"):
        authorized_keys.copy(model.c)
    assert model.guard == ["arm", "revert"] and not ssh_config.read(alone / "home/.ssh/config")


def test_the_alias_of_an_earlier_version_is_turned(fake, alone, capsys):
    """setup.full proves the login of the notebooks' account, once, and turns the alias."""
    model = fake(lab_user="jupyter")
    authorized_keys.copy(model.c)
    path = alone / "home/.ssh/config"
    ssh_config.write(path, ssh_config.read(path)[0]._replace(lab_user=""))
    for logins in ([("jupyter", 22)], []):
        c = model.again()
        with Host.of(c).filed_under("setup"):
            authorized_keys.copy(c)
        assert ssh_config.read(path)[0].lab_user == "jupyter" and model.writes == []
        assert model.logins == logins
        assert (
            "let homelab lead to jupyter, homelab-admin to lab" in capsys.readouterr().out
        ) is bool(logins)


@pytest.mark.parametrize("sign", ["\x0b", "\x1c", "\x85", "\u2028"])
def test_taking_a_key_away_sets_no_other_free(fake, alone, sign):
    """What stands in the comment of the old key goes, or stays in a comment."""
    old, other, evil = line("old"), line("other"), line("evil")
    model = ready(fake("lab"))
    model.set_file("accounts", "lab.keys", f"{other}{sign}{evil}\n{old}{sign}{evil}\n", "600 lab")
    rotation.remove_keys(model.c, "lab", [old])
    assert model.file("accounts", "lab.keys") == f"{other}{sign}{evil}\n"


@pytest.mark.parametrize(
    "sign", ["\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029", "\r"]
)
def test_a_comment_of_a_key_never_becomes_a_key(fake, alone, sign):
    """sshd ends a line at a newline only. Whoever sent root a key chose its comment."""
    good, evil = line("one"), line("evil")
    model = ready(fake())
    model.set_file("accounts", "root.keys", f"{good}{sign}{evil}\n", "600 root")
    authorized_keys.copy(model.c)
    text = model.wrote(ADD.replace("your key", "2 keys")).text
    assert not [
        one for one in text.split("\n") if one.startswith(evil.split()[0] + " " + evil.split()[1])
    ]
    assert good.split()[1] in text
