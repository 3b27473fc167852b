"""Hosts with a firewall, a VPN or forwarded traffic of their own: what ufw would end, and what is kept."""

import time

import pytest

from tests.rig import probes

pytestmark = pytest.mark.host

APT = "export DEBIAN_FRONTEND=noninteractive; apt-get update -qq && apt-get install -qq -y"
# As console output of a real case has it: NAT for a VPN, a refusal at the end of INPUT.
THEIRS = """
iptables -t nat -A POSTROUTING -s 10.8.0.0/24 -j MASQUERADE
iptables -A INPUT -p tcp --dport 22 -j ACCEPT
iptables -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
iptables -A INPUT -i lo -j ACCEPT
iptables -A INPUT -j REJECT --reject-with icmp-host-prohibited
netfilter-persistent save 2>/dev/null
"""
NFTABLES = """\
table inet mine {
  chain in {
    type filter hook input priority 0; policy drop;
    ct state established,related accept
    iif lo accept
    tcp dport 22 accept
  }
}
"""
# A tunnel whose end is a program, and a way to its address: SSH_CONNECTION then names that address.
TUNNEL = """\
import fcntl, socket, struct, subprocess, threading
tun = open("/dev/net/tun", "r+b", buffering=0)
fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", b"vpn0", 0x1001))
subprocess.run("ip addr add 10.8.0.1/24 dev vpn0 && ip link set vpn0 up", shell=True, check=True)
outside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
outside.bind(("0.0.0.0", 51820))
def copy(source, sink):
    while data := source.recv(65536):
        sink.sendall(data)
    sink.shutdown(socket.SHUT_WR)
door = socket.create_server(("0.0.0.0", 2022))
while True:
    here, _ = door.accept()
    there = socket.create_connection(("10.8.0.1", 22))
    for one, other in ((here, there), (there, here)):
        threading.Thread(target=copy, args=(one, other), daemon=True).start()
"""
WITHOUT = {"LABFAB_FIREWALL": "false", "LABFAB_CONNECT_TIMEOUT": "4"}
FIREWALL = "this host has a firewall of its own"


@pytest.fixture(scope="module")
def box(module_host):
    return module_host("debian12", "walled")


def rules(box) -> str:
    return box.run("iptables-save | grep ^-A | sort")


def test_rules_of_another_firewall_are_neither_removed_nor_overridden(box, module_fab):
    """Nothing is changed; with firewall: false it stays, and its own rule is named for the port."""
    autosave = "iptables-persistent iptables-persistent/autosave_v4 boolean true"
    box.run(f"echo {autosave} | debconf-set-selections; {APT} iptables-persistent 2>&1")
    box.run(THEIRS)
    before, files = rules(box), box.checksums()
    for task in ("setup.plan", "setup.full", "firewall.enable"):
        module_fab.on(box, task).fails(
            FIREWALL,
            "would remove the packages iptables-persistent, netfilter-persistent",
            "firewall: false",
        )
    refused = "-A INPUT -j REJECT --reject-with icmp-host-prohibited"
    module_fab.on(box, "setup.full", env=WITHOUT).fails(
        f"the host's own firewall refuses port 292 ({refused})", "ssh_port: 22"
    )
    assert (rules(box), box.checksums()) == (before, files)
    planned = module_fab.on(box, "setup.plan", env=WITHOUT | {"LABFAB_SSH_PORT": "22"})
    assert planned.rc == 2 and "ufw" not in planned.text

    box.run("iptables -I INPUT -m recent --name mine --rcheck -j ACCEPT")  # may let in any port
    said = module_fab.on(box, "ssh.change-port", env=WITHOUT).fails(refused, "reverted everything")
    assert "router" not in said.text
    assert "iptables-persistent" in box.run("dpkg-query -W -f '${Package} ' '*persistent*'")


