"""Packet rules: what filters packets on a host besides ufw, in the words of the kernel's own tools.

What is read here decides about warnings and stops, and never about rights. A rule that is not
understood counts as one that may let packets in.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import Iterable
from typing import NamedTuple

from ..text import printable

# Rules of programs that bring them back by themselves, and that get along with ufw.
BROUGHT = re.compile(
    r"\bufw6?-|\bDOCKER|f2b-|fail2ban|\bLIBVIRT_|\bNETAVARK|\bCNI-|\bKUBE-|\bcali-|\bts-(input|"
    r"forward)|wg-quick|generated for (LXD|Incus)|sshguard|CROWDSEC|"
    r"\b(-?[io]|[io]ifname) \"?(docker|virbr|lxdbr|incusbr|podman|cni|br-)[0-9a-f]+\b"
)
BROUGHT_TABLES = re.compile(
    r"f2b|fail2ban|docker|libvirt|netavark|lxd|incus|wg-quick|io\.systemd|tailscale|crowdsec|kube"
)
# What the user types is lower case; iptables writes its chains like this.
IPTABLES = {"INPUT", "FORWARD", "OUTPUT", "PREROUTING", "POSTROUTING"}
REFUSALS = ("DROP", "REJECT")
LONGEST = 120  # characters of a rule in a message
HOOK = re.compile(r"type (\w+) hook (\w+) .*?;(?: policy (\w+);)?")
# Words of an accepting rule of nftables that does not concern a new TCP connection from outside.
OTHER_TRAFFIC = re.compile(
    r'iif(name)? "?lo"?\b|\budp |icmp|ct state vmap (?!.*new\b)|'
    r"ct state (\{ )?(established|related)(, ?(established|related))*( \})? (?!.*\bnew\b)"
)


class Rule(NamedTuple):
    """A rule of iptables. family: 4 or 6."""

    family: str
    chain: str
    words: tuple[str, ...]

    @property
    def text(self) -> str:
        """Return the rule as iptables prints it."""
        return shortened(f"-A {self.chain} {' '.join(self.words)}")

    @property
    def target(self) -> str:
        """Return where packets go that match."""
        return self.value("-j", "-g")

    def value(self, *options: str) -> str:
        """Return what follows one of these options; empty if the rule has none of them."""
        for option, value in zip(self.words, self.words[1:], strict=False):
            if option in options:
                return value
        return ""


class Chain(NamedTuple):
    """A chain of nftables. kind, hook, policy: empty if no packets come here by themselves."""

    table: str
    name: str
    kind: str
    hook: str
    policy: str
    rules: tuple[str, ...]


class PacketRules(NamedTuple):
    """The rules of a host that are neither ufw's nor of a program that brings its own back."""

    # What else than ufw refuses or lets in packets, as the tools print it; empty: nothing.
    own: tuple[str, ...] = ()
    # 4, 6 or "" for both -> the rule that refuses whatever no other rule lets in.
    last: tuple[tuple[str, str], ...] = ()
    # iptables: the rules that let something in; nftables: the same, as text.
    accepting: tuple[Rule, ...] = ()
    accepting_text: tuple[str, ...] = ()
    # Whether addresses are translated for others.
    translates: bool = False
    # Whether nothing is forwarded that no rule lets through.
    refuses_forwards: bool = False

    def refusal(self, client: str = "") -> str:
        """Return the rule that refuses the rest of what comes in; empty if there is none.

        client: the address of who comes in, which decides between IPv4 and IPv6.
        """
        families = ("", "6" if ":" in client else "4") if client else ("", "4", "6")
        return next((text for family, text in self.last if family in families), "")

    def certainly_refuses(self, port: int, client: str = "") -> str:
        """Return the rule that refuses a TCP port; empty if some other rule may let it in."""
        may = any(may_accept(rule, port, client) for rule in self.accepting)
        may = may or any(text_may_accept(text, port) for text in self.accepting_text)
        return "" if may else self.refusal(client)


