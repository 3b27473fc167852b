"""The network of this clone's hosts: its own subnet, so that a host keeps its address over a reboot."""

import ipaddress
import json
import shutil
import subprocess

from . import dockerd
from .engine import Engine
from .places import CLONE, LABEL, RigError

NAME = f"labfab-{CLONE}"
RULES = (  # what the engine would set itself, were it allowed to touch the packet filter
    ("-t nat", "POSTROUTING -s %s ! -d %s -j MASQUERADE"),
    ("-t filter", "FORWARD -s %s -j ACCEPT"),
    ("-t filter", "FORWARD -d %s -j ACCEPT"),
)


def ensure(engine: Engine) -> ipaddress.IPv4Network:
    """Return the subnet of our network, made if it is not there."""
    if not engine.ok("network", "inspect", NAME):
        create(engine)
    subnet = subnet_of(engine)
    if engine.is_ours:
        allow(subnet)
    return subnet


def create(engine: Engine) -> None:
    """Create the network on the first free one of our subnets."""
    first = int(CLONE, 16)
    taken = routes()
    for step in range(250):
        subnet = ipaddress.ip_network(f"10.{200 + first // 250 % 50}.{(first + step) % 250}.0/24")
        if any(subnet.overlaps(route) for route in taken):
            continue
        try:
            engine.run("network", "create", "--subnet", str(subnet), "--label", LABEL, NAME)
            return
        except RigError as error:
            if not any(
                word in str(error).lower() for word in ("overlap", "conflict", "already in use")
            ):
                raise
    raise RigError(f"no free subnet for the network {NAME}")


def routes() -> list[ipaddress.IPv4Network]:
    """List the networks the machine already knows a way to."""
    if not shutil.which("ip"):
        return []
    table = (
        subprocess.run(["ip", "-4", "-j", "route"], capture_output=True, check=False).stdout
        or b"[]"
    )
    return [
        ipaddress.ip_network(row["dst"], strict=False)
        for row in json.loads(table)
        if row["dst"] != "default"
    ]


def subnet_of(engine: Engine) -> ipaddress.IPv4Network:
    """Read the subnet of our network (docker and podman spell it differently)."""
    network = json.loads(engine.run("network", "inspect", NAME))[0]
    rows = network.get("subnets") or network["IPAM"]["Config"]
    return ipaddress.ip_network(rows[0].get("subnet") or rows[0]["Subnet"])


def allow(subnet: ipaddress.IPv4Network) -> None:
    """Let the hosts of a subnet out to the package mirrors."""
    script = ""
    for table, rule in RULES:
        rule = rule.replace("%s", str(subnet))
        script += (
            f"iptables -w {table} -C {rule} 2>/dev/null || iptables -w {table} -I {rule} || exit\n"
        )
    if dockerd.as_root("PATH=$PATH:/usr/sbin:/sbin\n" + script).returncode:
        raise RigError(f"iptables refuses the rules for {subnet}: hosts would reach no mirror")


def remove(engine: Engine) -> None:
    """Remove the network and its rules."""
    if not engine.ok("network", "inspect", NAME):
        return
    subnet = subnet_of(engine)
    engine.run("network", "rm", NAME)
    if engine.is_ours:
        forbid(subnet)


def forbid(subnet: ipaddress.IPv4Network) -> None:
    """Remove the rules that `allow` has set."""
    script = ""
    for table, rule in RULES:
        script += f"iptables -w {table} -D {rule.replace('%s', str(subnet))} 2>/dev/null\n"
    dockerd.as_root("PATH=$PATH:/usr/sbin:/sbin\n" + script)
