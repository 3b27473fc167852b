"""SSH: who can log in, tried as a stranger would, and what sshd's configuration says."""

from __future__ import annotations

import contextlib
import secrets
import socket
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import paramiko

from ..errors import SetupError
from ..facts.reader import with_prefix
from ..host import connection, login_errors
from ..host.shell import CONNECTION_ERRORS
from ..local_state import keypair, known_hosts
from ..local_state.aliases import pinned_as
from ..platforms import algorithms
from ..settings import FIRST_UNPRIVILEGED, SSH_PORT
from ..stages.keys import authorized_keys
from ..stages.ssh import hardening
from ..stages.ssh.hardening import NO_PASSWORDS
from ..stages.ssh.stranger import place_inside
from ..text import to_type
from .findings import NotChecked, Warned, Wrong
from .probe import Probe
from .rows import check

TIRED = (
    "the host takes no more connections from here for now (ufw limit, fail2ban, "
    "PerSourcePenalties): try again in a minute"
)
LOCKED = "your key has a passphrase, so it could not be tried: add it to the agent with ssh-add"


@check("ssh-reach", "an SSH server answers")
def handshake(probe: Probe) -> str:
    """Start a handshake with the server, unless the login works."""
    if probe.down:
        raise Wrong(probe.down)
    if probe.problem:
        with stranger(probe):
            pass
    return f"{probe.c.host}, port {probe.c.port}"


@check("ssh-host-key", "the host key is the pinned one", needs=["ssh-reach"])
def host_key(probe: Probe) -> str:
    """Compare the host key with known_hosts."""
    host, port = pinned_as(probe.c)
    pinned = known_hosts.pinned(connection.known_hosts_path(), host, port)
    shown = shown_key(probe, pinned)
    print_, name = known_hosts.fingerprint(shown), known_hosts.host_name(host, port)
    if known_hosts.is_revoked(connection.known_hosts_path(), host, port, shown):
        raise Wrong(f"it shows {print_}, which known_hosts says is revoked", "")
    if not pinned:
        raise Wrong(
            f"{name} is not in known_hosts; the host shows {print_}: "
            "compare it, then log in once with fab"
        )
    if shown not in pinned:
        raise Wrong(
            f"it shows {print_}, which is not the pinned one: somebody may be listening in. "
            f"Only if you reinstalled the machine: {to_type('ssh-keygen -R', name)}"
        )
    return print_


def shown_key(probe: Probe, pinned: list[paramiko.PKey]) -> paramiko.PKey:
    """Return the key that the host shows, of the pinned kind if it has one."""
    if not probe.problem:
        key: paramiko.PKey = probe.c.transport.get_remote_server_key()
        return key
    with stranger(probe, [key.get_name() for key in pinned]) as transport:
        return transport.get_remote_server_key()


@check("ssh-login", "your login works", mend="keys.copy", needs=["ssh-host-key"])
def login(probe: Probe) -> str:
    """Report whether the login worked, which all other rows use."""
    if probe.problem:
        raise Wrong(probe.problem)
    return login_errors.address(probe.c)


@check("ssh-password", "a password is refused", mend="ssh.disable-passwords", needs=["ssh-login"])
def password(probe: Probe) -> str:
    """Offer a wrong password: the answer shows whether a right one would be accepted."""
    wrong, user = secrets.token_urlsafe(16), probe.c.user
    with stranger(probe) as transport:

        def by_password() -> object:
            return transport.auth_password(user, wrong, fallback=False)

        def interactively() -> object:
            return transport.auth_interactive(user, lambda title, text, asked: [wrong] * len(asked))

        for way, give in (("password", by_password), ("keyboard-interactive", interactively)):
            if checks_password(give):
                raise Wrong(f"sshd checks passwords of {user} ({way})")
    return f"tried as {user}: password, keyboard-interactive"


def checks_password(give: Callable[[], object]) -> bool:
    """Return whether the host checks a password instead of refusing the method."""
    try:
        give()
    except paramiko.BadAuthenticationType:
        return False
    except paramiko.AuthenticationException:
        return True
    return True