def parse(text: str) -> PacketRules:
    """Read the output of iptables-save and `nft list ruleset`, as facts.linux.sh marks it."""
    lines = [(line[0], line[2:]) for line in text.splitlines() if line[1:2] == " "]
    rules, policies, translates = read_iptables((mark, line) for mark, line in lines if mark != "n")
    chains = read_nftables(line for mark, line in lines if mark == "n")
    if rules or policies:
        chains = [chain for chain in chains if not of_iptables(chain, chains)]
    chains = [
        chain._replace(rules=tuple(rule for rule in chain.rules if not BROUGHT.search(rule)))
        for chain in chains
        if not (BROUGHT_TABLES.search(chain.table) or BROUGHT.search(chain.name))
    ]
    mine = [rule for rule in rules if not BROUGHT.search(" ".join(rule.words))]
    shut = [(family, chain) for family, chain, policy in policies if policy == "DROP"]
    refused = {
        (family, f"the policy DROP of {chain}") for family, chain in shut if chain == "INPUT"
    }
    own = [rule.text for rule in mine if rule.chain in ("INPUT", "OUTPUT") or refuses_forward(rule)]
    own += [f"the policy DROP of {chain}" for _, chain in shut if chain != "FORWARD"]
    own += [named(chain) for chain in chains if filters(chain)]
    last = [(rule.family, rule.text) for rule in mine if refuses_all(rule)]
    last += [("", text) for chain in chains if (text := refuses_rest(chain))]
    return PacketRules(
        own=tuple(dict.fromkeys(own)),
        last=(*last, *sorted(refused)),
        accepting=tuple(rule for rule in mine if rule.target not in REFUSALS),
        accepting_text=tuple(
            one for chain in chains for one in chain.rules if "accept" in one or "jump" in one
        ),
        translates=translates
        or any("masquerade" in r or "snat" in r for c in chains for r in c.rules),
        refuses_forwards=("4", "FORWARD") in shut
        or any(chain.hook == "forward" and refuses_rest(chain, "forward") for chain in chains),
    )


def read_iptables(
    lines: Iterable[tuple[str, str]],
) -> tuple[list[Rule], list[tuple[str, str, str]], bool]:
    """Return rules and policies of the table filter, and whether addresses are translated."""
    rules: dict[Rule, None] = {}
    policies: dict[tuple[str, str, str], None] = {}
    table, translates = "", False
    for family, line in lines:
        if line.startswith("*"):
            table = line[1:]
        elif table == "filter" and line.startswith(":"):
            chain, policy = (*line[1:].split(), "", "")[:2]
            policies[family, chain, policy] = None
        elif line.startswith("-A ") and len(line.split()) > 1:
            words = tuple(split(line))[1:]
            if table == "filter":
                rules[Rule(family, words[0], words[1:])] = None
            elif not BROUGHT.search(line):
                translates = translates or "MASQUERADE" in words or "SNAT" in words
    return list(rules), list(policies), translates


def split(line: str) -> list[str]:
    """Split a rule into its words; comments are quoted."""
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


def read_nftables(lines: Iterable[str]) -> list[Chain]:
    """Return the chains of all tables."""
    chains: list[Chain] = []
    table, depth = "", 0
    for line in map(str.strip, lines):
        words = line.split()
        if line.startswith("table ") and line.endswith("{"):
            table, depth = " ".join(words[1:-1]), 1
        elif depth == 1 and line.startswith("chain ") and line.endswith("{"):
            chains.append(Chain(table, words[1], "", "", "", ()))
            depth = 2
        elif line.endswith("{"):
            depth += 1
        elif line == "}":
            depth -= 1
        elif depth == 2 and chains and chains[-1].table == table:
            chains[-1] = with_line(chains[-1], line)
    return chains


def with_line(chain: Chain, line: str) -> Chain:
    """Return a chain with one more of its lines."""
    if found := HOOK.match(line):
        return chain._replace(kind=found[1], hook=found[2], policy=found[3] or "accept")
    if not line or line.startswith("#"):
        return chain
    return chain._replace(rules=(*chain.rules, line))


def of_iptables(chain: Chain, chains: Iterable[Chain]) -> bool:
    """Return whether iptables shows this chain too."""
    return any(one.table == chain.table and one.hook and one.name in IPTABLES for one in chains)


