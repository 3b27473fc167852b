"""SSH and published ports get in, the rest stays out."""

import re

import pytest

from labfab.errors import SetupError
from labfab.facts import facts
from labfab.settings import Settings
from labfab.stages import firewall
from labfab.stages.system import packages
from tests.fake import blob

ON = "switch the firewall on"


def commands(model) -> list[str]:
    return [
        write.command
        for write in model.writes
        if "ufw" in write.command and "apt-get" not in write.command
    ]


def test_ssh_is_let_in_before_the_door_shuts(fake):
    """On a bare host: install ufw, open sshd's ports, switch it on, prove the login."""
    model = fake(open_ports=[443, 80])
    model.sections["ssh"] |= {"port.2222": "yes"}
    firewall.enable(model.c)
    assert commands(model) == [
        "ufw allow 22/tcp",
        "ufw allow 2222/tcp",
        "ufw allow 443/tcp",
        "ufw allow 80/tcp",
        "ufw default deny incoming && ufw --force enable",
    ]
    assert model.logins == [("root", 22)]
    firewall.enable(model.again())
    assert model.whys == []


def test_what_goes_dark_is_named_before_the_firewall_goes_on(fake, capsys):
    """Whoever uses a port learns of it, and of the setting that keeps it; a second run is silent."""
    model = fake(open_ports=[443], open_udp_ports=[51820])
    model.sections["firewall"] |= {"open.22": "sshd", "open.443": "caddy", "open.8443": "nginx"}
    model.sections["firewall"] |= {f"open_udp.{port}": "x" for port in (53, 68, 51820)}
    model.sections["firewall"] |= {"open_udp.40000": "curl (uid 1000)", "open_udp.51821": "unknown"}
    firewall.enable(model.c)
    said = capsys.readouterr()
    named = re.findall(r"this will end: (.+)", said.out + said.err)
    refuses = "the firewall refuses that unless you set"
    assert named == [
        f"nginx answers others on port 8443; {refuses} open_ports: [8443]",
        f"x answers others on UDP port 53; {refuses} open_udp_ports: [53]",
        f"unknown answers others on UDP port 51821; {refuses} open_udp_ports: [51821]",
    ]
    assert "ufw allow 51820/udp" in commands(model)
    firewall.enable(model.again())
    assert "this will end" not in str(capsys.readouterr()) and model.whys == []


def test_present_rules_are_kept(fake):
    """An inactive ufw with rules only gets the missing ones and is switched on."""
    model = fake()
    model.install("ufw")
    model.sections["firewall"] |= {"allowed.22": "yes", "allowed.8443": "yes"}
    firewall.enable(model.c)
    assert model.whys == [ON]
    assert model.sections["firewall"]["allowed.8443"] == "yes"


def test_an_active_firewall_that_lets_everything_in_is_closed(fake):
    """Being on includes the default policy."""
    model = fake()
    model.install("ufw")
    model.sections["firewall"] |= {"active": "yes", "incoming": "allow", "allowed.22": "yes"}
    firewall.enable(model.c)
    assert model.whys == ["refuse other incoming traffic"]


def test_a_lockout_is_reverted(fake):
    """If no fresh login works, the firewall is off again and the rules are restored."""
    model = fake()
    model.install("ufw")
    model.refused_logins = 1
    with pytest.raises(SetupError, match="could not switch the firewall on"):
        firewall.enable(model.c)
    assert model.guard == ["arm", "revert"] and model.sections["firewall"] == {}


def test_a_firewall_that_does_not_start_is_reported(fake):
    """iptables' own error fits on one line, and the rules are restored."""
    model = fake()
    model.install("ufw")
    model.failing = {
        "--force enable": "ERROR: problem running ufw-init\niptables-restore: line 4 failed"
    }
    with pytest.raises(SetupError, match=r"ufw-init \| iptables-restore: line 4 failed") as error:
        firewall.enable(model.c)
    assert model.sections["firewall"] == {} and "\n" not in str(error.value)


def test_a_port_of_what_was_published_is_closed_when_it_is_no_longer(fake):
    """Only labfab's rule, recognized by its comment; never anybody else's, open_ports' or sshd's."""
    model = fake(publish="https", lab_port=8888, open_ports=[9443])
    model.sections["firewall"]["allowed.443"] = "allow 443/tcp"
    firewall.enable(model.c)
    assert commands(model)[:3] == [
        "ufw allow 22/tcp",
        "ufw allow 8888/tcp comment labfab",
        "ufw allow 9443/tcp",
    ]
    firewall.enable(model.again())
    assert model.whys == [] and len(model.told) == 1
    model.sections["firewall"]["allowed.8888"] += ";limit 8888/tcp"
    model.lab |= {"publish": "apache"}
    firewall.enable(model.again())
    assert model.whys == ["open port 80", "close port 8888"]
    assert model.guard == ["arm", "disarm"]
    model.lab |= {"publish": "tunnel", "open_ports": []}
    firewall.enable(model.again())
    assert model.whys == ["close port 80"]
    have = {
        key: value
        for key, value in model.sections["firewall"].items()
        if key.startswith("allowed.")
    }
    assert have == {
        "allowed.22": "allow 22/tcp",
        "allowed.443": "allow 443/tcp",
        "allowed.8888": "limit 8888/tcp",
        "allowed.9443": "allow 9443/tcp",
    }


