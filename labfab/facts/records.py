"""Records: the facts about a host, one record for each section of facts.sh."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property, wraps
from typing import NamedTuple, TypeVar

from fabric import Connection

from .. import decode
from ..errors import SetupError
from ..host.remote_file import File, Values
from ..host.session import Host
from . import packet_rules, sshd_lines, vhosts
from .package_names import normalized_name
from .reader import read, with_prefix

Record = TypeVar("Record")

# Characters of a file in an account's home that are read (facts.sh).
LARGEST = 2**20
# The values in pmset's output of a Mac that never sleeps, wakes for the network and restarts.
AWAKE = {"sleep": "0", "disksleep": "0", "womp": "1", "autorestart": "1"}

# How long the path of a Unix socket may be, by kernel.
SOCKET_PATH = {"Linux": 107, "Darwin": 103}
KERNEL_SOCKET = f"/kernel-{'0' * 36}-ipc-10"
SHORT_RUNTIME = ".local/state/lab"
# The longest home that leaves room for Jupyter's usual runtime folder, on Linux and on macOS.
USUAL_HOME = 27


class System(NamedTuple):
    """The operating system and the login that reads it."""

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
    # cloud-init is still working.
    settling: bool = False
    # macOS: whether the login window lists hidden accounts; 0: no.
    others_shown: str = ""


class Updates(NamedTuple):
    """The state of the system's package lists."""

    # Seconds since the lists were fetched.
    age: int
    # dpkg was interrupted.
    interrupted: bool
    # macOS: the output of softwareupdate.
    listed: str = ""
    # macOS: after a restart, nobody can log in until somebody types a password at the keyboard.
    filevault: bool = False

    def older_than(self, hours: int) -> bool:
        """Return whether the lists are older than this, so that they must be fetched again."""
        return self.age > hours * 3600


class Power(NamedTuple):
    """When the machine sleeps."""

    # Minutes of idleness after which it sleeps; 0: never; None: unknown.
    sleep: int | None
    # macOS: it never sleeps, wakes for the network and restarts after a power cut, if it can.
    stays_awake: bool = True


class Account(NamedTuple):
    """One account and its SSH keys."""

    name: str
    uid: int
    home: str
    shell: str
    groups: frozenset[str]
    # As passwd -S prints it: P set, L locked, NP none.
    password: str
    linger: bool
    # Mode and owner, as "755 lab".
    home_stat: str
    ssh_stat: str
    # authorized_keys.
    keys: File | None
    # Target of a link at ~/.ssh or authorized_keys, if the account does not own the target.
    link: str = ""
    # macOS: from the login window.
    hidden: bool = False
    # labfab created it.
    ours: bool = False
    # A web server may have files in its home.
    serves: bool = False
    # labfab has changed files in its home, and has not undone that.
    known: bool = False
    # JupyterLab's configuration is in its home.
    lab: bool = False
    # A service runs as it: its uid is low, or nobody can log in to it.
    service: bool = False
    # The programs whose rules let it become root: sudo, doas. Read for lab_user only.
    rules: frozenset[str] = frozenset()

    @property
    def runtime(self) -> str:
        """Return Jupyter's runtime folder if its usual one has too long a path, else nothing.

        Kernels keep their sockets there. on_host/start_in_tmux.sh decides alike.
        """
        return f"{self.home}/{SHORT_RUNTIME}" if len(self.home) > USUAL_HOME else ""

    @staticmethod
    def longest_home(kernel: str) -> int:
        """Return how long a home's path may be for the sockets of kernels."""
        return SOCKET_PATH[kernel] - len(f"/{SHORT_RUNTIME}{KERNEL_SOCKET}")

    @property
    def profile(self) -> str:
        """Return the file that its login shell reads, interactive or not."""
        return f"{self.home}/{'.zprofile' if self.shell.endswith('zsh') else '.profile'}"


