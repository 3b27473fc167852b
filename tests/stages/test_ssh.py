"""Keys only, no root, a port of your own: each is proven or reverted."""

import base64
from unittest.mock import Mock

import paramiko
import pytest

from labfab.errors import SetupError
from labfab.facts import facts
from labfab.host import connection
from labfab.host.changes import change
from labfab.host.connection import NoWayInside
from labfab.host.session import Host
from labfab.host.shell import NoSession
from labfab.local_state import known_hosts, ssh_config
from labfab.platforms import debian
from labfab.run import guard
from labfab.stages.keys import authorized_keys
from labfab.stages.ssh import hardening
from tests.fake import ADDRESS, blob
from tests.local_sh import opened

SHUT = ["refuse passwords for every user", "reload sshd"]


@pytest.fixture
def ready(fake):
    """A host where the account and its key are in place."""

    def make(**settings):
        model = fake(**settings)
        authorized_keys.copy(model.c)
        model.again()
        return model

    return make


def drop_in(model) -> list[str]:
    return [line for line in model.file("ssh", "drop_in").splitlines() if line and line[0] != "#"]


def test_a_defect_in_a_window_is_reverted_right_away(fake):
    """Whatever goes wrong in the program, the host need not wait for its deadline."""
    model = fake("lab")
    with pytest.raises(ZeroDivisionError), guard.guarded(model.c, "try it"):
        change(model.c, "loginctl enable-linger %s", "lab", why="try it")
        1 / 0  # noqa: B018
    assert model.guard == ["arm", "revert"]


def test_what_the_host_will_revert_by_itself_does_not_count_as_done(fake, capsys):
    """Ctrl-C in a window: the host takes the change back at the deadline."""
    model = fake("lab")
    with pytest.raises(KeyboardInterrupt), guard.guarded(model.c, "try it"):
        change(model.c, "loginctl enable-linger %s", "lab", why="try it")
        raise KeyboardInterrupt
    assert Host.of(model.c).changes == [] and "by itself within" in capsys.readouterr().err


def test_passwords_are_refused_for_everybody(ready):
    """The file closes all three ways in, sshd checks it, and a second run changes nothing."""
    model = ready()
    hardening.disable_passwords(model.c)
    assert model.whys == SHUT
    assert drop_in(model) == [
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "PermitEmptyPasswords no",
    ]
    assert model.writes[0].check == '/usr/sbin/sshd -t -f "$NEW"'
    assert model.logins == [("lab", 22)]
    hardening.disable_passwords(model.again())
    assert model.whys == []


def test_the_next_task_of_the_same_command_line_knows_that_it_was_confirmed(ready, capsys):
    """What the guard left in memory is not mistaken for a run that died."""
    model = ready()
    hardening.disable_passwords(model.c)
    hardening.disable_root(model.c)
    assert (
        model.guard == ["arm", "disarm"] * 2
        and "an earlier run was interrupted" not in capsys.readouterr().err
    )


def test_a_match_block_that_allows_passwords_is_found(ready):
    """A Match block that undoes it for one user is named, and our file is reverted."""
    model = ready()
    model.match_users["root"] = {"passwordauthentication": "yes"}
    with pytest.raises(SetupError, match="a Match block of sshd_config allows passwords for root"):
        hardening.disable_passwords(model.c)
    assert drop_in(model) == [] and model.guard == ["arm", "revert"]


def test_a_stranger_is_not_believed_on_paper_alone(ready, monkeypatch):
    """If sshd -T says no but the host still offers a password, the change is reverted."""
    model = ready()
    monkeypatch.setattr(
        "labfab.host.connection.offered_methods", lambda *asked: ["publickey", "password"]
    )
    with pytest.raises(SetupError, match="sshd still offers password logins for (lab|root)"):
        hardening.disable_passwords(model.c)
    assert drop_in(model) == []


@pytest.mark.parametrize(
    ("error", "asked"), [(NoWayInside(), 3), (EOFError(), 3), (None, 2)], ids=str
)
def test_a_stranger_asks_from_the_host_itself_and_else_after_the_proof(
    ready, monkeypatch, error, asked
):
    """A host that counts such questions must not shut this laptop out before the proof."""
    model, seen = ready(), []

    def offered(c, user, port, inside=None):
        seen.append((inside, "lab" in dict(model.logins)))
        if inside and error:
            raise error
        return ["publickey"]

    model.sections["ssh"]["login_address"] = "203.0.113.5"
    model.logins.clear()
    monkeypatch.setattr("labfab.host.connection.offered_methods", offered)
    hardening.disable_passwords(model.c)
    assert model.guard[-2:] == ["arm", "disarm"] and len(seen) == asked
    assert seen[0][0] == ("203.0.113.5", 22)
    if error:
        assert seen[1] == (None, True)