def filters(chain: Chain) -> bool:
    """Return whether packets that come in or go out are chosen here, or forwarded ones refused."""
    if chain.kind != "filter":
        return False
    if chain.hook in ("input", "output"):
        return bool(chain.rules) or chain.policy == "drop"
    return chain.policy == "drop" or any(refuses(rule) for rule in chain.rules)


def named(chain: Chain) -> str:
    """Return a chain of nftables in words."""
    return shortened(f"nft table {chain.table}, chain {chain.name}")


def refuses(rule: str) -> bool:
    """Return whether a rule of nftables refuses packets."""
    return bool(re.search(r"\b(drop|reject)\b", rule))


def refuses_rest(chain: Chain, hook: str = "input") -> str:
    """Return what refuses the packets that no other rule of a chain lets in; empty: nothing."""
    if chain.kind != "filter" or chain.hook != hook:
        return ""
    rest = r"(log\b.*? )?(counter packets \d+ bytes \d+ )?(drop|reject\b.*)"
    found = [rule for rule in chain.rules if re.fullmatch(rest, rule)]
    if found:
        return f"{named(chain)}: {shortened(found[-1])}"
    return f"{named(chain)}: policy drop" if chain.policy == "drop" else ""


def refuses_forward(rule: Rule) -> bool:
    """Return whether a rule refuses what the host forwards."""
    return rule.chain == "FORWARD" and rule.target in REFUSALS


def refuses_all(rule: Rule) -> bool:
    """Return whether a rule refuses every new TCP connection that reaches it."""
    if rule.chain != "INPUT" or rule.target not in REFUSALS:
        return False
    text = " ".join(rule.words)
    known = (
        r"-m comment --comment .*? (?=-)|-p tcp\b|-m tcp\b|--syn\b|-j .*"
        r"|-m (conntrack|state)\b|--(ct)?state \S*NEW\S*"
    )
    return not re.sub(known, "", text).strip()


def may_accept(rule: Rule, port: int, client: str) -> bool:
    """Return whether a rule may let in a new TCP connection from outside to this port."""
    states = rule.value("--ctstate", "--state")
    if "!" in rule.words and rule.chain not in ("OUTPUT", "FORWARD"):
        return rule.target == "ACCEPT"
    return not (
        rule.chain in ("OUTPUT", "FORWARD")
        or rule.family != ("6" if ":" in client else "4")
        or rule.value("-i") == "lo"
        or rule.value("-p") not in ("", "tcp", "all", "6")
        or (states and "NEW" not in states)
        or not covers(rule.value("--dport", "--dports", "--destination-port"), port, ",")
        or not from_client(rule.value("-s"), client)
        # Whatever the chain accepts is a rule of its own here.
        or rule.target not in ("ACCEPT", "RETURN")
    )


def text_may_accept(rule: str, port: int) -> bool:
    """Return whether a rule of nftables may let in a new TCP connection to this port."""
    if OTHER_TRAFFIC.search(rule) or not re.search(r"\baccept\b", rule):
        return False
    found = re.search(r"\btcp dport (\{[^}]*\}|\S+)", rule)
    if not found or "@" in found[1]:
        return True
    return covers(found[1].strip("{} ").replace("-", ":").replace(" ", ""), port, ",")


def covers(listed: str, port: int, between: str) -> bool:
    """Return whether a list of ports and ranges has a port. An empty list has them all."""
    if not listed:
        return True
    for part in listed.split(between):
        first, _, last = part.partition(":")
        if not re.fullmatch(r"\d*", first + last):
            return True  # a name: not understood
        if int(first or 0) <= port <= int((last or 65535) if ":" in part else first):
            return True
    return False


def from_client(listed: str, client: str) -> bool:
    """Return whether an address is in a network; True if either is unknown."""
    try:
        return ipaddress.ip_address(client) in ipaddress.ip_network(listed, strict=False)
    except ValueError:
        return True


def shortened(text: str) -> str:
    """Return text of the host as one short line."""
    text = printable(" ".join(text.split()))
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
