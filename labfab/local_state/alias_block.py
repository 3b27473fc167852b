"""The alias of one lab: a host as ssh knows it, and its text in an ssh_config."""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import re
from typing import NamedTuple

from ..errors import SetupError
from . import files

BEGIN, END = "# >>> labfab %s >>>", "# <<< labfab %s <<<"
WORD = r"[^\s\"'\\#%$~-][^\s\"'\\#%$~]*"  # needs no quotes, is no option and no token
# ssh's escapes and tokens mean something else to paramiko, which also replaces every ~ it sees.
UNREADABLE = r"[\"'\\%~\0-\x1f\x7f]|\$\{"


class Alias(NamedTuple):
    """One host as ssh knows it; `was` has the logins it had before, as root@203.0.113.5:22, with blanks between them."""

    name: str
    hostname: str
    user: str
    port: int
    identity: str = ""
    was: str = ""
    proxy_jump: str = ""


@functools.lru_cache(4096)  # each login is compared with those of all aliases, again and again
def login(user: str, hostname: str, port: int) -> str:
    """Write a login in one fixed form: root@203.0.113.5:22, root@[2001:db8::1]:22."""
    hostname = hostname.lower().strip("[]")
    with contextlib.suppress(ValueError):
        hostname = str(ipaddress.ip_address(hostname))
    return f"{user}@[{hostname}]:{port}" if ":" in hostname else f"{user}@{hostname}:{port}"


def normal(text: str) -> str:
    """Bring written logins into the fixed form; what is none is left out."""
    found = []
    for word in text.split():
        user, _, rest = word.rpartition("@")
        hostname, _, port = rest.rpartition(":")
        found += [login(user, hostname, int(port))] if port.isdigit() else []
    return " ".join(found)


def check(alias: Alias) -> None:
    """Refuse values that ssh and paramiko would not read alike."""
    files.check_alias(alias.name)
    for what, value in (("host name", alias.hostname), ("user name", alias.user)):
        if not re.fullmatch(WORD, value):
            raise SetupError(f"{alias.name}: {value!r} cannot be the {what} in an ssh_config")
    if alias.proxy_jump and not re.fullmatch(WORD, alias.proxy_jump):
        raise SetupError(
            f"{alias.name}: {alias.proxy_jump!r} cannot be a ProxyJump in an ssh_config"
        )
    if not 1 <= alias.port <= 65535:
        raise SetupError(f"{alias.name}: {alias.port} is no port: take one from 1 to 65535")
    if re.search(UNREADABLE, alias.identity):
        raise SetupError(
            f"the path of the key, {alias.identity!r}, has a character that ssh and fab read differently "
            "(one of \" ' \\ % ~ ${): copy the pair to another path and name that in the setting identity"
        )


def render(alias: Alias, newline: str) -> str:
    """Write the block of an alias."""
    options = {
        "HostName": alias.hostname,
        "Port": alias.port,
        "User": alias.user,
        "ProxyJump": alias.proxy_jump,
        "IdentityFile": alias.identity
        if re.fullmatch(WORD, alias.identity)
        else f'"{alias.identity}"',
        "IdentitiesOnly": "yes",
        "ServerAliveInterval": 15,
    }
    if not alias.identity:
        del options["IdentityFile"], options["IdentitiesOnly"]
    lines = [
        BEGIN % alias.name,
        "# Written anew by setup: options of your own go into a Host entry further down.",
        *([f"# labfab: was {normal(alias.was)}"] if alias.was else []),
        f"Host {alias.name}",
        *(f"    {key} {value}" for key, value in options.items() if value),
        "Host *",
        END % alias.name,
    ]
    return "".join(line + newline for line in lines)


def parse(name: str, block: str) -> Alias:
    """Read the block of an alias back."""
    options = re.findall(r"^[ \t]+(\w+)[ \t]+(.+)$", block, re.MULTILINE)
    found = {key.lower(): value.strip().strip('"') for key, value in options}
    was = re.search(r"^# labfab: was (.+)$", block, re.MULTILINE)
    port = found.get("port", "22")
    return Alias(
        name=name,
        hostname=found.get("hostname", name),
        user=found.get("user", ""),
        port=int(port) if port.isdigit() else 22,
        identity=found.get("identityfile", ""),
        was=normal(was[1]) if was else "",
        proxy_jump=found.get("proxyjump", ""),
    )