@check("ssh-root", "root is refused", mend="ssh.disable-root", needs=["ssh-login"])
def root(probe: Probe) -> str:
    """Try this login's key for root, then ask sshd's configuration if our rights allow it.

    A refusal alone may have other reasons. fail2ban would count the try as three failures, so
    where it watches sshd, the host itself is the one that tries.
    """
    watched = not probe.powerless and probe.facts.ssh.jail
    inside = place_inside(probe.facts.ssh) if watched else None
    try:
        login = (probe.c, "root", probe.c.port, probe.identity, inside)
        connection.log_in_again(*login).close()
    except paramiko.PasswordRequiredException:
        raise NotChecked(LOCKED) from None
    except paramiko.AuthenticationException:
        return f"your key is refused for root; {why_root_refused(probe)}"
    except (connection.NoWayInside, *CONNECTION_ERRORS):
        raise NotChecked(TIRED) from None
    raise Wrong("root is let in")


def why_root_refused(probe: Probe) -> str:
    """Return why root was refused. Raises Wrong if sshd would accept another key."""
    if probe.powerless:
        return "without root you cannot see whether another key would be"
    line = with_prefix(probe.audit, "sshd").get("root")
    if line is None:
        return "root has no login shell"
    allowed = options(line).get("permitrootlogin")
    if allowed != "no":
        raise Wrong(f"sshd's configuration says PermitRootLogin {allowed}")
    holds = "holds" if root_has_key(probe) else "does not hold"
    return f"root's file {holds} it, and sshd's configuration says PermitRootLogin no"


def root_has_key(probe: Probe) -> bool:
    """Return whether the key that was tried is one of root's."""
    account = probe.facts.accounts.get("root")
    try:
        blob = keypair.public_line(probe.identity).split()[1] if probe.identity else ""
    except (SetupError, OSError):
        return False
    return bool(blob and account and blob in authorized_keys.keys_of(account))


@check(
    "ssh-offered",
    "every login is offered a key and nothing else",
    mend="ssh.disable-passwords",
    needs=["ssh-password"],
)
def offered(probe: Probe) -> str:
    """Ask as a stranger, for every account that has a login shell."""
    users = probe.logins
    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(lambda user: methods(probe, user), users)
        found = dict(zip(users, answers, strict=True))
    more = {user: ways for user, ways in found.items() if ways != ["publickey"]}
    if any({*ways} & hardening.PASSWORD_WAYS or "publickey" not in ways for ways in more.values()):
        raise Wrong("; ".join(f"{user}: {', '.join(ways)}" for user, ways in more.items()))
    if more:
        others = {way for ways in more.values() for way in ways if way != "publickey"}
        raise Warned(
            "; ".join(sorted({hardening.name_way(probe.facts.ssh, w) for w in others})), ""
        )
    return ", ".join(users)


def methods(probe: Probe, user: str) -> list[str]:
    """Return the authentication methods that sshd offers to an account."""
    try:
        return connection.offered_methods(probe.c, user, probe.c.port)
    except CONNECTION_ERRORS:
        raise NotChecked(TIRED) from None


@check(
    "ssh-config",
    "sshd's configuration says so for every login",
    mend="ssh.disable-passwords",
    needs=["ssh-password", "ssh-root", "ssh-offered"],
)
def config(probe: Probe) -> str:
    """Ask sshd for each account's options in its configuration, which a restart would apply."""
    probe.needs_root()
    wanted = {option.lower(): value for option, value in NO_PASSWORDS.items()}
    wanted |= {"pubkeyauthentication": "yes"}
    differing = []
    for user, line in sorted(with_prefix(probe.audit, "sshd").items()):
        found = options(line)
        expected = wanted | ({"permitrootlogin": "no"} if user == "root" else {})
        for option, value in expected.items():
            if found.get(option) != value:
                differing.append(f"{user}: {option} {found.get(option)}")
    if differing:
        only_root = all("permitrootlogin" in one for one in differing)
        raise Wrong("; ".join(differing), "ssh.disable-root" if only_root else None)
    return ", ".join(probe.logins)


def options(line: str) -> dict[str, str]:
    """Return the options that sshd -T printed for one account. Raises Wrong if it printed none."""
    found = dict(pair.split(" ", 1) for pair in line.split(";") if " " in pair)
    if not found:
        raise Wrong("sshd finds an error in its configuration: run `sshd -t` there")
    return found


