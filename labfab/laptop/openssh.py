"""OpenSSH: how labfab calls the client, and what its errors mean.

Constraints:
- ssh reads the home from the password database, Python from $HOME; if they differ, tell ssh.
- Nobody may be there to answer: ssh never asks for a passphrase, a password or a new host key.
- The user's ssh_config says how to reach a host. Its forwards, commands and shared connections are
  the user's own, and where it looks for host keys must not replace the keys that labfab pinned.
- ssh takes the first value of an option, so what a caller adds comes before what is here.
- Only what ssh itself says is understood (ssh_log.py). What the host prints is shown, no more.
"""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import IO, NamedTuple

from .. import decode, text
from ..errors import SetupError, Unreachable
from ..local_state import known_hosts, secrets
from ..local_state.keypair import NAMES
from ..local_state.private_key import is_encrypted
from ..local_state.ssh_lookup import config_file, is_own_home
from . import ssh_log

SILENT = ("BatchMode=yes", "LogLevel=ERROR")
# What the user's ssh_config may ask of every ssh, and no ssh of ours may do. ClearAllForwardings
# removes those of the command line too: ssh_control.forward() adds ours to a running ssh.
ALONE = (
    "ClearAllForwardings=yes",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    "RequestTTY=no",
    "ForwardAgent=no",
    "ForwardX11=no",
    "Tunnel=no",
    "ControlMaster=no",
    "ControlPath=none",
    "ControlPersist=no",
)
# The same, known since OpenSSH 8.7. An older ssh ends with an error.
ALONE_SINCE_8_7 = ("SessionType=default", "ForkAfterAuthentication=no", "StdinNull=no")
# The key of a host is one that labfab pinned, whatever else vouches for it.
PINNED = ("VerifyHostKeyDNS=no", "UpdateHostKeys=no", "NoHostAuthenticationForLocalhost=no")
ALGORITHMS = ("KexAlgorithms", "HostKeyAlgorithms", "Ciphers", "MACs")
# What ssh prints -> what it means and what to do; tried in this order.
MEANINGS = {
    "HOST IDENTIFICATION HAS CHANGED": (
        "THE HOST KEY HAS CHANGED: somebody may be listening in. "
        "Only if you have reinstalled the machine: {command}"
    ),
    "Host key verification failed|host key is known": (
        "unknown host key: log in once with fab, which shows it and asks"
    ),
    r"Bad configuration option|Bad owner or permissions|: line \d+: ": (
        "ssh does not accept your configuration: {line}"
    ),
    "Permission denied": "Permission denied ({key}): {hint}",
    "cannot listen to port": (
        "a port of this machine is taken ({line}): set another one in the setting local_port"
    ),
    "Connection refused": (
        "nothing listens on port {port}: is it the right port, is sshd running?"
    ),
    "timed out": "no answer{on}: is it switched on, is the address right?",
    "Could not resolve hostname": (
        "no such host name: check the spelling, or set this alias up first"
    ),
    "No route to host|Network is unreachable": (
        "it cannot be reached: is this machine on the right network?"
    ),
}
CHANGED, UNREACHABLE = next(iter(MEANINGS)), tuple(MEANINGS)[-4:]
NO_ANSWER = "timed out"
LONGEST_LINE = 300  # characters of others' words in a message
# Ends an ssh whose host answers more than 64 kB, which would else go to the disk of this machine.
# The blocks of `ulimit` have 512 or 1,024 bytes.
BRIEF = ("sh", "-c", 'ulimit -f 64; exec "$@"', "sh")
MISSING = "the program {} is missing: install OpenSSH's client (openssh-client)"


class Target(NamedTuple):
    """The host that ssh calls: just an alias of the ssh_config, or everything ssh has to know."""

    alias: str
    hostname: str = ""
    user: str = ""
    port: int = 0
    identity: str = ""
    config: str = ""  # an ssh_config other than ~/.ssh/config

    @property
    def name(self) -> str:
        """The host's name in messages."""
        return self.hostname or self.alias


def command(target: Target, *options: str) -> list[str]:
    """Return the ssh command that calls a target and never asks anything.

    options: come before ours, which do not change what they set.
    """
    ours = as_options(*SILENT, *own_settings(), *newer_options())
    return ["ssh", *config_file(target.config), *options, *ours, *address(target)]


def own_settings() -> tuple[str, ...]:
    """Return the settings of every ssh of ours, also of one that may ask for a passphrase."""
    return ("StrictHostKeyChecking=yes", known_hosts_option(), *PINNED, *ALONE)


