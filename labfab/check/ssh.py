"""Doors: who is let in by SSH, tried the way a stranger would, and what sshd's files say."""

from __future__ import annotations

import contextlib
import secrets
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import paramiko

from ..errors import SetupError
from ..facts.reader import below
from ..host import connection, login_errors
from ..host.shell import GONE
from ..local_state import keypair, known_hosts
from ..stages.ssh.hardening import NO_PASSWORDS
from .probe import Look
from .rows import Unseen, Wrong, check

TIRED = "the host takes no more connections from here for now: try again in a minute"


@check("ssh-reach", "an SSH server answers")
def reach(look: Look) -> str:
    if look.problem:
        with stranger(look):
            pass
    return f"{look.c.host}, port {look.c.port}"


@check("ssh-host-key", "the host key is the pinned one", needs=["ssh-reach"])
def host_key(look: Look) -> str:
    pinned = known_hosts.pinned(connection.known_hosts_path(), look.c.host, look.c.port)
    shown = shown_key(look, pinned)
    name = known_hosts.name(look.c.host, look.c.port)
    if not pinned:
        raise Wrong(
            f"{name} is not in known_hosts; it shows {known_hosts.fingerprint(shown)}: compare, then log in once with fab"
        )
    if shown not in pinned:
        raise Wrong(
            f"it shows {known_hosts.fingerprint(shown)}, which is not the pinned one: somebody may be listening in. "
            f"Only if you set the machine up anew: ssh-keygen -R '{name}'"
        )
    return known_hosts.fingerprint(shown)


def shown_key(look: Look, pinned: list[paramiko.PKey]) -> paramiko.PKey:
    """The key that the host shows, of the kind that is pinned if it has it."""
    if not look.problem:
        return look.c.transport.get_remote_server_key()
    with stranger(look, [key.get_name() for key in pinned]) as transport:
        return transport.get_remote_server_key()


@check("ssh-login", "your login works", mend="keys.copy", needs=["ssh-host-key"])
def login(look: Look) -> str:
    if look.problem:
        raise Wrong(look.problem)
    return login_errors.address(look.c)


@check("ssh-password", "a password is refused", mend="ssh.disable-passwords", needs=["ssh-login"])
def password(look: Look) -> str:
    """Offer a password: the answer to a wrong one tells whether a right one would be taken."""
    wrong, user = secrets.token_urlsafe(16), look.c.user
    with stranger(look) as transport:
        for way, give in (
            ("password", lambda: transport.auth_password(user, wrong, fallback=False)),
            (
                "keyboard-interactive",
                lambda: transport.auth_interactive(
                    user, lambda title, text, asked: [wrong] * len(asked)
                ),
            ),
        ):
            if asked_for(give):
                raise Wrong(f"{user} is asked for one ({way})")
    return f"tried as {user}: password, keyboard-interactive"


def asked_for(give: Callable[[], object]) -> bool:
    """Tell whether the host weighs a password, or refuses to hear of one."""
    try:
        give()
    except paramiko.BadAuthenticationType:
        return False
    except paramiko.AuthenticationException:
        return True
    return True


@check("ssh-root", "root is refused", mend="ssh.disable-root", needs=["ssh-login"])
def root(look: Look) -> str:
    """Try the key that opens this login, and where the rights reach ask sshd's files: a refusal alone may have other reasons."""
    try:
        connection.fresh(look.c, "root", look.c.port, look.identity).close()
    except paramiko.PasswordRequiredException:
        raise Unseen(
            "your key has a passphrase, so it could not be tried: hand it to the agent with ssh-add"
        ) from None
    except paramiko.AuthenticationException:
        return f"your key is refused for root; {behind_the_refusal(look)}"
    except GONE:
        raise Unseen(TIRED) from None
    raise Wrong("root is let in")


