"""A host that is only a model: it answers the facts script from a dict, learns from each command, refuses unknown ones.

Everything of labfab runs for real but the wire: the model stands in for the root shell, for fresh logins and for the
probe of a stranger. What each command does to the host is in tests/fake_commands.py.
"""

import base64
import copy
import io
import json
import os
import re
import shlex
from collections.abc import Callable
from functools import lru_cache
from types import SimpleNamespace
from typing import NamedTuple

import paramiko
import pytest
from fabric import Config, Connection

from labfab.facts import reader
from labfab.facts.records import key_type
from labfab.host import alias, connection, dial_limit, journal, run_lock, session
from labfab.host.session import Host
from labfab.host.shell import Result, WrongSudoPassword
from labfab.local_state import passwords, secrets, ssh_config
from labfab.platforms import algorithms
from labfab.run import guard
from tests import fake_commands

ADDRESS = "203.0.113.5"
KEY = paramiko.ECDSAKey.generate()
WORD = r"(?:'[^']*'|\"'\"|[^\s'\"])+"
NOTE = re.compile(r"printf '%s\\n' (.*?) >>/var/lib/labfab/journal\.jsonl", re.DOTALL)
SSHD = {
    "passwordauthentication": "yes",
    "kbdinteractiveauthentication": "no",
    "permitemptypasswords": "no",
    "permitrootlogin": "yes",
    "pubkeyauthentication": "yes",
    "allowtcpforwarding": "yes",
}
SYSTEM = {
    "kernel": "Linux",
    "machine": "x86_64",
    "id": "debian",
    "version": "12",
    "name": "Debian GNU/Linux 12 (bookworm)",
    "like": "",
    "boot_id": "boot-1",
    "systemd": "yes",
    "login": "root",
    "package.ca-certificates": "yes",
}


def blob(text: str) -> str:
    return base64.b64encode(text.encode(errors="surrogateescape")).decode()


# What the model answers to questions unless a test says otherwise.
USUAL = (("tail -n 3 ~/.jupyter/lab.log", Result(0, "", "")), ("foreign_tmux ", Result(1, "", "")))


class Write(NamedTuple):
    """One change as it arrived: its reason, its account, and either a command or a file."""

    why: str
    stage: str
    user: str
    command: str = ""
    stdin: str = ""
    path: str = ""
    text: str = ""
    mode: str = ""
    check: str = ""