class Leftovers(NamedTuple):
    """What a new account of this name would inherit, where there is none yet."""

    # Where its home will be.
    home: str = ""
    # What is there: folder, link, file; silent: it does not answer; empty: nothing to inherit.
    kind: str = ""
    # The owner of the folder, or the target of the link.
    whose: str = ""
    # Jobs that would run as the account.
    jobs: tuple[str, ...] = ()
    # A group of its name is there.
    group: bool = False
    # The first line of sudo's or doas' rules with its name, as FILE:LINE:TEXT.
    rule: str = ""
    # Keys that every new account gets.
    skel: str = ""


class KeyFile(NamedTuple):
    """A file in which sshd looks for the keys of an account."""

    path: str
    # None: it is not there, or it is ~/.ssh/authorized_keys, which the record of the account has.
    file: File | None


class Ssh(NamedTuple):
    """The SSH server: its ports, its effective options, its files."""

    socket_activated: bool
    # Ports on which sshd listens, or is configured to.
    ports: frozenset[int]
    # TCP port -> program.
    listening: dict[int, str]
    # Account -> options, from sshd -T -C.
    effective: dict[str, Values]
    main: File | None
    drop_in: File | None
    # Lines in other files that set Port.
    other_ports: tuple[str, ...]
    # The lowest port on which every account may listen.
    first_unprivileged: int = 1024
    # Our file that makes systemd start sshd again whenever it ends.
    restarts: File | None = None
    # macOS: port of Apple's own job for sshd; 0: switched off.
    remote_login: int = 0
    # macOS: our job for sshd.
    plist: File | None = None
    # macOS: state of Remote Login's list of accounts: on, off or none.
    access: str = ""
    # macOS: the entries of that list, as user:NAME or group:NAME.
    members: frozenset[str] = frozenset()
    # Options that hold for everybody, from sshd -T, in lower case.
    server: Values = {}
    # Type -> public key, in base64, of the keys that sshd shows.
    host_keys: Values = {}
    # The ports that fail2ban's jail for sshd closes to whom it bans; empty: there is no such jail.
    jail: str = ""
    # What sshd says instead of its settings; empty: it tells them.
    problem: str = ""
    # The port on the host by which this login came in; 0: unknown.
    login_port: int = 0
    # The address of the host at which it came in; empty: unknown.
    login_address: str = ""
    # Ports that sshd's own files name, whoever listens for it.
    configured: frozenset[int] = frozenset()
    # systemd runs there and knows these units.
    units_known: bool = False
    # Which of ssh.socket and ssh.service the next boot starts: socket, service.
    boots: frozenset[str] = frozenset()
    # Where ssh.socket listens, or would.
    socket_ports: frozenset[int] = frozenset()
    # A generator of the system writes sshd's ports into ssh.socket.
    generator: bool = False
    # Our file that tells ssh.socket its ports.
    streams: File | None = None
    # The lines of sshd's files that matter here, in the order in which sshd reads them.
    lines: tuple[sshd_lines.Line, ...] = ()
    # Accounts that somebody can log in to with a password, and with nothing else.
    password_only: Mapping[str, tuple[str, ...]] = {}
    # Account -> the files in which sshd looks for its keys.
    key_files: Mapping[str, tuple[KeyFile, ...]] = {}
    # Keys of these accounts that RevokedKeys names.
    revoked: frozenset[str] = frozenset()
    # Account that is not there yet -> files outside of its home that hold keys for it.
    left_keys: Mapping[str, tuple[str, ...]] = {}

    @property
    def ports_after_boot(self) -> frozenset[int] | None:
        """Return the ports on which something listens for SSH after a boot; None if unknown.

        Where both units are enabled, ssh.socket comes first and hands its ports to sshd.
        """
        if not self.units_known:
            return None
        if "socket" in self.boots:
            follows = self.generator and not any("ListenStream" in one for one in self.other_ports)
            return self.configured if follows else self.socket_ports
        return self.configured if "service" in self.boots else frozenset()

    @property
    def socket_needs_ports(self) -> bool:
        """Return whether ssh.socket listens for sshd, and nothing tells it sshd's ports."""
        return "socket" in self.boots and not self.generator

    def algorithms(self, option: str) -> list[str]:
        """Return the algorithms of an option that sshd offers. Host keys: only those it has."""
        names = self.server.get(option.lower(), "").split(",")
        if option == "HostKeyAlgorithms":
            names = [name for name in names if key_type(name) in self.host_keys]
        return [name for name in names if name]