def behind_the_refusal(look: Look) -> str:
    """What stands behind it, as far as it can be seen. Raises Wrong where sshd would let another key in."""
    if look.powerless:
        return "not being root you cannot see whether another key would be"
    line = below(look.audit, "sshd").get("root")
    if line is None:
        return "root has no login shell"
    allowed = options(line).get("permitrootlogin")
    if allowed != "no":
        raise Wrong(f"your key is refused for root, but sshd's files say PermitRootLogin {allowed}")
    return f"root's file {'holds' if roots_file_holds_it(look) else 'does not hold'} it, and sshd's files say PermitRootLogin no"


def roots_file_holds_it(look: Look) -> bool:
    """Tell whether the key that was tried is one of root's."""
    account = look.facts.accounts.get("root")
    try:
        blob = keypair.public_line(look.identity).split()[1] if look.identity else ""
    except (SetupError, OSError):
        return False
    return bool(blob and account and account.keys and blob in account.keys.content.split())


@check(
    "ssh-offered",
    "every login is offered a key and nothing else",
    mend="ssh.disable-passwords",
    needs=["ssh-password"],
)
def offered(look: Look) -> str:
    """Ask as a stranger for every account that has a login shell."""
    users = look.logins
    with ThreadPoolExecutor(4) as pool:
        ways = dict(zip(users, pool.map(lambda user: ways_in(look, user), users), strict=True))
    more = {user: way for user, way in ways.items() if way != ["publickey"]}
    if more:
        raise Wrong("; ".join(f"{user}: {', '.join(way)}" for user, way in more.items()))
    return ", ".join(users)


def ways_in(look: Look, user: str) -> list[str]:
    try:
        return connection.offered(look.c, user, look.c.port)
    except GONE:
        raise Unseen(TIRED) from None


@check(
    "ssh-config",
    "sshd's files say so for every login",
    mend="ssh.disable-passwords",
    needs=["ssh-password", "ssh-root", "ssh-offered"],
)
def config(look: Look) -> str:
    """Ask sshd what its files mean for each account: what a restart would bring."""
    look.needs_root()
    wanted = {option.lower(): value for option, value in NO_PASSWORDS.items()}
    wanted |= {"pubkeyauthentication": "yes"}
    differing = []
    for user, line in sorted(below(look.audit, "sshd").items()):
        said = options(line)
        expected = wanted | ({"permitrootlogin": "no"} if user == "root" else {})
        differing += [
            f"{user}: {key} {said.get(key)}"
            for key, value in expected.items()
            if said.get(key) != value
        ]
    if differing:
        mend = "ssh.disable-root" if all("permitrootlogin" in one for one in differing) else None
        raise Wrong("; ".join(differing), mend)
    return ", ".join(look.logins)


def options(line: str) -> dict[str, str]:
    """What sshd -T said of one account. Raises Wrong where it said nothing."""
    said = dict(pair.split(" ", 1) for pair in line.split(";") if " " in pair)
    if not said:
        raise Wrong("sshd finds a fault in its files: see `sshd -t` there")
    return said


@contextlib.contextmanager
def stranger(look: Look, kinds: list[str] | None = None) -> Iterator[paramiko.Transport]:
    """Greet the SSH server as somebody it does not know. Raises Unseen, or Wrong where there is no login either."""
    if look.c.gateway:
        raise Unseen("the host is behind a gateway")
    try:
        sock = socket.create_connection((look.c.host, look.c.port), timeout=look.c.connect_timeout)
        with paramiko.Transport(sock) as transport:
            prefer(transport, kinds or [])
            transport.start_client(timeout=look.c.connect_timeout)
            transport.get_remote_server_key()  # start_client says nothing when its time is over
            yield transport
    except GONE as error:
        if look.problem:
            raise Wrong(look.problem) from None
        raise Unseen(TIRED) from error


def prefer(transport: paramiko.Transport, kinds: list[str]) -> None:
    """Ask for the host key of a kind that is known; RSA has one kind of key and several of signatures."""
    options = transport.get_security_options()
    first = [
        kind
        for kind in options.key_types
        if kind in kinds or ("ssh-rsa" in kinds and kind.startswith("rsa-sha2"))
    ]
    options.key_types = [*first, *(kind for kind in options.key_types if kind not in first)]
