"""SSH lookup: what a host's name means to this machine's ssh, for Fabric.

paramiko reads the user's ssh_config, which costs nothing, as long as it reads it as ssh does. For
files that hold more than that (Match, Include, quotes, certificates, …) ssh itself is asked with
`ssh -G`, which takes about 10 ms for each host.

Constraint: labfab starts even with a file that nobody can read. The error is for whoever uses it.
"""

from __future__ import annotations

import functools
import getpass
import glob
import io
import os
import pwd
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from paramiko.config import SSHConfig, SSHConfigDict

from .. import fabric_internals
from ..errors import SetupError
from . import secrets

# Each option's values, by its name in lower case.
Options = dict[str, list[str]]
OWN, SYSTEM = "~/.ssh/config", Path("/etc/ssh/ssh_config")
TIMEOUT = 20  # seconds for `ssh -G`, which may resolve names and run the commands of Match exec
MOST_FILES = 1000
LINE = r"\s*(?P<key>\w+)(?:\s*=\s*|\s+)(?P<value>.*?)\s*"
# What paramiko or Fabric reads differently from ssh, or not at all.
HARD_KEYS = {
    *("match", "include", "certificatefile", "identityagent", "forwardagent", "connecttimeout"),
    *("canonicalizehostname", "ignoreunknown"),
}
HARD_VALUES = r"[\"'#\\$]|^none$"
# What decides how a host is reached. A file of the whole machine without any of it is left alone:
# Debian's and Apple's include a folder that is usually empty.
ONE_VALUE = {
    *("hostname", "user", "port", "proxyjump", "proxycommand", "forwardagent", "connecttimeout"),
    *("identitiesonly", "identityagent", "hostkeyalias", "addressfamily", "bindaddress"),
    *("bindinterface", "kexalgorithms", "hostkeyalgorithms", "ciphers", "macs"),
    *("pubkeyacceptedalgorithms", "pubkeyacceptedkeytypes", "pkcs11provider"),
    *("proxyusefdpass", "securitykeyprovider", "casignaturealgorithms", "requiredrsasize"),
}
SEVERAL_VALUES = {"identityfile", "certificatefile"}


class LaptopConfig(SSHConfig):
    """The ssh_config files that Fabric would read. ssh is asked where paramiko would misread."""

    # Fabric replaces %h and %p when it dials: by then setup may have moved the port.
    TOKENS_BY_CONFIG_KEY = {**SSHConfig.TOKENS_BY_CONFIG_KEY, "proxycommand": []}

    def __init__(self, files: Sequence[Path] = (), option: Sequence[str] = ()) -> None:
        """Read the files. option: what tells ssh to read the same ones."""
        super().__init__()
        self.files, self.option = tuple(files), tuple(option)
        self.problem = ""
        self.easy = True
        self.answers: dict[tuple[str, str], tuple[Options | None, str]] = {}
        for path in files:
            self.read(path)

    def read(self, path: Path) -> None:
        """Read one file, and note whether paramiko can."""
        try:
            text = path.read_text(errors="replace")
            self.parse(io.StringIO(text))
        except FileNotFoundError:
            return
        # paramiko raises its own errors, and whatever a line that it does not expect leads to.
        except Exception as error:
            self.problem = f"{path}: {getattr(error, 'strerror', '') or error}"
        else:
            self.easy &= is_easy(text) or (path == SYSTEM and not is_about_hosts(path))

    def lookup(self, hostname: str) -> SSHConfigDict:
        """Return what the files say about a host. Raises SetupError if nobody can read them."""
        if self.easy and not self.problem:
            return super().lookup(hostname)
        typed = str(hostname), str(getattr(hostname, "user", ""))
        if typed not in self.answers:
            self.answers[typed] = ask(self.option, *typed)
        said, error = self.answers[typed]
        if said is not None:
            return self.expanded(differing(said, without_configuration()), hostname)
        if not error and not self.problem:
            return super().lookup(hostname)  # there is no ssh here
        raise SetupError(f"ssh does not accept your configuration: {error or self.problem}")

    def expanded(self, options: Options, hostname: str) -> SSHConfigDict:
        """Return options of `ssh -G` in the form of paramiko's lookup."""
        found: Any = SSHConfigDict()
        for key, values in options.items():
            found[key] = values if key in SEVERAL_VALUES else values[0]
        found.setdefault("hostname", str(hostname))
        tokens = tokens_of(found, hostname)
        for key in SEVERAL_VALUES & set(found):
            found[key] = [local_path(path, tokens) for path in found[key]]
        if found.get("forwardagent", "no") != "no":
            found["forwardagent"] = "yes"  # Fabric knows no other socket than the usual one
        if "proxyjump" in found:
            # ssh writes [10.0.0.1]:22. Without these brackets it is what a block has.
            found["proxyjump"] = re.sub(r"\[([\d.]+)\]", r"\1", found["proxyjump"])
        return cast(SSHConfigDict, found)


def install() -> None:
    """Let Fabric look hosts up here."""
    fabric_internals.read_ssh_config_with(LaptopConfig, load)
    fabric_internals.understand_brackets()