class Guard(NamedTuple):
    """A change to the host's access that is not proven yet, or that the host reverted."""

    # The change that no fresh login has proven yet; empty: none.
    armed: str
    # The change that the host reverted by itself.
    reverted: str
    # Why: deadline, boot or asked.
    reverted_by: str
    reverted_at: str
    # What sshd said when it did not come up after that.
    sshd: str = ""


class WaysIn(NamedTuple):
    """How somebody logs in to an account."""

    password: bool
    # Keys in sshd's files, and those of them that may run one command only.
    keys: int
    forced: int
    groups: frozenset[str]
    shell: str


class Survey(NamedTuple):
    """Who uses the machine, and for what. Read on demand only."""

    accounts: Mapping[str, WaysIn]
    # Folders in /home whose owner is no account any more.
    old_homes: tuple[str, ...]
    # Groups and units that have names which labfab would use.
    groups: frozenset[str]
    units: Mapping[str, str]
    # Units of programs that ban, limit or change what others have set up.
    active: frozenset[str]
    # logind ends what a login has started.
    logind_kills: bool
    # Module of PAM -> the file that uses it.
    pam: Values
    # Lines that set a proxy, without its password.
    proxies: tuple[str, ...]
    resolvers: tuple[str, ...]
    # Seconds since 1970 by the host's clock.
    clock: int
    # Where JupyterLab's home is, or would be.
    home: str
    # Place -> mount options, and free KiB.
    mounts: Mapping[str, frozenset[str]]
    free: Mapping[str, int]
    # KiB; 0: unknown.
    memory: int
    swap: int
    # Account -> open logins.
    sessions: Mapping[str, int]


class Firewall(NamedTuple):
    """The state of ufw, or of macOS's application firewall."""

    active: bool
    incoming: str
    # TCP ports open to everybody.
    allowed: frozenset[int]
    # Port -> the words of each ufw rule that opens it and no other.
    rules: dict[int, list[tuple[str, ...]]] = {}
    # UDP ports open to everybody.
    allowed_udp: frozenset[int] = frozenset()
    # Port -> the program that listens there for others than this host itself: TCP, UDP.
    listens: Mapping[int, str] = {}
    listens_udp: Mapping[int, str] = {}
    # TCP ports that a rule with `limit` opens: five new connections in 30 s from one address.
    limited: frozenset[int] = frozenset()
    # Port -> the words of the rules that are for some senders, or refuse some.
    partial: Mapping[int, list[tuple[str, ...]]] = {}
    # Ranges of ports open to everybody: TCP, UDP.
    ranges: tuple[range, ...] = ()
    ranges_udp: tuple[range, ...] = ()
    # What ufw does with packets that the host forwards: allow, deny or reject; empty: no ufw.
    forward: str = ""
    # The rest is only known while ufw refuses nothing. Units that load rules of their own.
    loaders: frozenset[str] = frozenset()
    nftables_conf: bool = False
    own: packet_rules.PacketRules = packet_rules.PacketRules()
    # Between how many interfaces the host forwards packets; 0: it does not.
    forwards: int = 0
    # Where this login came from; if through a tunnel that ends on this host, its interface, and the
    # programs that hold tunnels.
    login_from: str = ""
    tunnel: str = ""
    tunnel_programs: frozenset[str] = frozenset()

    def lets_in(self, port: int) -> bool:
        """Return whether a TCP port is open to everybody."""
        return port in self.allowed or any(port in one for one in self.ranges)

    def lets_in_udp(self, port: int) -> bool:
        """Return whether a UDP port is open to everybody."""
        return port in self.allowed_udp or any(port in one for one in self.ranges_udp)

    def limits_any(self, ports: Iterable[int]) -> bool:
        """Return whether it limits new connections to one of these TCP ports."""
        return self.active and bool(self.limited & {*ports})

    def opens_for_some(self, port: int) -> bool:
        """Return whether rules let some senders in at a TCP port."""
        return any(rule[0] in ("allow", "limit") for rule in self.partial.get(port, ()))

    @property
    def closes(self) -> bool:
        """Return whether it refuses what no rule allows."""
        return self.active and self.incoming != "allow"