def test_rules_of_nftables_and_of_the_kernel_alone_count(box, module_fab):
    box.run("apt-get purge -qq -y iptables-persistent netfilter-persistent; iptables -F INPUT")
    box.run("iptables -t nat -F POSTROUTING; iptables -A INPUT -s 198.51.100.7 -j DROP")
    module_fab.on(box, "firewall.enable").fails(FIREWALL, "-A INPUT -s 198.51.100.7/32 -j DROP")
    box.run("iptables -F INPUT; cat >/etc/nftables.conf", input=NFTABLES)
    box.run(f"command -v nft || {{ {APT} nftables; }}; nft -f /etc/nftables.conf")
    box.run("systemctl enable nftables")
    module_fab.on(box, "firewall.enable").fails(FIREWALL, "/etc/nftables.conf")
    module_fab.on(box, "ssh.change-port", env=WITHOUT).fails("policy drop", "let it in there")
    box.run("systemctl disable nftables; nft delete table inet mine; rm /etc/nftables.conf")


def test_the_vpn_that_the_login_came_through_is_not_shut(box, module_fab):
    """Its port is opened, or nothing is changed; what the host forwards goes on if that is wanted."""
    box.run("mkdir -p /dev/net; [ -e /dev/net/tun ] || mknod /dev/net/tun c 10 200")
    box.run("cat >/root/tunnel.py; systemd-run -q python3 /root/tunnel.py", input=TUNNEL)
    door = ("-H", f"root@{box.address}:2022")
    trust = {"LABFAB_HOST_KEY": box.host_key_fingerprint(), "LABFAB_SSH_PORT": "22"}
    end = time.monotonic() + 10
    while 2022 not in probes.answering(box.address, [2022]) and time.monotonic() < end:
        time.sleep(0.2)
    named = ("through vpn0", "UDP port 51820", "open_udp_ports: [51820]")
    planned = module_fab(*door, "setup.plan", env=trust)
    assert planned.rc == 2 and all(words in planned.text for words in named)
    assert "firewall_forward: true" in planned.text and "accept: [vpn]" in planned.text
    for task in ("setup.full", "firewall.enable"):
        module_fab(*door, task, env=trust).fails(*named, "LABFAB_ACCEPT=vpn")
    assert box.run("command -v ufw || id lab 2>&1 || :").endswith("no such user")
    keeps = {"LABFAB_OPEN_UDP_PORTS": "51820", "LABFAB_OPEN_PORTS": "2022"}
    keeps |= trust | {"LABFAB_FIREWALL_FORWARD": "true"}
    said = module_fab(*door, "firewall.enable", env=keeps).ok()
    assert "will end" not in said.text
    status = box.run("ufw status verbose")
    assert "51820/udp" in status and "allow (routed)" in status
    assert "nothing to change" in module_fab(*door, "firewall.enable", env=keeps).ok().text
    module_fab(*door, "setup.undo", "--yes", env=keeps).ok()
    assert box.run("command -v ufw || echo none") == "none"
    # What ufw has left in the kernel is nobody's firewall.
    planned = module_fab(*door, "setup.plan", env=trust)
    assert planned.rc == 2 and FIREWALL not in planned.text


def test_ufws_limit_moves_with_the_port_and_is_waited_for(host, fab):
    """Rules for some senders move too; a refused connection is told apart from a failure."""
    box = host("debian12", "limited")
    box.run(f"{APT} ufw 2>&1; ufw allow from 198.51.100.0/24 to any port 22 proto tcp")
    box.run("ufw limit 22/tcp; ufw --force enable")
    for _ in range(3):
        probes.answering(box.address, [22])
    said = fab.on(box, "ssh.change-port").ok()
    assert "(ufw limit): waiting" in said.text
    status = box.run("ufw status")
    assert "22/tcp " not in status.replace("292/tcp", "")
    moved = [line.split()[:3] for line in status.splitlines() if line.startswith("292/tcp ")]
    assert moved == [
        ["292/tcp", "ALLOW", "198.51.100.0/24"],
        ["292/tcp", "LIMIT", "Anywhere"],
        ["292/tcp", "(v6)", "LIMIT"],
    ]
    for _ in range(2):
        probes.answering(box.address, [292])
    said = fab("-H", "homelab", "check.ssh")
    assert "takes no more connections" in said.text and "delete the block" not in said.text
    assert "fail         ssh-reach" not in said.text and "fail         ssh-login" not in said.text
