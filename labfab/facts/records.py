"""Sections: what a host says of itself, a record for each section of facts.sh."""

from __future__ import annotations

import base64
import json
import re
from functools import cached_property
from typing import NamedTuple

from fabric import Connection

from ..host.remote_file import File, Values
from ..host.session import Host
from . import vhosts
from .reader import below, read

AWAKE = {
    "sleep": "0",
    "disksleep": "0",
    "womp": "1",
    "autorestart": "1",
}  # pmset's words for a Mac that is always there


class System(NamedTuple):
    kernel: str
    machine: str
    id: str
    version: str
    name: str
    boot_id: str
    reboot_required: bool
    systemd: bool
    login: str
    packages: frozenset[str]
    settling: bool = False  # cloud-init is at work
    others_shown: str = ""  # macOS: whether the login window offers accounts that it hides; 0: no


class Updates(NamedTuple):
    age: int  # seconds since the lists were fetched
    interrupted: bool  # dpkg was stopped in the middle
    listed: str = ""  # what softwareupdate said, on macOS
    filevault: bool = (
        False  # macOS: after a restart somebody has to type a password before anybody gets in
    )

    def older_than(self, hours: int) -> bool:
        """Whether the lists are to be fetched anew, where they may have this age."""
        return self.age > hours * 3600


class Power(NamedTuple):
    sleep: (
        int | None
    )  # minutes without a person after which the machine sleeps, 0: never; None: nobody has said
    stays_awake: bool = (
        True  # macOS: and wakes for the network, and starts after a power cut, as far as it can
    )


class Account(NamedTuple):
    name: str
    uid: int
    home: str
    shell: str
    groups: frozenset[str]
    password: str  # passwd -S: P set, L locked, NP none
    linger: bool
    home_stat: str
    ssh_stat: str
    keys: File | None
    link: str = ""  # where its ~/.ssh or authorized_keys leads, if that is not its own
    hidden: bool = False  # from macOS's login window
    ours: bool = False  # macOS: labfab made it

    @property
    def profile(self) -> str:
        """The file that its login shell reads, whether somebody types into it or not."""
        return f"{self.home}/{'.zprofile' if self.shell.endswith('zsh') else '.profile'}"


class Ssh(NamedTuple):
    socket_activated: bool
    ports: frozenset[int]  # that sshd is set up for
    listening: dict[int, str]  # TCP port -> program
    effective: dict[str, Values]  # account -> sshd -T -C
    main: File | None
    drop_in: File | None
    other_ports: tuple[str, ...]  # lines of other files that set Port
    remote_login: int = 0  # macOS: where Apple's own job for sshd listens; 0: it does not
    plist: File | None = None  # macOS: our job for sshd
    access: str = ""  # macOS: Remote Login's list of accounts, on, off or none
    members: frozenset[str] = frozenset()  # who is on it: user:NAME, group:NAME


class Guard(NamedTuple):
    armed: str  # the change that no fresh login has confirmed yet; empty: none
    reverted: str  # the change that the host took back with nobody looking
    reverted_by: str  # deadline, boot or asked
    reverted_at: str


class Firewall(NamedTuple):
    active: bool
    incoming: str
    allowed: frozenset[int]  # TCP ports that are open to everybody
    rules: dict[
        int, list[tuple[str, ...]]
    ] = {}  # port -> ufw's words for each rule that opens it alone


class Python(NamedTuple):
    prefix: str
    python: bool
    conda: bool
    lab: bool
    unfinished: bool  # its making was cut off in the middle
    half: bool  # so was the installing of packages
    shells: frozenset[str]  # what login shells know: conda, venv
    versions: Values


class Jupyter(NamedTuple):
    config: File | None
    folder_stat: str
    others: tuple[str, ...]
    root_dir: str  # its owner; empty: missing
    link: str = ""  # where ~/.jupyter or the configuration leads, if that is not the account's

    @property
    def token(self) -> str:
        """The token in the configuration that the server reads; empty where there is none, or it cannot be read."""
        try:
            found = (
                json.loads(self.config.content)["IdentityProvider"]["token"] if self.config else ""
            )
        except (ValueError, KeyError, TypeError):
            found = ""
        return found if isinstance(found, str) else ""