class Python(NamedTuple):
    """The Python environment of JupyterLab."""

    prefix: str
    python: bool
    conda: bool
    lab: bool
    # Creating the environment was interrupted.
    environment_interrupted: bool
    # Installing packages was interrupted.
    packages_interrupted: bool
    # What login shells activate: conda, venv.
    shells: frozenset[str]
    # Package -> version, by normalized name.
    versions: Values


class Jupyter(NamedTuple):
    """The configuration of Jupyter Server."""

    config: File | None
    folder_stat: str
    # Other configuration files in the folder.
    others: tuple[str, ...]
    # Owner of the notebooks' folder; empty: missing.
    root_dir: str
    root_dir_mode: str
    # Target of a link at ~/.jupyter or the configuration, if the account does not own the target.
    link: str = ""
    # The environment's own configuration, which limits the login page of a published lab.
    login: File | None = None

    @property
    def token(self) -> str:
        """Return the configured token; empty if there is none or the file cannot be parsed."""
        if not self.config:
            return ""
        try:
            found = decode.parsed(self.config.content)["IdentityProvider"]["token"]
        except (ValueError, KeyError, TypeError):
            return ""
        return found if isinstance(found, str) else ""


class Lab(NamedTuple):
    """The JupyterLab process, and what starts it."""

    # Its tmux session exists.
    session: bool
    # Account of the program that listens on lab_port; empty: nothing listens.
    owner: str
    pid: str
    # Name of that program.
    holder: str
    since: str
    # Its configuration is newer than the process.
    stale: bool
    # Version that answers; empty: nothing does.
    api: str
    # systemd or launchd starts it.
    service: bool = False
    unit: File | None = None
    # Mode of its Unix socket.
    socket_mode: str = ""
    # Of the unit, in the words of systemd or launchd; inactive: stopped; empty: there is no unit.
    state: str = ""


class Https(NamedTuple):
    """The certificate that is served. The private key stays on the host."""

    folder_stat: str
    # Mode and owner of the key; empty: there is none.
    key_stat: str
    cert: File | None
    ca: File | None
    # Key and certificate belong together.
    pair: bool
    # A key exists where another `publish` keeps its certificate.
    elsewhere: bool = False
    # Target of a link at the folder or one of its files, if the account does not own the target.
    link: str = ""


class Acme(NamedTuple):
    """certbot, and its files for the certificate named labfab. No private key is read."""

    # Its path; empty: not installed.
    program: str
    # snap is there and could install it.
    snap: bool
    hook: File | None
    # How the certificate is renewed.
    renewal: File | None
    # The certificate with its chain.
    lineage: File | None
    # Enabled timers that run certbot.
    timers: frozenset[str]
    # labfab's own service that runs certbot, where certbot came without.
    service: File | None = None


