"""sshd stops offering weak algorithms, and nobody is shut out who was not named."""

import paramiko
import pytest

from labfab.errors import SetupError
from labfab.laptop import openssh
from labfab.local_state import known_hosts
from labfab.platforms import algorithms
from labfab.stages import ssh
from labfab.stages.keys import authorized_keys
from labfab.stages.ssh import algorithms as stage
from labfab.stages.ssh import fail2ban
from tests.fake import ADDRESS, KEY
from tests.platforms.test_algorithms import DEBIAN_12

ED25519 = "AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReVbg+1KkO6QfFYkbKUJHwZaSB/H2Xm"
LIMITS = {
    "logingracetime": "120",
    "maxauthtries": "6",
    "persourcemaxstartups": "none",
    "maxstartups": "10:30:100",
}
SUBTRACTED = [
    "KexAlgorithms -ecdh-sha2-*,diffie-hellman-group14-*",
    "HostKeyAlgorithms -ecdsa-sha2-*",
    "MACs -hmac-sha1*,umac-64*,umac-128@openssh.com,hmac-sha2-256,hmac-sha2-512",
]


@pytest.fixture
def ready(fake, monkeypatch):
    """A host where the account and its key are in place, with the sshd of Debian 12."""
    monkeypatch.setattr(openssh, "capabilities", lambda host: {})

    def make(limits=LIMITS, **settings):
        model = fake(**settings)
        lists = {option.lower(): names for option, names in DEBIAN_12.items()}
        model.sshd_defaults = lists
        model.sections["ssh"] |= {f"sshd.{name}": value for name, value in (lists | limits).items()}
        model.sections["ssh"] |= {
            f"host_key.{kind}": KEY.get_base64()
            for kind in ("ssh-rsa", "ecdsa-sha2-nistp256", "ssh-ed25519")
        }
        model.sections["ssh"]["host_key.ssh-ed25519"] = ED25519
        authorized_keys.copy(model.c)
        model.again()
        return model

    return make


def drop_in(model) -> list[str]:
    return [line for line in model.file("ssh", "drop_in").splitlines() if line and line[0] != "#"]


def test_what_is_weak_is_subtracted_and_named(ready, capsys):
    """Old clients are named first; a fresh login proves it; a second run changes nothing."""
    model = ready()
    ssh.harden(model.c)
    assert model.whys == [
        stage.LIMITS,
        "stop offering ecdh-sha2-*, diffie-hellman-group14-*, ecdsa-sha2-*, hmac-sha1*, umac-64*, "
        "umac-128@openssh.com, hmac-sha2-256, hmac-sha2-512",
        "reload sshd",
    ]
    assert drop_in(model) == [
        *SUBTRACTED,
        "LoginGraceTime 60",
        "PerSourceMaxStartups 16",
        "MaxStartups 32:30:100",
    ]
    assert model.logins == [("lab", 22)] and model.guard == ["arm", "disarm"]
    said = capsys.readouterr().out
    assert said.index("PuTTY 0.67") < said.index("stop offering")
    ssh.harden(model.again())
    assert model.whys == [] and model.guard == []


def test_the_plan_is_what_is_done(ready):
    """Planned changes have the same names, and a later stage of the plan does not repeat them."""
    model = ready(dry=True)
    ssh.harden(model.c)
    ssh.harden(model.c)
    planned = list(model.planned)
    assert planned[-3] == stage.LIMITS and planned[-1] == "reload sshd" and not model.writes


def test_a_stricter_list_of_somebody_else_is_not_widened(ready):
    """A line of ours wins over other files, so it holds what is left of theirs."""
    model = ready()
    theirs = "hmac-sha2-512-etm@openssh.com,hmac-sha2-512"
    model.sections["ssh"]["sshd.macs"] = theirs
    ssh.harden(model.c)
    assert drop_in(model)[0] == "MACs hmac-sha2-512-etm@openssh.com"
    assert model.whys[-2] == "keep what another file leaves out of MACs"
    assert model.sections["ssh"]["sshd.macs"] == "hmac-sha2-512-etm@openssh.com"
    ssh.harden(model.again())
    assert model.whys == []


def test_an_sshd_with_nothing_else_keeps_what_it_has(ready, capsys):
    """A list of nothing would lock everybody out."""
    model = ready()
    model.sections["ssh"]["sshd.macs"] = "hmac-sha1,hmac-sha1-etm@openssh.com"
    model.sections["ssh"].pop("host_key.ssh-rsa"), model.sections["ssh"].pop("host_key.ssh-ed25519")
    ssh.harden(model.c)
    assert not any(line.startswith(("MACs", "HostKey")) for line in drop_in(model))
    said = capsys.readouterr().err
    assert "no strong MACs, only hmac-sha1" in said and "no strong HostKeyAlgorithms" in said