class FakeHost:
    """A model of one machine, and of the connection that a task gets."""

    def __init__(self, login: str, dry: bool, lab: dict) -> None:
        self.user, self.dry, self.lab = login, dry, lab
        self.sections = {name: {} for name in reader.SECTIONS}
        self.sections["system"] |= SYSTEM
        self.sections["updates"] |= {"age": "10"}
        self.sections["upgrades"] |= {"pending": "0"}
        self.sections["ssh"] |= {
            "socket": "inactive",
            "boots.service": "yes",
            "port.22": "yes",
            "listening.22": "sshd",
        }
        self.set_file(
            "ssh", "main", "Include /etc/ssh/sshd_config.d/*.conf\nUsePAM yes\n", "644 root"
        )
        self.add_account("root", uid=0, home="/root")
        self.match_users: dict[str, dict[str, str]] = {}  # what a Match block gives back
        self.sshd_defaults: dict[str, str] = {}  # lists of algorithms, for those that subtract
        self.answers: list[tuple[str, Result | Callable[[], Result]]] = []  # to questions
        self.failing: dict[str, str] = {}  # pattern of a command -> what it prints to stderr
        self.refused_logins = 0  # how many of the next fresh logins fail
        self.sudo_passwords: dict[str, str] = {}
        self.writes: list[Write] = []
        self.questions: list[str] = []
        self.logins: list[tuple[str, int]] = []
        self.guard: list[str] = []  # arm, disarm, revert
        self.cannot_arm = self.too_late = False
        self.at_work = ""  # the other run that holds the lock
        self.told: list[str] = []  # every script, as it was sent
        self.c = self.connect()

    def connect(self, user: str | None = None, port: int = 22) -> Connection:
        """Return the connection of a new command line."""
        overrides = {"lab": dict(self.lab), "run": {"dry": self.dry}}
        c = Connection(
            ADDRESS, user=user or self.user, port=port, config=Config(overrides=overrides)
        )
        c.transport = SimpleNamespace(
            active=True, get_remote_server_key=lambda: KEY, is_active=lambda: True
        )
        c.transport.user = c.user
        c.transport.get_username = lambda: c.user
        return c

    def again(self) -> Connection:
        """Begin a second run with the same command line."""
        Host.sessions.clear()
        (
            self.writes.clear(),
            self.logins.clear(),
            self.questions.clear(),
            self.told.clear(),
            self.guard.clear(),
        )
        self.c = self.connect()
        return self.c

    @property
    def whys(self) -> list[str]:
        return [write.why for write in self.writes]

    @property
    def readings(self) -> list[list[str]]:
        """Return the sections of each reading."""
        return [
            line.removeprefix("set -- ").split()
            for script in self.told
            if script.endswith(reader.SCRIPT)
            for line in script.splitlines()
            if line.startswith("set -- ")
        ]

    @property
    def planned(self) -> list[str]:
        """Return what this run did, or would do in plan mode."""
        return [made.why for made in Host.of(self.c).changes]

    def wrote(self, why: str) -> Write:
        """Return the only change with this reason."""
        found = [write for write in self.writes if write.why == why]
        assert len(found) == 1, f"{len(found)} changes {why!r} in {self.whys}"
        return found[0]

    # What is there -------------------------------------------------------------------------------

    def add_account(
        self, name: str, uid: int = 1000, home: str = "", foreign: bool = False, **more: str
    ) -> None:
        """Add an account: one that labfab made, or with `foreign` somebody else's."""
        home = home or f"/home/{name}"
        have = {
            "uid": str(uid),
            "home": home,
            "shell": "/bin/bash",
            "groups": name,
            "password": "L",
            "home_stat": f"700 {name}",
        } | ({} if foreign else {"ours": "yes"})
        self.sections["accounts"] |= {
            f"{name}.{key}": value for key, value in (have | more).items()
        }
        self.sections["ssh"] |= {f"{name}.{key}": value for key, value in SSHD.items()}

    def set_file(self, section: str, key: str, text: str, stat: str) -> None:
        self.sections[section] |= {f"{key}.stat": stat, f"{key}.text": blob(text)}

    def file(self, section: str, key: str) -> str:
        return base64.b64decode(self.sections[section].get(f"{key}.text", "")).decode()

    def install(self, *packages: str) -> None:
        self.sections["system"] |= {f"package.{name}": "yes" for name in packages}

    # What arrives --------------------------------------------------------------------------------

    def run(self, script: str, on_line=None, timeout: float = 120) -> Result:
        """Answer like the root shell."""
        self.told.append(script)
        if script.endswith(reader.SCRIPT):
            return Result(0, self.read(script), "")
        if NOTE.search(script):
            return self.write(script)
        if "/var/lib/labfab/guard" in script:
            return self.guarded(re.search(r"guard\.sh (arm|disarm|revert)[^/]*$", script)[1])
        if script == "boot_id":
            return Result(0, self.sections["system"]["boot_id"] + "\n", "")
        if script == "rm -f /var/lib/labfab/reverted":
            return Result(0, "", "")
        return self.answer(unwrap(script)[1])

    def read(self, script: str) -> str:
        wanted = re.search(r"^set -- (.*)$", script, re.MULTILINE)[1].split()
        head = dict(word.split("=", 1) for word in words(script.split("set -- ")[0]))
        users = head["USERS"].split()
        out = ""
        for section in wanted:
            known = self.sections[section]
            if section == "accounts":
                known = {k: v for k, v in known.items() if k.split(".")[0] in [*users, "sudoers"]}
            out += f"[{section}]\n" + "".join(f"{key}={value}\n" for key, value in known.items())
        return out

    def write(self, script: str) -> Result:
        line = json.loads(words(NOTE.search(script)[1])[0])
        made = parsed(line, script.removeprefix(journal.command(line)))
        assert made.command or made.path, f"neither a command nor a file: {script}"
        self.writes.append(made)
        for pattern, says in self.failing.items():
            if re.search(pattern, made.command or made.path):
                return Result(100, "", says)
        said = fake_commands.do(self, made)
        return Result(0, said if isinstance(said, str) else "", "")

    def guarded(self, step: str) -> Result:
        """Keep the state of the host, and restore it."""
        self.guard.append(step)
        self.sections["guard"].pop("armed", None)
        if step == "arm":
            self.before = copy.deepcopy(self.sections)
            self.sections["guard"]["armed"] = "a change"
        elif step == "revert":
            self.sections |= {name: self.before[name] for name in ("ssh", "firewall")}
            files = {
                k: v for k, v in self.before["accounts"].items() if fake_commands.GUARDED.search(k)
            }
            rest = {
                k: v
                for k, v in self.sections["accounts"].items()
                if not fake_commands.GUARDED.search(k)
            }
            self.sections["accounts"] = rest | files
        failed = self.cannot_arm if step == "arm" else self.too_late if step == "disarm" else False
        return Result(int(failed), "", "No space left on device" if failed else "")

    def answer(self, command: str) -> Result:
        self.questions.append(command)
        for pattern, result in [*self.answers, *USUAL]:
            if re.search(pattern, command, re.DOTALL):
                return result() if callable(result) else result
        raise AssertionError(f"the model does not know the question: {command}")

    # Other logins --------------------------------------------------------------------------------

    def fresh(self, c: Connection, user: str, port: int, identity=None, inside=None) -> Connection:
        """Log in again, if the model's sshd accepts the login."""
        self.refused_logins -= 1
        if self.refused_logins >= 0 or f"listening.{port}" not in self.sections["ssh"]:
            raise ConnectionRefusedError(111, "Connection refused")
        if self.sections["ssh"].get(f"{user}.permitrootlogin") == "no" and user == "root":
            raise paramiko.AuthenticationException("Authentication failed.")
        if f"{user}.uid" not in self.sections["accounts"]:
            raise paramiko.AuthenticationException("Authentication failed.")
        self.logins.append((user, port))
        new = self.connect(user, port)
        new.transport.open_channel = lambda *args, **kwargs: SimpleNamespace(close=lambda: None)
        return new

    def offered(self, c: Connection, user: str, port: int, inside=None) -> list[str]:
        have = self.sections["ssh"].get(f"{user}.passwordauthentication")
        return ["publickey"] if have == "no" else ["publickey", "password"]

    def algorithms(self, c: Connection, port: int, inside=None) -> dict[str, list[str]]:
        have = self.sections["ssh"]
        kinds = [key.removeprefix("host_key.") for key in have if key.startswith("host_key.")]
        found = {
            option: have.get(f"sshd.{option.lower()}", "").split(",") for option in algorithms.WEAK
        }
        shown = [name for name in found["HostKeyAlgorithms"] if key_type(name) in kinds]
        return found | {"HostKeyAlgorithms": shown}

    def shell(
        self, transport, label: str, given: str | None = None, root: bool = True
    ) -> SimpleNamespace:
        """Start the root shell of a login. sudo asks if a password is set."""
        wanted = self.sudo_passwords.get(transport.user)
        if root and wanted and given != wanted:
            raise WrongSudoPassword
        return SimpleNamespace(
            run=self.run,
            send=lambda script: answered(self.run(script)),
            close=lambda: None,
            label=label,
            frame=lambda text: answered(
                Result(0, f"held {self.at_work}" if self.at_work else "free", "")
            ),
            kernel=self.sections["system"]["kernel"],
        )