class Proxy(NamedTuple):
    """What Apache serves, and which part of it is ours."""

    # Empty: not installed.
    version: str
    # What Apache reports about its configuration; empty: no error.
    fault: str
    modules: frozenset[str]
    # All sites, ours included.
    sites: tuple[vhosts.Site, ...]
    # Its configuration makes it listen on 443.
    listens: bool
    # file:line of a foreign directive that forwards requests to lab_port.
    foreign_proxy_line: str
    site: File | None
    enabled: bool
    # It serves the present certificate and has loaded our site.
    serves: bool
    running: bool
    boots: bool


def section(parse: Callable[[Facts], Record]) -> cached_property[Record]:
    """Make a property that is parsed once. Raises SetupError for values that make no sense."""

    @wraps(parse)
    def checked(self: Facts) -> Record:
        try:
            return parse(self)
        except (ValueError, LookupError, TypeError) as error:
            raise SetupError(
                f"the host's answer about {parse.__name__} cannot be read "
                f"({type(error).__name__}: {str(error)[:100]}): run the same command again"
            ) from error

    return cached_property(checked)


class Facts:
    """The sections of one host, each parsed on first use and then kept in this object."""

    def __init__(self, c: Connection) -> None:
        self.c = c

    def raw(self, section: str) -> Values:
        """Return a section's values. The first call of a run reads all sections."""
        host = Host.of(self.c)
        host.sections_used.setdefault(host.stage, set()).add(section)
        if section not in host.facts:
            host.facts.update(read(self.c, section))
        return host.facts[section]

    @section
    def system(self) -> System:
        v = self.raw("system")
        return System(
            kernel=v["kernel"],
            machine=v["machine"],
            id=v.get("id", ""),
            version=v.get("version", ""),
            name=v.get("name", ""),
            boot_id=v["boot_id"],
            reboot_required="reboot_required" in v,
            systemd="systemd" in v,
            login=v["login"],
            packages=frozenset(with_prefix(v, "package")),
            settling="settling" in v,
            others_shown=v.get("others_shown", ""),
        )

    @section
    def updates(self) -> Updates:
        v = self.raw("updates")
        return Updates(
            age=int(v.get("age", 0)),
            interrupted="interrupted" in v,
            listed=decoded(v.get("listed", "")),
            filevault="filevault" in v,
        )

    @section
    def pending(self) -> int | None:
        """Return how many packages an upgrade would install or remove; None if unknown."""
        found = self.raw("upgrades").get("pending", "")
        return int(found) if found else None

    @section
    def upgrades(self) -> str:
        """Return the packages that an upgrade would upgrade, add or remove, by name."""
        v = self.raw("upgrades")
        named = ((kind, v.get(kind, "").split()) for kind in ("upgraded", "new", "removed"))
        return "; ".join(f"{kind}: {', '.join(sorted(names))}" for kind, names in named if names)

    @section
    def power(self) -> Power:
        v = self.raw("power")
        minutes = v.get("sleep", "")
        return Power(
            sleep=decode.number(minutes),
            stays_awake=all(v.get(name, value) == value for name, value in AWAKE.items()),
        )

    @section
    def accounts(self) -> dict[str, Account]:
        v = self.raw("accounts")
        names = [key.removesuffix(".uid") for key in v if key.endswith(".uid")]
        return {name: account_from(name, with_prefix(v, name)) for name in names}

    @section
    def sudo_log(self) -> tuple[str, str]:
        """Return where sudo keeps what this login types, and the line that says so."""
        v = self.raw("accounts")
        return v.get("sudoers.log", ""), v.get("sudoers.log_line", "")

    @section
    def leftovers(self) -> dict[str, Leftovers]:
        """Return what is left of accounts that are not there, by name."""
        v = self.raw("accounts")
        names = [key.removesuffix(".left.home") for key in v if key.endswith(".left.home")]
        return {name: leftovers_from(with_prefix(v, f"{name}.left")) for name in names}

    @section
    def sudoers(self) -> File | None:
        """Return our file in /etc/sudoers.d."""
        return file_from(self.raw("accounts"), "sudoers")

    @section
    def ssh(self) -> Ssh:
        v = self.raw("ssh")
        option = ".permitrootlogin"
        users = {key.removesuffix(option) for key in v if key.endswith(option)}
        active, lines = v.get("socket") == "active", sshd_lines.parse(decoded(v.get("lines", "")))
        configured = frozenset(map(int, with_prefix(v, "port")))
        socket_ports = frozenset(map(int, with_prefix(v, "socket_port")))
        listening = {int(port): program for port, program in with_prefix(v, "listening").items()}
        # What systemd says of a running socket may be newer than the socket: the kernel knows.
        ports = (socket_ports | configured) & listening.keys() or socket_ports
        return Ssh(
            socket_activated=active,
            ports=ports if active and socket_ports else configured,
            listening=listening,
            effective={user: with_prefix(v, user) for user in users},
            main=file_from(v, "main"),
            drop_in=file_from(v, "drop_in"),
            other_ports=tuple(decoded(v.get("other_ports", "")).splitlines()),
            first_unprivileged=int(v.get("first_unprivileged", 1024)),
            restarts=file_from(v, "restarts"),
            remote_login=int(v.get("remote_login", 0)),
            plist=file_from(v, "plist"),
            access=v.get("access", ""),
            members=frozenset(with_prefix(v, "member")),
            server=with_prefix(v, "sshd"),
            host_keys=with_prefix(v, "host_key"),
            jail=v.get("jail", ""),
            problem=v.get("problem", ""),
            login_port=int(v.get("login_port", 0)),
            login_address=v.get("login_address", ""),
            configured=configured,
            units_known="socket" in v,
            boots=frozenset(with_prefix(v, "boots")) if "shut" not in v else frozenset(),
            socket_ports=socket_ports,
            generator="generator" in v,
            streams=file_from(v, "streams"),
            lines=lines,
            password_only={
                name: tuple(groups.split())
                for name, groups in with_prefix(v, "password_only").items()
            },
            revoked=frozenset(with_prefix(v, "revoked").values()),
            left_keys={user: tuple(with_prefix(v, f"{user}.left_keys").values()) for user in users},
            key_files={user: key_files_from(with_prefix(v, f"{user}.key_file")) for user in users},
        )

    @section
    def survey(self) -> Survey:
        self.raw("system")  # the usual sections may be on their way, and come first
        v = self.raw("survey")
        accounts = with_prefix(v, "account")
        names = [key.removesuffix(".groups") for key in accounts if key.endswith(".groups")]
        return Survey(
            accounts={name: ways_in_from(with_prefix(accounts, name)) for name in names},
            old_homes=tuple(with_prefix(v, "old_home").values()),
            groups=frozenset(with_prefix(v, "group")),
            units=with_prefix(v, "unit"),
            active=frozenset(with_prefix(v, "active")),
            logind_kills="logind_kills" in v,
            pam=with_prefix(v, "pam"),
            proxies=tuple(with_prefix(v, "proxy").values()),
            resolvers=tuple(v.get("resolvers", "").split()),
            clock=int(v.get("clock", 0)),
            home=v.get("home", ""),
            mounts={
                place: frozenset(options.split(","))
                for place, options in with_prefix(v, "mount").items()
            },
            free={place: int(size) for place, size in with_prefix(v, "free").items() if size},
            memory=int(v.get("memory", 0)),
            swap=int(v.get("swap", 0)),
            sessions={name: int(count) for name, count in with_prefix(v, "session").items()},
        )

    @section
    def guard(self) -> Guard:
        v = self.raw("guard")
        return Guard(
            armed=v.get("armed", ""),
            reverted=v.get("reverted", ""),
            reverted_by=v.get("reverted_by", ""),
            reverted_at=v.get("reverted_at", ""),
            sshd=v.get("sshd", ""),
        )

    @section
    def firewall(self) -> Firewall:
        v = self.raw("firewall")
        rules = {
            int(port): [ufw_words(rule) for rule in listed.split(";") if rule]
            for port, listed in with_prefix(v, "allowed").items()
        }
        return Firewall(
            active="active" in v,
            incoming=v.get("incoming", ""),
            allowed=frozenset(rules),
            rules=rules,
            allowed_udp=frozenset(map(int, with_prefix(v, "allowed_udp"))),
            listens={int(port): name for port, name in with_prefix(v, "open").items()},
            listens_udp={int(port): name for port, name in with_prefix(v, "open_udp").items()},
            limited=frozenset(map(int, with_prefix(v, "limited"))),
            partial={
                int(port): [ufw_words(rule) for rule in listed.split(";") if rule]
                for port, listed in with_prefix(v, "partial").items()
            },
            ranges=tuple(map(port_range, with_prefix(v, "range"))),
            ranges_udp=tuple(map(port_range, with_prefix(v, "range_udp"))),
            forward=v.get("forward", ""),
            loaders=frozenset(with_prefix(v, "loads")),
            nftables_conf="nftables_conf" in v,
            own=packet_rules.parse(decoded(v.get("rules", ""))),
            forwards=int(v.get("forwards", 0)),
            login_from=v.get("login_from", ""),
            tunnel=v.get("tunnel", ""),
            tunnel_programs=frozenset(with_prefix(v, "tunnel_program")),
        )

    @section
    def python(self) -> Python:
        v = self.raw("python")
        return Python(
            prefix=v.get("prefix", ""),
            python="python" in v,
            conda="conda" in v,
            lab="lab" in v,
            environment_interrupted="unfinished" in v,
            packages_interrupted="half" in v,
            shells=frozenset(with_prefix(v, "shell")),
            versions={
                normalized_name(name): number for name, number in with_prefix(v, "version").items()
            },
        )

    @section
    def jupyter(self) -> Jupyter:
        v = self.raw("jupyter")
        return Jupyter(
            config=file_from(v, "config"),
            folder_stat=v.get("folder_stat", ""),
            others=tuple(with_prefix(v, "other")),
            root_dir=v.get("root_dir", ""),
            root_dir_mode=v.get("root_dir_mode", ""),
            link=link_target(v, "folder_link", "config.link"),
            login=file_from(v, "login"),
        )

    @section
    def lab(self) -> Lab:
        v = self.raw("lab")
        return Lab(
            session="session" in v,
            owner=v.get("owner", ""),
            pid=v.get("pid", ""),
            holder=v.get("holder", ""),
            since=v.get("since", ""),
            stale="stale" in v,
            api=v.get("api", ""),
            service="service" in v,
            unit=file_from(v, "unit"),
            socket_mode=v.get("socket_mode", ""),
            state=v.get("state", ""),
        )

    @section
    def https(self) -> Https:
        v = self.raw("https")
        return Https(
            folder_stat=v.get("folder_stat", ""),
            key_stat=v.get("key", ""),
            cert=file_from(v, "cert"),
            ca=file_from(v, "ca"),
            pair="pair" in v,
            elsewhere="elsewhere" in v,
            link=link_target(v, "folder_link", "cert.link", "ca.link"),
        )

    @section
    def acme(self) -> Acme:
        v = self.raw("acme")
        return Acme(
            program=v.get("program", ""),
            snap="snap" in v,
            hook=file_from(v, "hook"),
            renewal=file_from(v, "renewal"),
            lineage=file_from(v, "lineage"),
            service=file_from(v, "service"),
            timers=frozenset(with_prefix(v, "renews")),
        )

    @section
    def proxy(self) -> Proxy:
        v = self.raw("proxy")
        return Proxy(
            version=v.get("version", ""),
            fault=decoded(v.get("fault", "")),
            modules=frozenset(with_prefix(v, "module")),
            sites=vhosts.parse_sites(with_prefix(v, "vhost")),
            listens="listens" in v,
            foreign_proxy_line=v.get("hands_on", ""),
            site=file_from(v, "site"),
            enabled="enabled" in v,
            serves="serves" in v,
            running="running" in v,
            boots="boots" in v,
        )