def as_options(*settings: str) -> list[str]:
    """Return settings as ssh takes them on its command line."""
    return [part for setting in settings for part in ("-o", setting)]


def newer_options() -> tuple[str, ...]:
    """Return the options that only a newer ssh knows; empty if this machine's is older."""
    return ALONE_SINCE_8_7 if version(shutil.which("ssh") or "") >= (8, 7) else ()


@functools.cache
def version(program: str) -> tuple[int, ...]:
    """Return the version of an OpenSSH client; empty if it does not say."""
    if not program:
        return ()
    found = re.match(r"OpenSSH_(\d+)\.(\d+)", run([*BRIEF, program, "-V"], 2)[1])
    return tuple(map(int, found.groups())) if found else ()


def known_hosts_option() -> str:
    """Return the setting that names the files where labfab finds host keys."""
    known = Path.home() / ".ssh" / "known_hosts"
    # The second one holds no keys of labfab, but may hold revoked ones.
    paths = [known, *(path for path in [known.with_name("known_hosts2")] if path.exists())]
    return "UserKnownHostsFile=" + " ".join(quoted(str(path)) for path in paths)


def quoted(path: str) -> str:
    """Return a path as ssh's settings take it."""
    for sign, escaped in (("\\", "\\\\"), ('"', '\\"'), ("%", "%%")):
        path = path.replace(sign, escaped)
    return f'"{path}"'


def home_options(config: str = "") -> list[str]:
    """Return options that say where the home is, if ssh would look elsewhere, and which config."""
    known = [] if is_own_home() else as_options(known_hosts_option())
    return [*config_file(config), *known]


def home_keys() -> list[str]:
    """Return the keys in the home, if ssh would look for its usual ones elsewhere."""
    if is_own_home():
        return []
    paths = [Path.home() / ".ssh" / name for name in NAMES]
    keys = [str(path).replace("%", "%%") for path in paths if path.exists()]
    return [part for key in keys for part in ("-i", key)]


def address(target: Target) -> list[str]:
    """Return the end of the command, which names the host."""
    if not target.hostname:
        return ["--", target.alias]
    own = ["-i", target.identity.replace("%", "%%"), "-o", "IdentitiesOnly=yes"]
    keys = own if target.identity else home_keys()
    port = ["-p", str(target.port)] if target.port else []
    user = ["-l", target.user] if target.user else []
    return [*keys, *port, *user, "--", target.hostname]


def attempt(
    argv: list[str], timeout: float, out: IO[bytes] | int = subprocess.DEVNULL
) -> tuple[int, str] | None:
    """Run ssh, without our secrets in its environment. Return its exit code and its stderr.

    timeout: in seconds. Returns None if it took longer.
    """
    # A file, because a pipe would stay open as long as an ssh in the background lives.
    with tempfile.TemporaryFile() as errors:
        try:
            done = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=errors,
                env=secrets.clean_environment(),
                timeout=timeout,
                check=False,
            )
        except FileNotFoundError:
            raise SetupError(MISSING.format(argv[0])) from None
        except subprocess.TimeoutExpired:
            return None
        errors.seek(0)
        return done.returncode, errors.read().decode(errors="replace").replace("\r", "")


def run(
    argv: list[str], timeout: float, out: IO[bytes] | int = subprocess.DEVNULL
) -> tuple[int, str]:
    """Run an ssh that calls no host. Return its exit code and its stderr.

    timeout: in seconds; then the code is 255, as for any failure of ssh itself.
    """
    return attempt(argv, timeout, out) or (255, NO_ANSWER)


def call(
    words: list[str],
    timeout: float,
    out: IO[bytes] | int = subprocess.DEVNULL,
    limit: tuple[str, ...] = (),
) -> tuple[int, str, str]:
    """Run an ssh that calls a host. Return its exit code, what it says itself, and its stderr.

    words: the command, from command(). limit: BRIEF, or nothing. Otherwise like run().
    """
    with ssh_log.opened() as log:
        done = attempt([*limit, words[0], *log.options, *words[1:]], timeout, out)
        said = log.read()
    return (done[0], said, done[1]) if done else (255, NO_ANSWER, "")


