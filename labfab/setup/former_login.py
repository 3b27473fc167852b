"""Former login: whether the login from before labfab will work again, asked before the undo.

sshd may refuse that login because of labfab, so it cannot be tried yet. But the host knows which
keys and password the account has, and what sudo asks of it.
"""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Callable, Sequence

import paramiko
from fabric import Connection

from .. import console
from ..errors import SetupError
from ..facts.reader import parse
from ..facts.records import decoded
from ..host.changes import fill
from ..host.client import CERTIFICATE, AgentAt, usual_keys
from ..host.journal import Entry
from ..host.login_errors import login_in_words
from ..host.remote_file import Values
from ..host.session import Host, Login
from ..local_state import files, keypair, secrets
from ..local_state.aliases import keys_of
from ..on_host import loader
from ..stages.keys.authorized_keys import key_of, lines_of

TRIES = 3
UNREADABLE = "unreadable"  # a key whose public half is not known
HINT = (
    "if that login has a password, use fab --prompt-for-login-password, "
    "or set LABFAB_LOGIN_PASSWORD (and LABFAB_SUDO_PASSWORD, if sudo asks for another)"
)
RIGHT, WRONG = 0, 1  # exit codes of the two checks below; any other: nobody knows
# crypt(3) knows every kind of hash that the host has. An account of LDAP has none there.
CHECK_LOGIN = """\
printf %%s %s | perl -e '
  my ($hash, $given) = ((getpwnam $ARGV[0])[1], scalar <STDIN>);
  my $known = defined $hash && $hash =~ /^[\\$.\\/=,0-9A-Za-z]{13,}\\z/;
  my $found = $known ? crypt($given, $hash) : undef;
  exit(!defined $found || $found =~ /^[*]/ ? 2 : $found eq $hash ? 0 : 1)' %s
"""
CHECK_SUDO = "printf '%%s\\n' %s | as_account %s sudo -kS -p '' true"


def prepare(c: Connection, login: Login, undone: Sequence[Entry]) -> None:
    """Make sure that a login has what it needs once these changes are undone.

    A missing password is asked for. Raises SetupError if the login cannot work, or if there is
    nobody to ask.
    """
    host, name = Host.of(c), login_in_words(login.user, c.host, login.port)
    have = read(host, login.user)
    if not have:
        raise refusal(host, f"the account {login.user}, which you first logged in as, is gone")
    if not has_key(c, have, undone, login.user):
        if have.get("password") not in ("P", "", None):
            raise refusal(
                host,
                f"{name} would not work: {login.user} has neither a key of yours nor a password; "
                "put your key into its authorized_keys first (ssh-copy-id)",
            )
        c.connect_kwargs["password"] = login_password(c, login.user, name)
    if login.user not in ("root", c.user) and not have.get("sudo"):
        host.learn_sudo_password(login.user, sudo_password(c, login.user, name))


def refusal(host: Host, text: str) -> SetupError:
    """Return the error of an undo that did not begin."""
    return SetupError(f"nothing was undone: {text}", host=host.label)


def read(host: Host, user: str) -> Values:
    """Return what an account has to log in with; empty if there is no such account."""
    script = fill(loader.as_command("former_login", 1), user)
    return parse(host.read(script).out, ("login",)).get("login", {})


def has_key(c: Connection, have: Values, undone: Sequence[Entry], user: str) -> bool:
    """Return whether a key of this laptop opens the account once labfab's lines are gone.

    Also if nobody knows: a certificate may open it, a key in another file, or one whose public half
    cannot be read.
    """
    if have.get("elsewhere") or has_certificate(c):
        return True
    path = f"{have['home']}/.ssh/authorized_keys"
    ours = {line for entry in undone for line in added_lines(entry, path)}
    if user == c.user and not ours and not c.connect_kwargs.get("password"):
        return True  # it has just been used
    left = [line for line in lines_of(text_of_keys(have)) if line not in ours]
    keys = offered(c)
    return UNREADABLE in keys or not keys.isdisjoint(filter(None, map(key_of, left)))


def text_of_keys(have: Values) -> str:
    """Return the text of authorized_keys; empty if the account's answer makes no sense."""
    try:
        return decoded(have.get("keys.text", ""))
    except ValueError:
        return ""


def added_lines(entry: Entry, path: str) -> list[str]:
    """Return the lines that a change has added to a file of keys."""
    words = [word for text in entry.undo for word in shlex.split(text)]
    return words[2:] if words[:2] == ["lines", path] else []


def key_paths(c: Connection) -> list[str]:
    """Return the private keys that a login offers."""
    usual = usual_keys() if c.connect_kwargs.get("look_for_keys", True) else []
    return [*keys_of(c), *usual]


def has_certificate(c: Connection) -> bool:
    """Return whether a login offers a certificate."""
    given = getattr(c.client, "certificates", [])
    return bool(given) or any(
        files.expanded(f"{path}{CERTIFICATE}").exists() for path in key_paths(c)
    )


def offered(c: Connection) -> set[str]:
    """Return the keys that a login offers, in base64, those of the agent included."""
    found = set()
    for path in map(files.expanded, key_paths(c)):
        try:
            found.add(key_of(keypair.public_line(path)))
        except (SetupError, OSError):
            found.add(UNREADABLE)
    if c.connect_kwargs.get("allow_agent", True):
        place = getattr(c.client, "agent_socket", "")
        with (
            contextlib.suppress(paramiko.SSHException),
            contextlib.closing(AgentAt(place) if place else paramiko.Agent()) as agent,
        ):
            found |= {key.get_base64() for key in agent.get_keys()}
    return found


def login_password(c: Connection, user: str, name: str) -> str:
    """Return the password of the login. Raises SetupError."""
    given = secrets.take_from_environment("login-password")
    known = [c.connect_kwargs.get("password"), given and given.reveal()]
    return right_one(
        Host.of(c),
        known,
        lambda password: check(c, CHECK_LOGIN, password, user) != WRONG,
        "password of",
        name,
        f"{name} logs in with a password: {HINT}",
    )


def sudo_password(c: Connection, user: str, name: str) -> str:
    """Return the password that sudo asks of an account. Raises SetupError."""
    given = secrets.take_from_environment("sudo-password")
    known = [given and given.reveal(), c.config.sudo.password, c.connect_kwargs.get("password")]
    return right_one(
        Host.of(c),
        known,
        lambda password: check(c, CHECK_SUDO, password, user) == RIGHT,
        "sudo password of",
        name,
        f"sudo asks {user} for a password: set LABFAB_SUDO_PASSWORD, "
        "or use fab --prompt-for-sudo-password",
    )


def check(c: Connection, command: str, password: str, user: str) -> int:
    """Return the exit code of a check. The password goes over the root shell's input."""
    return Host.of(c).read(fill(command, password, user)).code


def right_one(
    host: Host,
    known: Sequence[str | None],
    fits: Callable[[str], bool],
    question: str,
    whose: str,
    otherwise: str,
) -> str:
    """Return the first known password that fits, else ask for it. Raises SetupError."""
    candidates = list(dict.fromkeys(password for password in known if password))
    for password in candidates:
        if fits(password):
            return password
    if candidates:
        console.warn(f"[{host.label}] the {question} {whose} that was given is wrong")
    for _ in range(TRIES if sys.stdin.isatty() else 0):
        password = console.hidden(question, whose)
        if fits(password):
            return password
        console.warn(f"[{host.label}] that is not the {question} {whose}")
    raise refusal(host, otherwise)