def ways_in_from(v: Values) -> WaysIn:
    """Return how somebody logs in to one account, from its values."""
    return WaysIn(
        password="password" in v,
        keys=int(v.get("keys", 0)),
        forced=int(v.get("forced", 0)),
        groups=frozenset(v["groups"].split()),
        shell=v.get("shell", ""),
    )


def key_files_from(v: Values) -> tuple[KeyFile, ...]:
    """Return the files with keys of one account, in sshd's order."""
    numbers = sorted(int(key.removesuffix(".path")) for key in v if key.endswith(".path"))
    return tuple(KeyFile(v[f"{one}.path"], file_from(v, str(one))) for one in numbers)


def account_from(name: str, v: Values) -> Account:
    """Return the record of one account from its values."""
    return Account(
        name=name,
        uid=int(v["uid"]),
        home=v["home"],
        shell=v["shell"],
        groups=frozenset(v["groups"].split()),
        password=v.get("password", ""),
        linger="linger" in v,
        home_stat=v.get("home_stat", ""),
        ssh_stat=v.get("ssh_stat", ""),
        keys=file_from(v, "keys"),
        link=link_target(v, "ssh_link", "keys.link"),
        hidden="hidden" in v,
        ours="ours" in v,
        serves="serves" in v,
        known="known" in v,
        lab="lab" in v,
        service="service" in v,
        rules=frozenset(v.get("rules", "").split()),
    )


