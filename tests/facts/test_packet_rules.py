"""Rules that the kernel's own tools print: whose they are, and what they refuse."""

import pytest

from labfab.facts import packet_rules

ACCEPTS = """\
4 *filter
4 :INPUT ACCEPT [0:0]
4 :FORWARD ACCEPT [0:0]
4 -A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
4 -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
4 -A INPUT -i lo -j ACCEPT
"""
REJECT = "-A INPUT -j REJECT --reject-with icmp-host-prohibited"
OTHERS = """\
4 *nat
4 -A OUTPUT -d 127.0.0.11/32 -j DOCKER_OUTPUT
4 *filter
4 :INPUT ACCEPT [0:0]
4 :FORWARD DROP [0:0]
4 -A INPUT -p tcp -m multiport --dports 22 -j f2b-sshd
4 -A INPUT -j ufw-before-input
4 -A INPUT -i virbr0 -p udp -m udp --dport 53 -j ACCEPT
4 -A INPUT -j LIBVIRT_INP
4 -A FORWARD -j DOCKER-USER
4 -A FORWARD -i docker0 ! -o docker0 -j ACCEPT
4 -A FORWARD -o virbr0 -j REJECT --reject-with icmp-port-unreachable
4 -A f2b-sshd -s 203.0.113.9/32 -j REJECT --reject-with icmp-port-unreachable
4 -A f2b-sshd -j RETURN
n table inet f2b-table {
n 	chain f2b-chain {
n 		type filter hook input priority filter - 1; policy accept;
n 		tcp dport 22 ip saddr @addr-set-sshd reject with icmp port-unreachable
n 	}
n }
n table inet filter {
n 	chain input {
n 		type filter hook input priority filter; policy accept;
n 	}
n }
n table ip filter {
n 	chain ufw-before-input {
n 	}
n 	chain INPUT {
n 		type filter hook input priority filter; policy accept;
n 		counter packets 0 bytes 0 jump ufw-before-input
n 	}
n }
"""
NFT = """\
n table inet mine {
n 	set ports {
n 		type inet_service
n 		elements = { 80, 443 }
n 	}
n 	chain in {
n 		type filter hook input priority filter; policy drop;
n 		ct state established,related accept
n 		iif "lo" accept
n 		ct state vmap { invalid : drop, established : accept, related : accept }
n 		icmp type { echo-request } accept
n 		udp dport 51820 accept
n 		tcp dport { 22, 8000-8100 } accept
n 	}
n }
"""


def test_rules_that_programs_bring_back_are_nobodys_firewall():
    found = packet_rules.parse(OTHERS)
    assert found.own == () and found.refusal() == "" and not found.translates
    assert found.refuses_forwards
    assert packet_rules.parse("").own == ()


def test_the_last_rule_refuses_a_port_that_no_other_lets_in():
    found = packet_rules.parse(f"{ACCEPTS}4 {REJECT}\n4 *nat\n4 -A POSTROUTING -j MASQUERADE\n")
    assert found.own[-1] == REJECT and len(found.own) == 4 and found.translates
    assert found.refusal() == found.certainly_refuses(292) == REJECT
    assert found.certainly_refuses(22) == ""
    assert found.certainly_refuses(292, "2001:db8::1") == ""  # IPv6 has no such rule


@pytest.mark.parametrize(
    "rule, refuses",
    [
        ("-A INPUT -p tcp -m multiport --dports 80,200:300 -j ACCEPT", False),
        ("-A INPUT -p tcp -m multiport --dports 80,443 -j ACCEPT", True),
        ("-A INPUT -p udp -m udp --dport 292 -j ACCEPT", True),
        ("-A INPUT -s 192.0.2.0/24 -j ACCEPT", False),
        ("-A INPUT -s 198.51.100.0/24 -j ACCEPT", True),
        ("-A INPUT ! -s 198.51.100.0/24 -j ACCEPT", False),
        ('-A INPUT -m comment --comment "my own" -m recent --rcheck -j ACCEPT', False),
        ("-A MINE -p tcp -m tcp --dport 292 -j ACCEPT", False),
        ("-A OUTPUT -j ACCEPT", True),
    ],
)
def test_a_rule_that_may_let_the_port_in_leaves_it_to_the_proof(rule, refuses):
    found = packet_rules.parse(f"{ACCEPTS}4 {rule}\n4 {REJECT}\n")
    assert (found.certainly_refuses(292, "192.0.2.5") == REJECT) is refuses
    assert found.refusal("192.0.2.5") == REJECT


@pytest.mark.parametrize(
    "text, own",
    [
        ("4 *filter\n4 :INPUT DROP [0:0]\n", ("the policy DROP of INPUT",)),
        ("4 *filter\n4 -A FORWARD -i eth1 -j DROP\n", ("-A FORWARD -i eth1 -j DROP",)),
        ("4 *filter\n4 -A FORWARD -i wg0 -j ACCEPT\n", ()),
        ("4 *raw\n4 -A PREROUTING -i eth1 -j DROP\n", ()),
        (
            "4 *filter\n4 -A INPUT -m comment --comment 'torn\n",
            ("-A INPUT -m comment --comment 'torn",),
        ),
    ],
)
def test_what_counts_as_a_firewall(text, own):
    assert packet_rules.parse(text).own == own


def test_nftables_is_understood_as_far_as_it_matters():
    found = packet_rules.parse(NFT)
    drop = "nft table inet mine, chain in: policy drop"
    assert found.own == ("nft table inet mine, chain in",)
    assert found.certainly_refuses(292) == drop and found.certainly_refuses(8050) == ""
    for rule in (
        "tcp dport @ports accept",
        "ip saddr 192.0.2.0/24 accept",
        "tcp dport != 1 accept",
    ):
        more = NFT.replace("n \t\tudp", f"n \t\t{rule}\nn \t\tudp")
        assert packet_rules.parse(more).certainly_refuses(292) == ""
        assert packet_rules.parse(more).refusal() == drop


def test_hostile_text_is_shown_in_one_short_line():
    found = packet_rules.parse(
        f'4 *filter\n4 -A INPUT -m comment --comment "\x1b[2J{"x" * 900}" -j DROP\n'
    )
    assert "\x1b" not in found.own[0] and len(found.own[0]) < 200