@lru_cache(maxsize=4096)
def words(text: str) -> list[str]:
    """Split shell text; models are asked the same things again and again, and shlex takes its time."""
    return shlex.split(text)


def answered(result: Result) -> SimpleNamespace:
    """A frame that has ended."""
    return SimpleNamespace(result=lambda: result)


def parsed(line: dict, script: str) -> Write:
    """Split a change into its parts again."""
    found = re.match(rf"printf %s ({WORD}) \| (.*)$", script, re.DOTALL)
    piped, rest = (words(found[1])[0], found[2]) if found else ("", script)
    user, command = unwrap(rest.removeprefix("{ ").removesuffix("\n}"))
    told = {"why": line["why"], "stage": line["stage"], "user": user}
    if not line.get("path"):
        return Write(**told, command=command, stdin=piped)
    inner = words(command)[2]
    head = re.match(rf"set -- ({WORD}) ({WORD}) ({WORD})\n", inner)
    path, mode, check = (words(word)[0] for word in head.groups())
    assert path == line["path"]
    return Write(**told, path=path, text=piped, mode=mode, check=check)


def unwrap(script: str) -> tuple[str, str]:
    """Split "as this account" from the command."""
    found = re.fullmatch(rf"\(HOME=.* run_script_as (\S+) ({WORD})\)", script, re.DOTALL)
    return (found[1], words(found[2])[0]) if found else ("root", script)