def load(given: str | None, own: str, system: str, wanted: bool) -> LaptopConfig:
    """Return the configuration of the files that Fabric would read.

    given: the file of `fab -S`; None: the user's own and the system's, if they are wanted.
    Raises SetupError if the file of `fab -S` is missing.
    """
    if given is not None:
        path = Path(given).expanduser()
        if not path.exists():
            raise SetupError(f"there is no {path}: correct fab -S")
        return LaptopConfig([path], ["-F", str(path)])
    if not wanted:
        return LaptopConfig()
    option = config_file("" if own == OWN else str(Path(own).expanduser()))
    return LaptopConfig([Path(path).expanduser() for path in (own, system)], option)


def is_own_home() -> bool:
    """Return whether ssh, which asks the password database, looks for its files in $HOME."""
    return Path.home() == Path(pwd.getpwuid(os.getuid()).pw_dir)


def config_file(config: str = "") -> list[str]:
    """Return the option that names the ssh_config, if it is not the one that ssh would read."""
    if not config and not is_own_home():
        own = Path.home() / ".ssh" / "config"
        config = str(own) if own.exists() else "none"
    return ["-F", config] if config else []


def pairs(text: str) -> Iterator[tuple[str, str]]:
    """Yield the options of an ssh_config, the keys in lower case."""
    for line in text.splitlines():
        found = re.fullmatch(LINE, line)
        if found:
            yield found["key"].lower(), found["value"]


def is_easy(text: str) -> bool:
    """Return whether paramiko reads a text as ssh does."""
    return not any(
        key in HARD_KEYS
        or re.search(HARD_VALUES, value)
        or (key == "port" and not value.isdecimal())
        for key, value in pairs(text)
    )


def is_about_hosts(path: Path) -> bool:
    """Return whether a file, or one that it includes, says how to reach a host."""
    words = {"match", *ONE_VALUE, *SEVERAL_VALUES}
    return any(key in words for _, text in texts(path) for key, _ in pairs(text))


def texts(path: Path, seen: set[Path] | None = None) -> Iterator[tuple[Path, str]]:
    """Yield an ssh_config and the files that it includes, each once, as far as they can be read."""
    seen = set() if seen is None else seen
    if path in seen or len(seen) > MOST_FILES:
        return
    seen.add(path)
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return
    yield path, text
    base = SYSTEM.parent if path.is_relative_to(SYSTEM.parent) else Path.home() / ".ssh"
    for pattern in included(text):
        for found in sorted(glob.glob(str(base / os.path.expanduser(pattern)))):
            yield from texts(Path(found), seen)


def included(text: str) -> Iterator[str]:
    """Yield the patterns that follow Include."""
    for key, value in pairs(text):
        if key == "include":
            for quoted, bare in re.findall(r'"([^"]*)"|(\S+)', value):
                yield quoted or bare


@functools.cache
def without_configuration() -> Options:
    """Return what ssh would do for any host without a configuration."""
    return ask(("-F", "none"), "localhost", "")[0] or {}


def ask(option: Sequence[str], hostname: str, user: str) -> tuple[Options | None, str]:
    """Ask ssh what a host's name means. Returns its options, or None and what ssh says."""
    login = ["-l", user] if user else []
    argv = ["ssh", *option, "-G", *login, "--", hostname]
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env=secrets.clean_environment(),
            timeout=TIMEOUT,
            check=False,
        )
    except FileNotFoundError:
        return None, ""
    except subprocess.TimeoutExpired:
        return None, f"ssh -G does not answer within {TIMEOUT} s"
    if done.returncode:
        return None, complaint(done.stderr)
    options: Options = {}
    for line in done.stdout.splitlines():
        key, _, value = line.partition(" ")
        if key.lower() in ONE_VALUE | SEVERAL_VALUES:
            options.setdefault(key.lower(), []).append(value)
    return options, ""


def complaint(said: str) -> str:
    """Return the line in which ssh says what is wrong, and where."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    placed = [line for line in lines if re.search(r" line \d+: ", line) and "-c: " not in line]
    return (placed or lines[-1:] or [""])[0]


def differing(said: Options, usual: Options) -> Options:
    """Return the options that are not what ssh would do without any configuration."""
    return {
        key: list(values)
        for key, values in said.items()
        if key == "hostname" or values != usual.get(key)
    }


def tokens_of(options: dict[str, str], hostname: str) -> dict[str, str]:
    """Return what the percent tokens of ssh_config(5) stand for."""
    me = getpass.getuser()
    return {
        "%": "%",
        "d": str(Path.home()),
        "h": options.get("hostname", str(hostname)),
        "n": str(hostname),
        "p": str(options.get("port", 22)),
        "r": options.get("user", me),
        "u": me,
    }


def replaced(text: str, tokens: dict[str, str]) -> str:
    """Return a text with its percent tokens replaced, as far as they are known."""
    return re.sub(r"%(.)", lambda found: tokens.get(found[1], found[0]), text)


def local_path(path: str, tokens: dict[str, str]) -> str:
    """Return the path of a file of this machine as ssh would open it."""
    path = re.sub(r"\$\{(\w+)\}", lambda found: os.environ.get(found[1], found[0]), path)
    return replaced(os.path.expanduser(path), tokens)