class Lab(NamedTuple):
    session: bool
    owner: str  # account whose program listens on lab_port; empty: nobody's
    pid: str
    holder: str  # its name
    since: str
    stale: bool  # its configuration is newer than the process
    api: str  # version that answers; empty: nothing does
    service: bool = False  # systemd or launchd starts it
    unit: File | None = None
    socket_mode: str = ""  # of the Unix socket, where it listens on one
    state: str = ""  # of the unit, in the word of systemd or launchd; inactive: it does not run; empty: it has none


class Https(NamedTuple):
    """The certificate that is served; its private key stays on the host."""

    folder_stat: str
    key_stat: str  # mode and owner of the key; empty: there is none
    cert: File | None
    ca: File | None
    pair: bool  # key and certificate belong together
    elsewhere: bool = False  # there is a key where another `publish` has its certificate
    link: str = ""  # where the folder or a file of it leads, if that is not its account's


class Acme(NamedTuple):
    """The program, and what it keeps for us under the name labfab; no private key is read."""

    program: str  # its path; empty: none
    snap: bool  # snap could bring one
    hook: File | None
    renewal: File | None  # how the certificate is renewed
    lineage: File | None  # the certificate with its chain
    timers: frozenset[str]  # that are enabled and run some certbot


class Proxy(NamedTuple):
    """What Apache serves, and what of it is ours."""

    version: str  # empty: it is not there
    fault: str  # what it says of its configuration; empty: all is well
    modules: frozenset[str]
    sites: tuple[vhosts.Site, ...]  # ours among them
    listens: bool  # there is a line that tells it to listen on 443
    hands_on: str  # file:line of somebody else that hands requests to lab_port
    site: File | None
    enabled: bool
    serves: bool  # it shows the certificate that is there now, and has read our site
    running: bool
    boots: bool