def test_root_is_refused_after_the_other_login_is_proven(ready):
    """Root is refused only after the new account got in; then root's login must fail."""
    model = ready()
    hardening.disable_root(model.c)
    assert model.whys == ["refuse logins as root", "reload sshd"]
    assert drop_in(model) == ["PermitRootLogin no"] and model.logins == [("lab", 22)]
    hardening.disable_root(model.again())
    assert model.whys == []


def test_root_stays_when_the_account_cannot_log_in(ready):
    """If the proof fails, root can log in as before."""
    model = ready()
    model.refused_logins = 2  # root's, who should be refused, and the proof
    with pytest.raises(SetupError, match="could not refuse root"):
        hardening.disable_root(model.c)
    assert drop_in(model) == []


def test_root_that_still_gets_in_is_reported(ready):
    """A Match block that lets root in is named."""
    model = ready()
    model.match_users["root"] = {"permitrootlogin": "prohibit-password"}
    with pytest.raises(SetupError, match="lets in root"):
        hardening.disable_root(model.c)


def test_lines_of_others_in_the_drop_in_are_kept(ready):
    """Edits by hand survive: comments, odd spelling, blank lines, a Match block at the end."""
    model = ready()
    by_hand = "# mine\n   \nMaxAuthTries 3\nallowTcpForwarding yes\n"
    by_hand += "Match User guest\n    X11Forwarding no\n"
    model.set_file("ssh", "drop_in", by_hand, "644 root")
    hardening.disable_root(model.c)
    lines = model.file("ssh", "drop_in").splitlines()
    for line in by_hand.splitlines():
        assert line in lines
    assert lines.index("PermitRootLogin no") < lines.index("MaxAuthTries 3")


@pytest.mark.parametrize(
    "line", ["permitrootlogin yes", "PermitRootLogin=yes", "  PermitRootLogin\tyes"]
)
def test_the_own_option_is_replaced_however_it_is_spelled(ready, line):
    """sshd takes the first value, so no old line in another spelling may precede ours."""
    model = ready()
    model.set_file("ssh", "drop_in", f"{line}\n", "644 root")
    hardening.disable_root(model.c)
    assert drop_in(model)[0] == "PermitRootLogin no"


def test_an_sshd_config_without_include_gets_one(ready):
    """If sshd would not read the folder, an Include goes to the top; the rest stays."""
    model = ready()
    model.set_file("ssh", "main", "PasswordAuthentication yes\n", "600 root")
    hardening.disable_passwords(model.c)
    made = model.wrote("make sshd read sshd_config.d")
    assert (
        made.text == "Include /etc/ssh/sshd_config.d/*.conf\nPasswordAuthentication yes\n"
        and made.mode == "600"
    )


def test_an_include_that_is_commented_out_does_not_count(ready):
    """A comment includes nothing."""
    model = ready()
    model.set_file("ssh", "main", "#Include /etc/ssh/sshd_config.d/*.conf\n", "644 root")
    hardening.disable_passwords(model.c)
    assert "make sshd read sshd_config.d" in model.whys


def test_the_port_moves_in_two_steps(ready, alone):
    """Both ports, a login on the new one, then only that; alias and host key follow."""
    model = ready()
    hardening.change_port(model.c)
    assert [
        write.text.splitlines()[1:] for write in model.writes if write.path == debian.DROP_IN
    ] == [
        ["Port 22", "Port 292"],
        ["Port 292"],
    ]
    assert model.logins == [("lab", 292), ("lab", 292)]
    block = ssh_config.read(alone / "home/.ssh/config")[0]
    assert (block.port, block.identity) == (292, str(alone / "home/.ssh/id_ed25519"))
    assert known_hosts.pinned(alone / "home/.ssh/known_hosts", ADDRESS, 292)
    hardening.change_port(model.again())
    assert model.planned == []