@pytest.mark.parametrize(
    "holder, whys", [("apache2", []), ("jupyter-lab", ["close port 443"]), ("", ["close port 443"])]
)
def test_a_port_where_another_program_listens_is_left_to_it(fake, capsys, holder, whys):
    """Apache may have other sites, so a note says how to close the port. An old JupyterLab has none."""
    model = fake()
    model.install("ufw")
    model.sections["ssh"] |= {"listening.443": holder} if holder else {}
    model.sections["firewall"] |= {
        "active": "yes",
        "incoming": "deny",
        "allowed.22": "allow 22/tcp",
    }
    model.sections["firewall"]["allowed.443"] = "allow 443/tcp comment=6c6162666162"
    firewall.enable(model.c)
    assert model.whys == whys
    assert (
        "port 443 stays open in the firewall: apache2 listens there" in capsys.readouterr().out
    ) is (holder == "apache2")


def test_a_port_that_sshd_has_taken_over_stays_open(fake):
    model = fake()
    model.install("ufw")
    model.sections["ssh"] |= {"port.443": "yes", "listening.443": "sshd"}
    model.sections["firewall"] |= {
        "active": "yes",
        "incoming": "deny",
        "allowed.22": "allow 22/tcp",
    }
    model.sections["firewall"]["allowed.443"] = "allow 443/tcp comment=6c6162666162"
    firewall.enable(model.c)
    assert model.whys == []


THEIRS = (
    "4 *filter\n4 :INPUT ACCEPT [0:0]\n4 -A INPUT -p tcp --dport 22 -j ACCEPT\n4 -A INPUT -j DROP"
)
ANOTHER = "this host has a firewall of its own, so nothing was changed"


@pytest.mark.parametrize(
    "section, key, value, named",
    [
        ("system", "package.iptables-persistent", "yes", "remove the packages iptables-persistent"),
        ("firewall", "loads.firewalld", "yes", "firewalld.service loads rules"),
        ("firewall", "rules", blob(THEIRS), "'-A INPUT -j DROP' and 1 more"),
    ],
)
def test_another_firewall_is_neither_removed_nor_joined(fake, section, key, value, named):
    """Nothing of ufw comes early either; a ufw that is on is the host's firewall."""
    model = fake()
    model.sections[section][key] = value
    with pytest.raises(SetupError, match=re.escape(named)) as error:
        firewall.enable(model.c)
    assert ANOTHER in str(error.value) and "LABFAB_FIREWALL=false" in str(error.value)
    assert "ufw" not in packages.needed(model.c) and model.whys == []
    model.install("ufw")
    model.sections["firewall"] |= {"active": "yes", "incoming": "deny", "allowed.22": "allow 22"}
    firewall.enable(model.again())
    assert model.whys == []


def test_an_nftables_service_counts_if_its_file_has_rules(fake):
    model = fake()
    model.sections["firewall"]["loads.nftables"] = "yes"
    assert firewall.others(facts(model.c)) == []
    model.sections["firewall"]["nftables_conf"] = "yes"
    assert "/etc/nftables.conf" in firewall.others(facts(model.again()))[0]


def test_the_port_of_the_vpn_that_the_login_came_through(fake, capsys):
    """The ports of the programs that hold tunnels; of the kernel's own; else every UDP port."""
    model = fake(accept=["vpn"])
    have = model.sections["firewall"]
    have |= {"tunnel": "tun0", "tunnel_program.openvpn": "yes", "open_udp.53": "dnsmasq"}
    have |= {"open.1194": "openvpn (uid 65534)", "open.80": "nginx", "open_udp.51820": "unknown"}

    def ports(**lab) -> list[str]:
        model.lab = {"accept": ["vpn"]} | lab
        firewall.name_endings(model.again(), Settings.of(model.c))
        said = capsys.readouterr()
        return re.findall(r"your login through .*calls (.*), which", said.out + said.err)

    assert ports() == ["UDP ports 53, 51820", "port 1194"]
    del have["tunnel_program.openvpn"]
    assert ports() == ["UDP port 51820"]
    assert ports(open_udp_ports=[51820]) == ["UDP port 53"]
    assert ports(open_udp_ports=[51820, 53]) == []
    model.lab = {}
    with pytest.raises(SetupError, match=re.escape("(LABFAB_ACCEPT=vpn)")):
        firewall.enable(model.again())
    assert model.whys == []


@pytest.mark.parametrize(
    "have, named",
    [
        ({"forwards": "2"}, True),
        ({"forwards": "1"}, False),
        ({"forwards": "1", "rules": blob("4 *nat\n4 -A POSTROUTING -j MASQUERADE")}, True),
        ({"forwards": "2", "rules": blob("4 *filter\n4 :FORWARD DROP [0:0]")}, False),
        ({"forwards": "2", "forward": "allow"}, False),
    ],
)
def test_what_the_host_forwards_is_named_and_kept_if_wanted(fake, capsys, have, named):
    model = fake()
    model.sections["firewall"] |= have
    firewall.enable(model.c)
    said = str(capsys.readouterr())
    assert ("this host forwards traffic of others" in said) is named
    model.lab = {"firewall_forward": True}
    firewall.enable(model.again())
    passes = "let the firewall pass what this host forwards"
    assert (passes in model.whys) is (have.get("forward") != "allow")
    firewall.enable(model.again())
    assert model.whys == []


def test_a_door_for_some_senders_is_not_opened_to_everybody(fake):
    """ufw is off and has a rule for sshd's port: the fresh login proves that it lets us in."""
    model = fake()
    model.install("ufw")
    model.sections["firewall"]["partial.22"] = "allow from 203.0.113.0/24 to any port 22"
    firewall.enable(model.c)
    assert model.whys == [ON] and model.logins == [("root", 22)]