class Facts:
    """The sections of one host, each parsed when it is asked for."""

    def __init__(self, c: Connection) -> None:
        self.c = c

    def raw(self, section: str) -> Values:
        """One section's values; the first question of a run reads them all."""
        known, asked = Host.of(self.c).facts, Host.of(self.c).asked
        asked.setdefault(Host.of(self.c).stage, set()).add(section)
        if section not in known:
            known.update(read(self.c, section))
        return known[section]

    @cached_property
    def system(self) -> System:
        v = self.raw("system")
        return System(
            v["kernel"],
            v["machine"],
            *(v.get(key, "") for key in ("id", "version", "name")),
            v["boot_id"],
            "reboot_required" in v,
            "systemd" in v,
            v["login"],
            frozenset(below(v, "package")),
            "settling" in v,
            v.get("others_shown", ""),
        )

    @cached_property
    def updates(self) -> Updates:
        v = self.raw("updates")
        return Updates(
            int(v.get("age", 0)), "interrupted" in v, text(v.get("listed", "")), "filevault" in v
        )

    @cached_property
    def pending(self) -> int | None:
        """How many packages there are to install or remove; None: that could not be found out."""
        found = self.raw("upgrades").get("pending", "")
        return int(found) if found else None

    @cached_property
    def power(self) -> Power:
        v = self.raw("power")
        minutes = v.get("sleep", "")
        return Power(
            int(minutes) if minutes.isdigit() else None,
            all(v.get(name, value) == value for name, value in AWAKE.items()),
        )

    @cached_property
    def accounts(self) -> dict[str, Account]:
        v = self.raw("accounts")
        names = [key.removesuffix(".uid") for key in v if key.endswith(".uid")]
        return {name: account(name, below(v, name)) for name in names}

    @cached_property
    def sudoers(self) -> File | None:
        return file(self.raw("accounts"), "sudoers")

    @cached_property
    def ssh(self) -> Ssh:
        v = self.raw("ssh")
        users = {
            key.removesuffix(".permitrootlogin") for key in v if key.endswith(".permitrootlogin")
        }
        return Ssh(
            v.get("socket") == "active",
            frozenset(map(int, below(v, "port"))),
            {int(port): program for port, program in below(v, "listening").items()},
            {user: below(v, user) for user in users},
            file(v, "main"),
            file(v, "drop_in"),
            tuple(text(v.get("other_ports", "")).splitlines()),
            int(v.get("remote_login", 0)),
            file(v, "plist"),
            v.get("access", ""),
            frozenset(below(v, "member")),
        )

    @cached_property
    def guard(self) -> Guard:
        v = self.raw("guard")
        return Guard(
            *(v.get(key, "") for key in ("armed", "reverted", "reverted_by", "reverted_at"))
        )

    @cached_property
    def firewall(self) -> Firewall:
        v = self.raw("firewall")
        rules = {
            int(port): [words(rule) for rule in said.split(";") if rule]
            for port, said in below(v, "allowed").items()
        }
        return Firewall("active" in v, v.get("incoming", ""), frozenset(rules), rules)

    @cached_property
    def python(self) -> Python:
        v = self.raw("python")
        # Some packages are filed as PyYAML or ruamel.yaml; names are compared as pyyaml and ruamel_yaml.
        versions = {
            re.sub(r"[-_.]+", "_", name).lower(): version
            for name, version in below(v, "version").items()
        }
        return Python(
            v.get("prefix", ""),
            "python" in v,
            "conda" in v,
            "lab" in v,
            "unfinished" in v,
            "half" in v,
            frozenset(below(v, "shell")),
            versions,
        )

    @cached_property
    def jupyter(self) -> Jupyter:
        v = self.raw("jupyter")
        return Jupyter(
            file(v, "config"),
            v.get("folder_stat", ""),
            tuple(below(v, "other")),
            v.get("root_dir", ""),
            link(v, "folder_link", "config.link"),
        )

    @cached_property
    def lab(self) -> Lab:
        v = self.raw("lab")
        return Lab(
            "session" in v,
            v.get("owner", ""),
            v.get("pid", ""),
            v.get("holder", ""),
            v.get("since", ""),
            "stale" in v,
            v.get("api", ""),
            "service" in v,
            file(v, "unit"),
            v.get("socket_mode", ""),
            v.get("state", ""),
        )

    @cached_property
    def https(self) -> Https:
        v = self.raw("https")
        return Https(
            v.get("folder_stat", ""),
            v.get("key", ""),
            file(v, "cert"),
            file(v, "ca"),
            "pair" in v,
            "elsewhere" in v,
            link(v, "folder_link", "cert.link", "ca.link"),
        )

    @cached_property
    def acme(self) -> Acme:
        v = self.raw("acme")
        kept = (file(v, key) for key in ("hook", "renewal", "lineage"))
        return Acme(v.get("program", ""), "snap" in v, *kept, frozenset(below(v, "renews")))

    @cached_property
    def proxy(self) -> Proxy:
        v = self.raw("proxy")
        return Proxy(
            v.get("version", ""),
            text(v.get("fault", "")),
            frozenset(below(v, "module")),
            vhosts.parsed(below(v, "vhost")),
            "listens" in v,
            v.get("hands_on", ""),
            file(v, "site"),
            "enabled" in v,
            "serves" in v,
            "running" in v,
            "boots" in v,
        )


def text(blob: str) -> str:
    return base64.b64decode(blob).decode(errors="surrogateescape")


def file(values: Values, key: str) -> File | None:
    if f"{key}.stat" not in values:
        return None
    mode, owner = values[f"{key}.stat"].split()
    return File(mode, owner, text(values.get(f"{key}.text", "")))


def words(rule: str) -> tuple[str, ...]:
    """A rule as ufw takes it on its command line; it keeps the comment in hex, and a space in a profile's name as %20."""
    rule, _, comment = rule.strip().partition(" comment=")
    said = (*(word.replace("%20", " ") for word in rule.split()),)
    return (*said, "comment", bytes.fromhex(comment).decode(errors="replace")) if comment else said


def link(v: Values, *keys: str) -> str:
    """Where the first of these links leads that leads away."""
    return next((v[key] for key in keys if key in v), "")


def account(name: str, v: Values) -> Account:
    return Account(
        name,
        int(v["uid"]),
        v["home"],
        v["shell"],
        frozenset(v["groups"].split()),
        v.get("password", ""),
        "linger" in v,
        v.get("home_stat", ""),
        v.get("ssh_stat", ""),
        file(v, "keys"),
        link(v, "ssh_link", "keys.link"),
        "hidden" in v,
        "ours" in v,
    )