@pytest.mark.parametrize("active", [True, False])
def test_the_firewalls_rules_move_with_the_port(ready, active):
    """ufw's limit stays a limit, and rules for some senders stay theirs, whether it is on or off."""
    model = ready()
    model.install("ufw")
    office = "allow proto tcp from 198.51.100.0/24 to any port"
    model.sections["firewall"] |= {"allowed.22": "limit 22/tcp", "limited.22": "yes"}
    model.sections["firewall"] |= {"partial.22": f"{office} 22"}
    model.sections["firewall"] |= {"active": "yes", "incoming": "deny"} if active else {}
    hardening.change_port(model.c)
    kept = {k: v for k, v in model.sections["firewall"].items() if k[-3:] in (".22", "292")}
    limited = {"allowed.292": "limit 292/tcp", "limited.292": "yes", "limited.22": "yes"}
    assert kept == limited | {"partial.292": f"{office} 292"}


def test_a_port_for_some_senders_is_not_moved_to_one_for_everybody(ready):
    model = ready()
    model.install("ufw")
    model.sections["firewall"] |= {"active": "yes", "incoming": "deny"}
    model.sections["firewall"]["partial.22"] = "limit from 198.51.100.7 to any port 22"
    hardening.change_port(model.c)
    assert "open port 292" not in model.whys
    assert "keep the firewall's rule: limit from 198.51.100.7 to any port 292" in model.whys


def test_a_port_that_the_hosts_own_firewall_refuses_is_named_before_any_change(ready):
    """The rule is named; if a rule that labfab does not understand may let it in, the login decides."""
    model = ready()
    text = "4 *filter\n4 -A INPUT -p tcp --dport 22 -j ACCEPT\n4 -A INPUT -j DROP\n"
    model.sections["firewall"]["rules"] = blob(text)
    with pytest.raises(SetupError, match="refuses port 292 .-A INPUT -j DROP.*ssh_port: 22"):
        hardening.change_port(model.c)
    assert model.writes == []
    model.sections["firewall"]["rules"] = blob(f"{text}4 -A MINE -m x -j ACCEPT\n")
    model.again()
    model.refused_logins = 1
    with pytest.raises(SetupError, match="own firewall refuses it .-A INPUT -j DROP.") as error:
        hardening.change_port(model.c)
    assert "router" not in str(error.value)


def test_a_flag_wins_over_the_setting(ready):
    """ssh.change-port --port 2200 listens there."""
    model = ready()
    hardening.change_port(model.c, port=2200)
    assert drop_in(model) == ["Port 2200"]


def test_an_sshd_that_is_reloading_is_not_moved_again(ready, monkeypatch):
    """It closes its sockets for a moment; if it stays silent, it is made to listen."""
    model = ready()
    model.sections["ssh"] = {
        key: value
        for key, value in model.sections["ssh"].items()
        if key not in ("port.22", "listening.22")
    }
    model.sections["ssh"]["port.292"] = "yes"
    model.set_file("ssh", "restarts", debian.ALWAYS, "644 root")
    model.again()
    monkeypatch.setattr(
        hardening.time, "sleep", lambda _: model.sections["ssh"].update({"listening.292": "sshd"})
    )
    hardening.change_port(model.c)
    assert model.writes == []
    del model.sections["ssh"]["listening.292"]
    monkeypatch.setattr(hardening.time, "sleep", lambda _: None)
    model.again()
    hardening.change_port(model.c)
    assert "restart sshd" in model.whys


@pytest.mark.parametrize("port", [-1, 65536, 70000])
def test_an_impossible_port_changes_nothing(ready, port):
    """A number that is no port is refused, with the place it came from."""
    model = ready()
    with pytest.raises(SetupError, match="the command line: ssh_port cannot be"):
        hardening.change_port(model.c, port=port)
    assert model.writes == []


def test_a_taken_port_is_named_with_its_holder(ready):
    """Another program on the wanted port stops the stage before sshd is changed."""
    model = ready()
    model.sections["ssh"]["listening.292"] = "nginx"
    with pytest.raises(SetupError, match="port 292 is taken by nginx: choose another ssh_port"):
        hardening.change_port(model.c)
    assert model.writes == []


def test_another_file_that_sets_the_port_is_named(ready):
    """Port lines add up, so one in another file has to go first."""
    model = ready()
    model.set_file("ssh", "other_ports", "/etc/ssh/sshd_config:14:Port 22\n", "")
    model.sections["ssh"]["other_ports"] = model.sections["ssh"].pop("other_ports.text")
    with pytest.raises(SetupError, match="/etc/ssh/sshd_config:14 says 'Port 22'"):
        hardening.change_port(model.c)
    assert model.writes == []


