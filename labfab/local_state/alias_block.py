"""Alias block: the alias of one host, and its text between markers in an ssh_config.

If JupyterLab has an account of its own, `ssh homelab` leads to that account and `ssh homelab-admin`
to the one with sudo. labfab logs in as the latter under both names.

ssh_config.py reads and writes the file of all blocks; aliases.py finds the block of a connection.
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import re
from typing import NamedTuple

from .. import decode
from ..errors import SetupError
from . import files

BEGIN, END = "# >>> labfab %s >>>", "# <<< labfab %s <<<"
# Blocks of earlier versions have this line, and a new wording would rewrite all of them.
NOTICE = "# Written anew by setup: options of your own go into a Host entry further down."
# A word that needs no quotes in an ssh_config or a shell, and is not an option or a token of ssh.
# ssh itself refuses most of these characters in names of users and hosts.
SPECIAL = r"\s\0-\x1f\x7f\"'\\#%$~;|&()<>{}`*?!^"
WORD = rf"[^{SPECIAL}-][^{SPECIAL}]*"
# Options of a Host entry that the block takes over, because the host is not reached without them.
KEPT = (
    *("CertificateFile", "IdentityAgent", "HostKeyAlias", "AddressFamily", "BindAddress"),
    *("BindInterface", "PKCS11Provider", "SecurityKeyProvider"),
)
# Nothing of this machine is offered to the account of the notebooks: its programs could log in
# elsewhere with your agent, and as the account with sudo first of all.
KEPT_HERE = (("ForwardAgent", "no"), ("ForwardX11", "no"))
# paramiko reads ssh's escapes and tokens differently, and replaces every ~.
CONTROL = r"[\0-\x1f\x7f]"
UNREADABLE = r"[\"'\\%~\0-\x1f\x7f]|\$\{"


class Alias(NamedTuple):
    """One host as ssh knows it."""

    name: str
    hostname: str
    # The account with sudo, as which labfab logs in.
    user: str
    port: int
    # The private key; empty: the ones that ssh tries by itself.
    identity: str = ""
    # Earlier logins, as root@203.0.113.5:22, separated by blanks.
    former_logins: str = ""
    proxy_jump: str = ""
    # The account of the notebooks, if the alias leads there; empty: it leads to `user`.
    lab_user: str = ""
    # With ssh's tokens (%h, %p) as the user wrote them.
    proxy_command: str = ""
    # What else ssh needs to reach the host: names of KEPT, with their values.
    options: tuple[tuple[str, str], ...] = ()

    @property
    def way(self) -> str:
        """Return what is in between: ProxyJump or ProxyCommand. Empty: nothing."""
        return self.proxy_jump or self.proxy_command

    @property
    def everyday_user(self) -> str:
        """Return the account that the alias leads to."""
        return self.lab_user or self.user

    @property
    def admin_name(self) -> str:
        """Return the name that leads to the account with sudo."""
        return f"{self.name}-admin" if self.lab_user else self.name


# Logins are compared with those of all aliases, many times in a run.
@functools.lru_cache(4096)
def login(user: str, hostname: str, port: int) -> str:
    """Return a login in canonical form: root@203.0.113.5:22, root@[2001:db8::1]:22."""
    hostname = hostname.lower().strip("[]")
    with contextlib.suppress(ValueError):
        hostname = str(ipaddress.ip_address(hostname))
    return f"{user}@[{hostname}]:{port}" if ":" in hostname else f"{user}@{hostname}:{port}"


def canonical(logins: str) -> str:
    """Return logins separated by blanks in canonical form, without words that are not logins."""
    found = []
    for word in logins.split():
        user, _, rest = word.rpartition("@")
        hostname, _, port = rest.rpartition(":")
        number = decode.number(port)
        if number is not None:
            found.append(login(user, hostname, number))
    return " ".join(found)


def check_word(value: str, what: str) -> None:
    """Raise SetupError for a name that a shell or ssh would read as more than a name.

    ssh refuses it too before it puts it into a ProxyCommand.
    """
    if not re.fullmatch(rf"{WORD}(%[\w.-]+)?", value):
        raise SetupError(f"{value!r} cannot be the {what} in a ProxyCommand: correct -H")


def check(alias: Alias) -> None:
    """Raise SetupError for values that ssh and paramiko would read differently."""
    files.check_alias(alias.name)
    words = {"host name": alias.hostname, "user name": alias.user}
    if alias.lab_user:
        words["name of lab_user"] = alias.lab_user
    if alias.proxy_jump:
        words["ProxyJump"] = alias.proxy_jump
    for what, value in words.items():
        if not re.fullmatch(WORD, value):
            raise SetupError(f"{value!r} cannot be the {what} in an ssh_config", host=alias.name)
    for what, value in (("ProxyCommand", alias.proxy_command), *alias.options):
        if re.search(CONTROL, value) or value != value.strip() or (what in KEPT and '"' in value):
            raise SetupError(f"{value!r} cannot be the {what} in an ssh_config", host=alias.name)
    if alias.identity != alias.identity.strip():
        raise SetupError("a key's path cannot begin or end with a blank", host=alias.name)
    if not 1 <= alias.port <= 65535:
        raise SetupError(f"{alias.port} is not a port: choose 1 to 65535", host=alias.name)
    if re.search(UNREADABLE, alias.identity):
        raise SetupError(
            f"the path of the key, {alias.identity!r}, has a character that ssh and fab read "
            "differently (one of \" ' \\ % ~ ${): copy the pair to another path and put that in "
            "the setting identity"
        )


def render(alias: Alias, newline: str) -> str:
    """Return the text of an alias, with *newline* at the end of each line."""
    lines = [
        BEGIN % alias.name,
        NOTICE,
        *([f"# labfab: was {canonical(alias.former_logins)}"] if alias.former_logins else []),
        *entry(alias, alias.name, alias.everyday_user),
        *(entry(alias, alias.admin_name, alias.user) if alias.lab_user else []),
        "Host *",
        END % alias.name,
    ]
    return "".join(line + newline for line in lines)


def entry(alias: Alias, name: str, user: str) -> list[str]:
    """Return the lines that lead from a name to an account of the host."""
    options: dict[str, str | int] = {
        "HostName": alias.hostname,
        "Port": alias.port,
        "User": user,
        "ProxyJump": alias.proxy_jump,
        "ProxyCommand": alias.proxy_command,
    }
    if alias.identity:
        plain = re.fullmatch(WORD, alias.identity)
        options["IdentityFile"] = alias.identity if plain else f'"{alias.identity}"'
        options["IdentitiesOnly"] = "yes"
    options["ServerAliveInterval"] = 15
    if alias.lab_user and name == alias.name:
        options |= KEPT_HERE
    lines = [(key, value) for key, value in options.items() if value]
    lines += [
        (key, value if re.fullmatch(WORD, value) else f'"{value}"') for key, value in alias.options
    ]
    return [f"Host {name}", *(f"    {key} {value}" for key, value in lines)]


def parse(name: str, block: str) -> Alias:
    """Parse an alias from its text."""
    block, _, admin = block.partition(f"\nHost {name}-admin")
    found, lab_user = options_in(block), ""
    if admin:
        lab_user, found = found.get("user", ""), options_in(admin)
    was = re.search(r"^# labfab: was (.+)$", block, re.MULTILINE)
    return Alias(
        name=name,
        hostname=found.get("hostname", name),
        user=found.get("user", ""),
        port=decode.number(found.get("port", "")) or 22,
        identity=found.get("identityfile", ""),
        former_logins=canonical(was[1]) if was else "",
        proxy_jump=found.get("proxyjump", ""),
        lab_user=lab_user,
        proxy_command=found.get("proxycommand", ""),
        options=kept_options(admin or block),
    )


def kept_options(text: str) -> tuple[tuple[str, str], ...]:
    """Return the options of KEPT in an entry, in its order; some may be there several times."""
    names = {name.lower(): name for name in KEPT}
    return tuple((names[key], value) for key, value in pairs_in(text) if key in names)


def options_in(text: str) -> dict[str, str]:
    """Return the options of an entry, by their names in lower case."""
    return dict(reversed(pairs_in(text)))


def pairs_in(text: str) -> list[tuple[str, str]]:
    """Return the options of an entry as they follow each other."""
    found = re.findall(r"^[ \t]+(\w+)[ \t]+(.+)$", text, re.MULTILINE)
    return [
        (key.lower(), re.sub(r'^"([^"]*)"$', r"\1", value.strip()).strip()) for key, value in found
    ]