@check(
    "ssh-port",
    "no other account can take sshd's port",
    mend="ssh.change-port",
    needs=["ssh-login"],
)
def port(probe: Probe) -> str:
    """Look whether the ports are below 1024, or whether systemd or launchd holds their sockets."""
    have = probe.facts.ssh
    ports = sorted((have.ports or {probe.c.port}) - {have.remote_login})
    for number in ports:
        why = hardening.can_be_taken(have, probe.platform, number)
        if why and number < FIRST_UNPRIVILEGED:
            start = f"sysctl -w net.ipv4.ip_unprivileged_port_start={FIRST_UNPRIVILEGED}"
            raise Warned(why, probe.by_hand(start))
        if why:
            raise Warned(why, f"ssh.change-port, after setting ssh_port: {SSH_PORT}")
    if any(number >= FIRST_UNPRIVILEGED for number in ports):
        return f"{listed(ports)}: the system itself holds the socket"
    return f"{listed(ports)}: only root can listen there"


@check(
    "ssh-boot",
    "after a boot, SSH listens where it does now",
    mend="ssh.change-port",
    needs=["ssh-login"],
)
def boot(probe: Probe) -> str:
    """Ask which of ssh.service and ssh.socket the next boot starts, and on which ports."""
    have = probe.facts.ssh
    if have.remote_login or have.plist:
        return f"{listed(have.ports)}: launchd starts it"
    probe.needs_root()  # sshd tells its settings to root alone
    after = have.ports_after_boot
    if after is None:
        raise NotChecked("systemd does not run there")
    if not have.boots:
        raise Wrong(
            "neither ssh.service nor ssh.socket is enabled, so nobody could log in after a boot",
            probe.by_hand("systemctl enable ssh"),
        )
    unit = "ssh.socket" if "socket" in have.boots else "ssh.service"
    # What systemd says of a running socket may be newer than the socket: the kernel knows.
    now = have.ports & have.listening.keys()
    if have.ports - after or after - have.listening.keys():
        where = f"it listens on {hardening.spoken_ports(now)}" if now else "it listens elsewhere"
        raise Wrong(f"now {where}; {unit}, which a boot starts, on {hardening.spoken_ports(after)}")
    return f"{listed(have.ports)}: {unit} is enabled"


def listed(ports: Iterable[int]) -> str:
    """Return ports as text."""
    return ", ".join(map(str, ports)) or "none"


@contextlib.contextmanager
def stranger(probe: Probe, kinds: list[str] | None = None) -> Iterator[paramiko.Transport]:
    """Yield a transport to the SSH server, without logging in.

    kinds: the preferred kinds of host keys. Raises NotChecked, or Wrong if the login fails too.
    """
    c = probe.c
    if c.gateway:
        raise NotChecked("the host is behind a gateway")
    try:
        sock = socket.create_connection((c.host, c.port), timeout=c.connect_timeout)
        with paramiko.Transport(sock) as transport:
            prefer(transport, kinds or [])
            transport.start_client(timeout=c.connect_timeout)
            # start_client() does not raise after its timeout; this does.
            transport.get_remote_server_key()
            yield transport
    except CONNECTION_ERRORS as error:
        if probe.problem:
            raise Wrong(probe.problem) from None
        raise NotChecked(TIRED) from error


def prefer(transport: paramiko.Transport, kinds: list[str]) -> None:
    """Prefer host keys of these kinds. RSA keys have several kinds of signatures."""
    options = transport.get_security_options()
    rsa = "ssh-rsa" in kinds
    first = [
        kind for kind in options.key_types if kind in kinds or (rsa and kind.startswith("rsa-sha2"))
    ]
    options.key_types = [*first, *(kind for kind in options.key_types if kind not in first)]


@check(
    "ssh-algorithms",
    "sshd offers no weak algorithms",
    mend="ssh.harden",
    needs=["ssh-reach"],
)
def strong(probe: Probe) -> str:
    """Read what the server offers to a stranger."""
    c = probe.c
    try:
        offered = algorithms.offered_by(c, c.port)
    except ValueError as error:
        raise Wrong(str(error), "") from None
    except CONNECTION_ERRORS as error:
        raise NotChecked(TIRED) from error
    found = [name for option, names in offered.items() for name in algorithms.weak(option, names)]
    if found and not probe.want.harden_ssh:
        raise Warned(f"as the setting harden_ssh wants, it offers {', '.join(found)}", "")
    if found:
        raise Wrong(f"it offers {', '.join(found)}")
    return f"{offered['KexAlgorithms'][0]} first of {sum(map(len, offered.values()))}"