def test_the_firewall_is_opened_first_and_closed_last(ready):
    """With ufw active the new port opens before sshd moves; the old one closes last."""
    model = ready()
    model.sections["firewall"] |= {
        "active": "yes",
        "incoming": "deny",
        "allowed.22": "allow 22/tcp",
    }
    hardening.change_port(model.c)
    ports = [why for why in model.whys if "port" in why]
    assert ports[0] == "open port 292" and ports[-1] == "close port 22"


# A systemd that knows one listener: what is running, and which unit a boot starts.
SYSTEMCTL = """\
echo "$*" >>"$HOME/called"
case "$*" in
  'is-enabled ssh.socket') echo "$SOCKET" ;;
  'is-enabled ssh.service') echo "$SERVICE" ;;
  'is-active -q ssh.socket') [ -e "$HOME/ssh.socket" ] ;;
  'show -p Listen ssh.socket') echo 'Listen=[::]:292 (Stream)' ;;
  'stop ssh.socket ssh.service') rm -f "$HOME/ssh.socket" "$HOME/ssh.service" ;;
  'restart ssh.socket') [ ! -e "$HOME/ssh.service" ] && [ "$BROKEN" != socket ] && touch "$HOME/ssh.socket" ;;
  'restart ssh.service') [ "$BROKEN" != service ] && touch "$HOME/ssh.service" ;;
  reset-failed*) false ;;
esac"""
SSHD_T = "echo 'listenaddress [::]:292'"
KERNEL = """
sockets() { [ ! -e "$HOME/ssh.socket" ] && [ ! -e "$HOME/ssh.service" ] || SOCKETS='[::] 292 0 1'; }
sleep() { :; }
"""


def run_sshd(model, folder, socket="disabled", service="enabled", broken="", runs="", valid="true"):
    """Run the real script with that systemd; return whether it went well, and what was called."""
    script = debian.run_sshd(model.c).replace("/usr/sbin/sshd -T", SSHD_T)
    given = f"export SOCKET={socket} SERVICE={service} BROKEN={broken}\n"
    if runs:
        (folder / runs).touch()
    with opened(folder, systemctl=SYSTEMCTL) as sh:
        done = sh.run(f"{given}{KERNEL}{script.replace('/usr/sbin/sshd -t', valid)}")
    called = folder / "called"
    return done, called.read_text() if called.exists() else ""


@pytest.mark.parametrize("boots, other", [("socket", "service"), ("service", "socket")])
@pytest.mark.parametrize("runs", ["ssh.socket", "ssh.service"])
def test_what_the_next_boot_starts_listens_from_now_on(ready, tmp_path, boots, other, runs):
    """systemd refuses to restart the socket while the service runs, so that one goes first."""
    enabled = {boots: "enabled", other: "disabled"}
    done, called = run_sshd(ready(), tmp_path, runs=runs, **enabled)
    assert done.ok and f"restart ssh.{boots}" in called and f"restart ssh.{other}" not in called
    assert (tmp_path / f"ssh.{boots}").exists()


@pytest.mark.parametrize("boots, other", [("socket", "service"), ("service", "socket")])
def test_if_one_unit_does_not_listen_the_other_one_does(ready, tmp_path, boots, other):
    """Any sshd is better than none, and it is told that the wrong one runs."""
    enabled = {boots: "enabled", other: "disabled"}
    done, _ = run_sshd(ready(), tmp_path, broken=boots, **enabled)
    assert not done.ok and f"ssh.{boots} does not listen, ssh.{other} does instead" in done.err
    assert (tmp_path / f"ssh.{other}").exists()


@pytest.mark.parametrize("socket", ["enabled", "disabled"])
@pytest.mark.parametrize("valid", ["true", "false"])
def test_sshd_is_restarted_only_with_a_valid_configuration(ready, tmp_path, socket, valid):
    """Run for real with a fake systemctl: an invalid configuration restarts nothing."""
    done, called = run_sshd(ready(), tmp_path, socket=socket, valid=valid)
    assert done.ok is (valid == "true") and ("restart" in called) is (valid == "true")