def ask(target: Target, words: str, timeout: int, control: Path | None = None) -> str:
    """Run a command on the host and return the last line of its output.

    control: the socket of an ssh whose connection is used; None: a new connection.
    Raises SetupError if ssh fails.
    """
    if not shutil.which("ssh"):
        raise SetupError(MISSING.format("ssh"))
    options = as_options(f"ConnectTimeout={timeout}")
    if control:
        options += as_options(f"ControlPath={quoted(str(control))}")
    with tempfile.TemporaryFile() as out:
        code, said, printed = call([*command(target, *options), words], 3 * timeout, out, BRIEF)
        out.seek(0)
        lines = out.read().decode(errors="replace").splitlines()
    if code == 255:
        raise explain(target, said, printed)
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def capabilities(host: str) -> dict[str, list[str]]:
    """Return the algorithms that this machine's ssh would use for a host, by option.

    Empty if ssh cannot tell: it is older than OpenSSH 6.8, or its configuration has an error.
    """
    found = configured(["ssh", *home_options(), "-G", "--", host])
    options = {name: value.split(",") for name, value in found.items()}
    return {name: options[name.lower()] for name in ALGORITHMS if name.lower() in options}


def configured(argv: list[str]) -> dict[str, str]:
    """Return what `ssh -G` tells of its settings for a host; empty if it cannot."""
    with tempfile.TemporaryFile() as out:
        code, _ = run(argv, 10, out)
        out.seek(0)
        said = out.read().decode(errors="replace") if code == 0 else ""
    pairs = [line.split(" ", 1) for line in said.splitlines() if " " in line]
    return {name.lower(): value for name, value in pairs}


def known_as(target: Target) -> str:
    """Return the name of a target in known_hosts. It is not taken from what anybody prints."""
    found = configured(command(target, "-G"))
    alias = found.get("hostkeyalias", "").removeprefix("none")
    port = decode.number(found.get("port", "")) or target.port or 22
    name = found.get("hostname", target.name)
    return known_hosts.host_name(*known_hosts.lookup_name(name, port, alias))


def below(home: str, path: str) -> str:
    """Return the path of a socket in the home that the host reported.

    Raises SetupError for characters that ssh or a shell would expand, such as %, : and ${.
    """
    if not re.fullmatch(r"/[\w./@+,=-]+", home, re.ASCII):
        raise SetupError(
            f"the home {home!r} on the host has characters that a tunnel cannot use: "
            "leave listen at tcp"
        )
    return f"{home}/{path}"


def explain(target: Target, said: str, printed: str = "") -> SetupError:
    """Turn what ssh said into one line: which host, what happened, what to do.

    said: by ssh itself. printed: what else came, from the host or from what is in between.
    """
    lines = ssh_log.believable(said)
    pattern = meaning(said)
    if not pattern:
        return SetupError(heard(said, printed), host=target.name)
    values = {
        "command": text.to_type("ssh-keygen -R", known_as(target)) if pattern == CHANGED else "",
        "key": target.identity or "the keys of your ssh_config and agent",
        "hint": hint(target),
        "port": target.port or "that its alias names",
        "on": f" on port {target.port}" if target.port else "",
        "line": next(line for line in lines if re.search(pattern, line)),
    }
    kind = Unreachable if pattern in UNREACHABLE else SetupError
    return kind(MEANINGS[pattern].format(**values), host=target.name)


def meaning(said: str) -> str:
    """Return the pattern of MEANINGS that fits what ssh itself said; empty if none does."""
    own = "\n".join(ssh_log.believable(said))
    return next((pattern for pattern in MEANINGS if re.search(pattern, own)), "")


def heard(said: str, printed: str) -> str:
    """Return the last words of ssh, and of whoever else printed something, as what they are."""
    own, other = (last_line(one) for one in (said, printed))
    words = f"ssh says: {own}" if own else "ssh gave up without a word"
    return f"{words}; the host, or what is in between, printed: {other}" if other else words


def last_line(said: str) -> str:
    """Return the last line of a text, made harmless."""
    lines = [line.strip() for line in said.split("\n") if line.strip()]
    return text.one_line(lines[-1])[:LONGEST_LINE] if lines else ""


def hint(target: Target) -> str:
    """Return what to do if the host refuses the key."""
    try:
        if target.identity and is_encrypted(Path(target.identity)):
            return f"it has a passphrase, so add it to your agent: ssh-add '{target.identity}'"
    except SetupError as error:
        return str(error)
    return (
        "copy the right key there with fab keys.copy, "
        "or add a key with a passphrase to your agent with ssh-add"
    )