def leftovers_from(v: Values) -> Leftovers:
    """Return the record of what is left of an account."""
    kind, _, about = v.get("seen", "").partition(" ")
    uid, _, rest = about.partition(" ")
    name = rest.split(" ")[0]
    known = kind != "link" and name not in ("", "UNKNOWN", uid)
    return Leftovers(
        home=v["home"],
        kind=kind,
        whose=about if kind == "link" else name if known else f"uid {uid}",
        jobs=tuple(with_prefix(v, "jobs").values()),
        group="group" in v,
        rule=v.get("rule", ""),
        skel=v.get("skel", ""),
    )


def file_from(v: Values, key: str) -> File | None:
    """Return the record of a file from KEY.stat and KEY.text; None if it was not found."""
    if f"{key}.stat" not in v:
        return None
    mode, owner = v[f"{key}.stat"].split()
    int(mode, 8)
    content = decoded(v.get(f"{key}.text", ""))
    cut = f"{key}.cut" in v or len(content) > LARGEST
    return File(mode=mode, owner=owner, content=content, cut=cut)


def link_target(v: Values, *keys: str) -> str:
    """Return the first of these values, each the target of a link; empty if there is none."""
    return next((v[key] for key in keys if key in v), "")


def decoded(blob: str) -> str:
    """Decode base64 text. Bytes that are not UTF-8 survive a round trip."""
    return base64.b64decode(blob).decode(errors="surrogateescape")


def key_type(algorithm: str) -> str:
    """Return the type of the host key that a signature algorithm uses."""
    return "ssh-rsa" if algorithm.startswith("rsa-sha2-") else algorithm


def port_range(words: str) -> range:
    """Return the ports of FIRST:LAST."""
    first, _, last = words.partition(":")
    return range(int(first), int(last) + 1)


def ufw_words(rule: str) -> tuple[str, ...]:
    """Split a rule into the words of ufw's command line.

    ufw stores a rule's comment in hex and a blank in the name of a profile as %20.
    """
    rule, _, comment = rule.strip().partition(" comment=")
    words = tuple(word.replace("%20", " ") for word in rule.split())
    if not comment:
        return words
    return (*words, "comment", bytes.fromhex(comment).decode(errors="replace"))