def test_a_socket_of_systemd_is_told_the_port(ready):
    """Debian has no generator that does; without the file a boot would bring port 22 back."""
    model = ready()
    model.sections["ssh"] |= {"boots.socket": "yes", "socket_port.22": "yes"}
    del model.sections["ssh"]["boots.service"]
    hardening.change_port(model.c)
    assert model.file("ssh", "streams").splitlines()[1:] == [
        "[Socket]",
        "ListenStream=",
        "ListenStream=292",
    ]
    hardening.change_port(model.again())
    assert model.whys == []


def test_a_port_that_would_not_outlive_a_boot_is_moved_again(ready):
    """An earlier version moved sshd, and not the socket that listens after a boot."""
    model = ready()
    hardening.change_port(model.c)
    model.sections["ssh"] |= {"boots.socket": "yes", "socket_port.22": "yes"}
    hardening.change_port(model.again())
    assert "ListenStream=292" in model.file("ssh", "streams")


def test_a_host_on_which_a_boot_starts_no_sshd_is_refused(ready):
    model = ready()
    del model.sections["ssh"]["boots.service"]
    with pytest.raises(SetupError, match="neither ssh.service nor ssh.socket is enabled"):
        hardening.change_port(model.c)
    assert model.writes == []


def test_a_new_port_that_nobody_reaches_is_taken_back(ready, alone):
    """If a cloud firewall blocks the new port, everything stays on the old one."""
    model = ready()
    model.refused_logins = 1
    with pytest.raises(SetupError, match="could not move sshd to port 292: .*reverted everything"):
        hardening.change_port(model.c)
    assert drop_in(model) == [] and "listening.22" in model.sections["ssh"]
    assert ssh_config.read(alone / "home/.ssh/config")[0].port == 22


def raised(error: Exception | None) -> None:
    if error:
        raise error


def test_a_login_without_a_session_is_no_proof(ready, monkeypatch):
    """sshd accepts the login and refuses to open a session: revert, and do not blame sudo."""
    model = ready()
    answers = iter(
        [NoSession("box", "sshd refuses to open a session: look at MaxSessions"), *[None] * 9]
    )
    monkeypatch.setattr(
        guard,
        "Shell",
        Mock(
            side_effect=lambda *given, **more: raised(next(answers)) or model.shell(*given, **more)
        ),
    )
    with pytest.raises(
        SetupError,
        match="lab@203.0.113.5:22 logs in, but no further: "
        "sshd refuses to open a session: look.*reverted everything",
    ):
        hardening.disable_passwords(model.c)
    assert drop_in(model) == []


def test_root_that_is_refused_on_the_way_in_is_no_traceback(ready, monkeypatch):
    """Whatever paramiko raises while a login is proven ends in one line."""
    model = ready()

    def broken(*args):
        raise paramiko.SSHException("Error reading SSH protocol banner\nsecond line")

    monkeypatch.setattr("labfab.host.connection.log_in_again", broken)
    with pytest.raises(SetupError) as error:
        hardening.disable_passwords(model.c)
    assert "\n" not in str(error.value) and "could not" in str(error.value)


# The port that no account can take --------------------------------------------------------------


def test_systemd_starts_sshd_again_whoever_ended_it(ready):
    """Before the first restart; also where the port was taken, for which sshd ends with 255."""
    model = ready()
    hardening.change_port(model.c)
    text = model.wrote("let systemd start sshd again whenever it ends").text
    for line in ("Restart=always", "RestartPreventExitStatus=", "StartLimitIntervalSec=0"):
        assert line in text.splitlines()
    whys = model.whys
    assert whys.index("reload systemd") < whys.index("let sshd listen on port 292 too")
    assert debian.SSHD_UNIT in debian.guarded_files(model.c)


@pytest.mark.parametrize(
    "port, socket, warned",
    [(2222, "inactive", True), (2222, "active", False), (922, "inactive", False)],
)
def test_a_port_that_an_account_can_take_is_named(ready, capsys, port, socket, warned):
    """A choice from 1024 on is warned of in one line; below, or with systemd's socket, it is not."""
    model = ready()
    model.sections["ssh"]["socket"] = socket
    hardening.change_port(model.c, port=port)
    said = [line for line in capsys.readouterr().err.splitlines() if "can take port" in line]
    assert len(said) == int(warned)
    assert all("port 2222" in line and "ssh_port below 1024" in line for line in said)