@pytest.mark.parametrize(
    "limits, lines",
    [
        ({}, []),
        ({"logingracetime": "30", "maxauthtries": "3", "persourcemaxstartups": "4"}, []),
        ({"logingracetime": "0"}, ["LoginGraceTime 60"]),
        ({"maxauthtries": "6", "maxstartups": "10:30:100"}, []),
        ({"persourcemaxstartups": "none", "maxstartups": "5"}, ["PerSourceMaxStartups 16"]),
        ({"maxauthtries": "100"}, ["MaxAuthTries 10"]),
    ],
)
def test_limits_are_only_lowered(ready, limits, lines):
    """Six keys of an agent still fit, and what an sshd does not know is not written."""
    model = ready(limits=limits)
    ssh.harden(model.c)
    assert drop_in(model) == [*SUBTRACTED, *lines]


def test_a_login_that_fails_takes_it_back(ready):
    model = ready()
    model.refused_logins = 1
    with pytest.raises(SetupError, match="could not stop offering weak algorithms"):
        ssh.harden(model.c)
    assert drop_in(model) == [] and model.guard == ["arm", "revert"]
    assert model.sections["ssh"]["sshd.macs"] == DEBIAN_12["MACs"]


def test_a_server_that_still_offers_what_is_weak_takes_it_back(ready, monkeypatch):
    """sshd -T is paper: what a stranger is offered decides."""
    model, lists = ready(), {name: text.split(",") for name, text in DEBIAN_12.items()}
    monkeypatch.setattr(algorithms, "offered_by", lambda *asked: lists)
    with pytest.raises(SetupError, match="sshd still offers ecdh-sha2-nistp256, .*hmac-sha1"):
        ssh.harden(model.c)
    assert drop_in(model) == []


def test_an_sshd_that_is_reloading_is_asked_again(ready, monkeypatch):
    """It closes its sockets for a moment; a proof in that moment would take everything back."""
    model, refusals = ready(), iter([ConnectionRefusedError(), EOFError()])
    monkeypatch.setattr(stage.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(
        algorithms,
        "offered_by",
        lambda c, port, inside: raised(next(refusals, None)) or model.algorithms(c, port),
    )
    ssh.harden(model.c)
    assert model.guard == ["arm", "disarm"] and next(refusals, "") == ""


def raised(error: Exception | None) -> None:
    if error:
        raise error


def test_an_ssh_that_could_not_log_in_any_more_stops_it(ready, monkeypatch):
    """Nothing is changed if this machine's own ssh is too old or has such a line."""
    monkeypatch.setattr(
        openssh, "capabilities", lambda host: {"KexAlgorithms": ["ecdh-sha2-nistp256"]}
    )
    model = ready()
    with pytest.raises(SetupError, match="this machine's ssh has none of the KexAlgorithms"):
        ssh.harden(model.c)
    assert model.writes == []


def test_a_host_key_that_stays_is_pinned(ready, alone):
    """The laptop knows only the key that goes, and learns the other over the trusted login."""
    model, path = ready(), alone / "home/.ssh/known_hosts"
    known_hosts.pin(path, ADDRESS, 22, KEY)
    ssh.harden(model.c)
    kinds = [key.get_name() for key in known_hosts.pinned(path, ADDRESS, 22)]
    assert kinds == ["ecdsa-sha2-nistp256", "ssh-ed25519"]


def test_an_rsa_key_is_pinned_where_there_is_no_better_one(ready, alone):
    """Only the weak algorithm of the same key, ssh-rsa, goes."""
    model, path = ready(), alone / "home/.ssh/known_hosts"
    known_hosts.pin(path, ADDRESS, 22, KEY)
    model.sections["ssh"].pop("host_key.ssh-ed25519")
    other = paramiko.RSAKey.generate(2048)
    model.sections["ssh"]["host_key.ssh-rsa"] = other.get_base64()
    ssh.harden(model.c)
    assert known_hosts.pinned(path, ADDRESS, 22)[1] == other


@pytest.mark.parametrize(
    "jail, changed",
    [("", False), ("ssh", True), ("292", False), ("22,200:300", False), ("0:65535", False)],
)
def test_fail2ban_follows_the_port(ready, jail, changed):
    """Only where it has a jail for sshd, and only if that does not close the port."""
    model = ready()
    model.sections["ssh"] |= {"jail": jail} if jail else {}
    ssh.change_port(model.c)
    why = "let fail2ban close port 292 to whom it bans"
    assert (why in model.whys) is changed
    if changed:
        assert model.sections["ssh"]["jail"] == "292" and model.wrote(why).stage == "ssh"
    ssh.change_port(model.again())
    assert model.whys == []


@pytest.mark.parametrize("jail, port", [("ssh", 22), ("http,https,2222", 2222), ("all", 7)])
def test_names_and_ranges_of_ports(jail, port):
    assert fail2ban.closes(jail, port) and not fail2ban.closes("ssh,sftp", 2222)