def one_lab(home, monkeypatch) -> None:
    """Make a folder the home of a laptop that knows one lab."""
    for variable in ("XDG_CONFIG_HOME", "LABFAB_RECIPE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)
    block = ssh_config.Alias("box", "203.0.113.5", "lab", 2222, former_logins="root@203.0.113.5:22")
    ssh_config.write(home / ".ssh/config", block)


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """An empty home, no LABFAB_* variables, no terminal, and nothing left from an earlier test."""
    (tmp_path / "home").mkdir(mode=0o700, exist_ok=True)
    (tmp_path / "project").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "project")
    for name in list(os.environ):
        if name.startswith(("LABFAB_", "SSH_", "XDG_", "FABRIC_", "INVOKE_")):
            monkeypatch.delenv(name)
    monkeypatch.setattr(Host, "sessions", {})
    monkeypatch.setattr(alias, "taken", {})
    monkeypatch.setattr(run_lock, "PATIENCE", 0)
    monkeypatch.setattr(secrets, "TAKEN", {})
    monkeypatch.setattr(dial_limit, "LIMITED", set())
    monkeypatch.setattr("sys.stdin", io.StringIO())
    monkeypatch.setattr(
        "os.fsync", lambda number: None
    )  # a throwaway home need not survive a power cut
    return tmp_path


@pytest.fixture
def fake(alone, monkeypatch):
    """Create models: fake(), fake("debian", ssh_port=2200), fake(dry=True)."""

    def make(login: str = "root", dry: bool = False, **lab) -> FakeHost:
        return answering(FakeHost(login, dry, lab), monkeypatch)

    return make


def answering(model: FakeHost, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    """Put the model in the place of the host that labfab calls."""
    monkeypatch.setattr(session, "Shell", model.shell)
    monkeypatch.setattr(guard, "Shell", model.shell)
    monkeypatch.setattr(connection, "dial", lambda c, settings: None)
    monkeypatch.setattr(connection, "log_in_again", model.fresh)
    monkeypatch.setattr(connection, "offered_methods", model.offered)
    monkeypatch.setattr(algorithms, "offered_by", model.algorithms)
    # The real cost of a hash, 0.1 s, is for local_state/test_passwords.py.
    monkeypatch.setattr(passwords, "JUPYTER", {"memory_cost": 8, "time_cost": 1, "parallelism": 1})
    return model