@pytest.fixture
def moved(ready, alone):
    """A host that an earlier version moved to port 2222."""

    def make(**settings):
        model = ready(**settings)
        for key in ("port", "listening"):
            del model.sections["ssh"][f"{key}.22"]
            model.sections["ssh"][f"{key}.2222"] = "yes"
        model.set_file("ssh", "drop_in", "Port 2222\n", "644 root")
        path = alone / "home/.ssh/config"
        ssh_config.write(path, ssh_config.read(path)[0]._replace(port=2222))
        model.again()
        return model

    return make


@pytest.mark.parametrize("settings, port", [({}, 2222), ({"ssh_port": 300}, 300)])
def test_a_host_that_was_moved_before_keeps_its_port(moved, settings, port):
    """An older default, or a port of the user's own: no run moves sshd unless a setting says so."""
    model = moved(**settings)
    with Host.of(model.c).filed_under("setup"):
        hardening.change_port(model.c)
    assert facts(model.c).ssh.ports == {port}
    restarts = [
        "make a folder for systemd's options of sshd",
        "let systemd start sshd again whenever it ends",
        "reload systemd",
    ]
    assert (model.whys == restarts) is (port == 2222)
    assert model.file("ssh", "restarts") == debian.ALWAYS


def test_a_move_that_fails_leaves_sshd_a_way_back_to_a_port_that_can_be_taken(moved, monkeypatch):
    """Somebody may take 2222 while the revert restarts sshd: systemd then goes on trying."""
    model = moved(ssh_port=292)

    def refuse_the_new_port(c, user, port, identity=None):
        if port == 292:
            raise ConnectionRefusedError(111, "Connection refused")
        return model.fresh(c, user, port, identity)

    monkeypatch.setattr(connection, "log_in_again", refuse_the_new_port)
    with pytest.raises(SetupError, match="could not move sshd to port 292: .*reverted everything"):
        hardening.change_port(model.c)
    assert model.guard == ["arm", "disarm", "arm", "revert"]
    assert model.file("ssh", "restarts") == debian.ALWAYS


# What others have configured ---------------------------------------------------------------------


def lines(model, *rows: str) -> None:
    """Set the lines of sshd's files: file:number, Match criteria, text."""
    text = "".join("\t".join([*row.split("|")]) + "\n" for row in rows)
    model.sections["ssh"]["lines"] = base64.b64encode(text.encode()).decode()


EARLY = "/etc/ssh/sshd_config.d/00-custom.conf|1||%s"
OURS = "/etc/ssh/sshd_config.d/00-labfab.conf|0||ours"


@pytest.mark.parametrize(
    "stage, text",
    [
        (hardening.disable_passwords, "PasswordAuthentication yes"),
        (hardening.disable_root, "PermitRootLogin prohibit-password"),
    ],
)
def test_a_line_that_sshd_reads_first_is_named_before_any_change(fake, stage, text):
    model = fake()
    lines(model, EARLY % text, OURS)
    with pytest.raises(SetupError, match=f"00-custom.conf:1 says '{text}' and sshd reads it"):
        stage(model.c)
    assert model.writes == [] and model.guard == []


def test_a_line_that_sshd_reads_later_does_not_matter(ready):
    model = ready()
    lines(model, OURS, EARLY % "PasswordAuthentication yes")
    hardening.disable_passwords(model.c)
    assert model.whys == SHUT


@pytest.mark.parametrize("criteria", ["User root", "LocalPort 22", "Address 10.0.0.0/8"])
def test_a_match_block_that_gives_passwords_back_is_named_before_any_change(fake, criteria):
    model = fake()
    block = f"/etc/ssh/sshd_config|9|{criteria}|PasswordAuthentication yes"
    lines(model, OURS, block)
    with pytest.raises(SetupError, match=f"sshd_config:9 says .*`Match {criteria}`"):
        hardening.disable_passwords(model.c)
    assert model.writes == []


def test_a_match_block_for_others_or_with_the_same_value_is_no_matter(ready):
    model = ready()
    for_others = "/etc/ssh/sshd_config|9|User backup|PasswordAuthentication yes"
    lines(model, OURS, for_others, "/etc/ssh/sshd_config|12|all|PasswordAuthentication no")
    hardening.disable_passwords(model.c)
    assert model.whys == SHUT


def test_an_sshd_that_does_not_tell_its_settings_stops_everything(fake):
    """Nothing to read is never taken for nothing to do."""
    model = fake()
    for key in [key for key in model.sections["ssh"] if key.startswith("root.")]:
        del model.sections["ssh"][key]
    model.sections["ssh"]["problem"] = "lport is not in the connection test specification"
    for stage in (hardening.disable_passwords, hardening.disable_root):
        with pytest.raises(SetupError, match="sshd does not tell its settings: lport is not"):
            stage(model.c)
    assert model.writes == []


@pytest.mark.parametrize(
    "key, value, says",
    [
        ("allowusers.1", "root", r"AllowUsers in /etc/ssh/x.conf:1 does not let lab in: add lab"),
        ("allowgroups.1", "ssh", r"AllowGroups does not let lab in: add one of its groups"),
        ("denyusers.1", "l*", r"DenyUsers does not let lab in: take it out"),
        ("denygroups.1", "sudo", r"DenyGroups does not let lab in"),
        ("allowusers.1", "lab@10.*", ""),
        ("allowgroups.1", "sudo", ""),
    ],
)
def test_a_list_that_does_not_let_the_account_in_is_named_before_any_change(fake, key, value, says):
    model = fake()
    model.sections["ssh"][f"root.{key}"] = value
    lines(model, "/etc/ssh/x.conf|1||AllowUsers root")
    if not says:
        return authorized_keys.copy(model.c)
    with pytest.raises(SetupError, match=says):
        authorized_keys.copy(model.c)
    assert model.writes == []


def test_keys_that_sshd_would_not_find_are_not_written(fake):
    model = fake()
    model.sections["ssh"]["root.authorizedkeysfile"] = "/etc/ssh/keys/%u"
    lines(model, "/etc/ssh/x.conf|1||AuthorizedKeysFile /etc/ssh/keys/%u")
    with pytest.raises(SetupError, match="x.conf:1 says 'AuthorizedKeysFile /etc.*keys of lab"):
        authorized_keys.copy(model.c)
    assert model.writes == []


def test_a_colleague_with_a_password_alone_is_named_and_agreed_to(fake, capsys):
    model = fake()
    model.sections["ssh"] |= {"password_only.alice": "alice", "password_only.root": "root"}
    with pytest.raises(SetupError, match=r"alice logs in .*; if that is right.*\[passwords\]"):
        hardening.disable_passwords(model.c)
    assert model.writes == []
    model.lab["accept"] = ["passwords"]
    hardening.disable_passwords(model.again())
    err = capsys.readouterr().err
    assert "this will end: alice logs in with a password and has no key" in err
    assert "this will end: root" not in err  # it is the login


def test_at_a_terminal_a_yes_is_enough(fake, monkeypatch):
    model = fake()
    model.sections["ssh"]["password_only.alice"] = "alice sshusers"
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    answers = iter([False, True])
    monkeypatch.setattr("labfab.console.agreed", lambda question: next(answers))
    with pytest.raises(SetupError, match="nothing was changed"):
        hardening.disable_passwords(model.c)
    assert model.writes == []
    hardening.disable_passwords(model.again())
    assert "refuse passwords for every user" in model.whys


KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI%s"


@pytest.mark.parametrize(
    "text, kind, says",
    [
        (f'command="x" {KEY}b backup@nas', "forced-commands", "backup@nas may run x as root"),
        (f"cert-authority {KEY}c ca@nas", "certificates", "what ca@nas signs opens root"),
        (f"{KEY}d full", "", ""),
        (f'command="x",expiry-time="20200101" {KEY}e old', "", ""),
    ],
)
def test_what_roots_keys_may_do_is_named_before_root_is_refused(fake, text, kind, says):
    model = fake()
    model.set_file("accounts", "root.keys", f"{text}\n", "600 root")
    if not kind:
        return hardening.disable_root(model.c)
    with pytest.raises(SetupError, match=rf"{says}; .*accept: \[{kind}\]"):
        hardening.disable_root(model.c)
    assert model.writes == []


def test_a_ticket_is_no_password(ready, monkeypatch, capsys):
    model = ready()
    lines(model, OURS, "/etc/ssh/sshd_config|4||GSSAPIAuthentication yes")
    ways = ["gssapi-keyex", "gssapi-with-mic", "publickey"]
    monkeypatch.setattr("labfab.host.connection.offered_methods", lambda *asked: ways)
    hardening.disable_passwords(model.c)
    assert model.whys == SHUT
    assert "no password; that stays (/etc/ssh/sshd_config:4)" in capsys.readouterr().out
