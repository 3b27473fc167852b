"""Commands that a message tells you to type: no text of a host is more in them than one word.

Real shells read them, yours and then the host's, in an empty folder: a word that acts leaves something there.
"""

import subprocess
from pathlib import Path
from types import SimpleNamespace

import paramiko
import pytest
from fabric import Config, Connection

from labfab import text
from labfab.check import host as host_rows
from labfab.check import secrets
from labfab.check.findings import Finding
from labfab.check.probe import Private, Probe
from labfab.errors import SetupError
from labfab.host import host_key
from labfab.local_state import known_hosts, ssh_config
from labfab.platforms import debian, softwareupdate
from labfab.stages import user
from labfab.stages.system import surveying

ACTING = (
    *("/a b", "/it's", '/"', "/;touch made", "/';touch made;'", "/\\", "/*", "/#x", "/!x", "/~"),
    *("/;touch${IFS}made;#", "/$(touch made)", "/`touch made`", "/&touch made", "/>made", "/$HOME"),
)
# One cannot be told from a harmless one, or would be an option.
REFUSED = ("/a\nid", "/a\x1b[2J", "/a\u202eb", "-rf", "--help", "/a\tb", "/\x00")
ALIAS = ssh_config.Alias(
    name="homelab", hostname="203.0.113.5", user="lab", port=292, lab_user="jupyter"
)


def words(command: str, folder: Path) -> list[str]:
    """Return the words that a shell makes of a command."""
    script = f"printf '%s\\0' {command}"
    done = subprocess.run(["sh", "-c", script], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr
    return done.stdout.split("\0")[:-1]


@pytest.fixture
def read(tmp_path):
    """Read a command as the shell here does, and with ssh as the shell there does too."""

    def go(command: str) -> list[str]:
        found = words(command, tmp_path)
        if found[0] == "ssh":
            assert found[:3] == ["ssh", "-t", "homelab-admin"] and len(found) == 4
            found = words(found[3], tmp_path)
        assert not list(tmp_path.iterdir())
        return found

    return go


@pytest.fixture
def probe(monkeypatch) -> Probe:
    """A probe of a host that is set up, without a connection."""
    monkeypatch.setattr("labfab.check.probe.find_alias", lambda c: ALIAS)
    monkeypatch.setattr(Probe, "platform", debian)
    monkeypatch.setattr(Probe, "audit", {})
    made = object.__new__(Probe)
    made.c, made.powerless = SimpleNamespace(user="lab", host="203.0.113.5", port=292), ""
    return made


def mend(ask, *given) -> str:
    with pytest.raises(Finding) as found:
        ask(*given)
    return found.value.mend


def rows(probe: Probe, value: str, monkeypatch) -> dict[str, list[str]]:
    """Return what each row advises about a value of the host, and what the host is to read."""
    monkeypatch.setattr(Probe, "audit", {"disk.2": f"0.5 {value}"})
    disk = mend(host_rows.disk, probe)
    path = [Private("keys:eve", 0o777, "eve", value)]
    monkeypatch.setattr(Probe, "private", lambda self, kind: path)
    closing = mend(secrets.closed, probe, "keys:eve", "eve", 0o022)
    return {
        disk: ["sudo", "du", "-xh", "-d", "2", "-t", "100M", value],
        closing: ["sudo", "-u", "eve", "chmod", "go-w", value],
        probe.by_hand("id", value, account=value): ["sudo", "-u", value, "id", value],
    }


@pytest.mark.parametrize("value", ACTING)
def test_what_a_row_advises_is_one_word_for_both_shells(probe, read, monkeypatch, value):
    for command, expected in rows(probe, value, monkeypatch).items():
        assert read(command) == expected


@pytest.mark.parametrize("value", REFUSED)
def test_what_cannot_be_typed_is_not_advised(probe, monkeypatch, value):
    assert [*rows(probe, value, monkeypatch)] == [""]
    assert text.to_type("id", value) == text.to_type_on_host("box", "") == ""


def test_every_command_for_a_host_is_made_in_one_place():
    """ssh -t with a command is written by text.to_type_on_host alone."""
    for path in Path(text.__file__).parent.rglob("*.py"):
        lines = [line for line in path.read_text().splitlines() if '"ssh -t {' in line]
        assert not lines or path.name == "text.py", path


@pytest.mark.parametrize("name", ["x';id;'", "x$(touch made)", "a b", "x`id`", "x;touch made"])
def test_a_name_of_a_host_key_is_one_word(alone_home, read, name):
    """It may be a HostKeyAlias, or a name from a list of others."""
    theirs, ours = paramiko.ECDSAKey.generate(), paramiko.ECDSAKey.generate()
    path = alone_home / ".ssh/known_hosts"
    known_hosts.append(path, f"x {ours.get_name()} {ours.get_base64()}\n".encode())
    known = {"pinned": lambda *given: [ours]}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(known_hosts, "pinned", known["pinned"])
        with pytest.raises(SetupError) as error:
            known_hosts.pin(path, name, 22, theirs)
    command = error.value.text.partition("machine: ")[2]
    assert read(command) == ["ssh-keygen", "-f", str(path), "-R", name]
    c = Connection("box", user="lab", config=Config())
    c.ssh_config = {"hostkeyalias": name}
    changed = host_key.changed_key(c, paramiko.BadHostKeyException("box", theirs, ours))
    assert read(changed.text.partition("again: ")[2]) == ["ssh-keygen", "-R", name]


@pytest.fixture
def alone_home(tmp_path_factory, monkeypatch) -> Path:
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    return home


@pytest.mark.parametrize("home", [*ACTING, *REFUSED])
def test_a_home_of_the_host_is_one_word(monkeypatch, read, home):
    """In what is advised about it, if anything is."""
    c, host = SimpleNamespace(), SimpleNamespace(label="homelab")
    for module in (user, surveying):
        monkeypatch.setattr(module.Host, "of", lambda c: host)
    account = SimpleNamespace(home=home, name="eve", home_stat="")
    with pytest.raises(SetupError) as error:
        user.require_home(c, account)
    command = error.value.text.partition("look at it with ")[2].partition("; if it is missing")[0]
    assert read(command) == ["ls", "-ld", *([] if home in REFUSED else [home])]
    found = SimpleNamespace(home=home, mounts={home: ("ro",)})
    with pytest.raises(SetupError) as error:
        surveying.refuse_mounts(c, found)
    command = error.value.text.partition("nothing can be written: ")[2]
    assert not command or read(command) == ["mount", "-o", "remount,rw", home]


@pytest.mark.parametrize("label", [*ACTING, *REFUSED])
def test_an_update_of_apple_is_one_word(monkeypatch, read, label):
    """Its label is what softwareupdate prints."""
    said: list[str] = []
    have = SimpleNamespace(
        system=SimpleNamespace(machine="arm64"), updates=SimpleNamespace(filevault=False)
    )
    host = SimpleNamespace(label="homelab-admin")
    monkeypatch.setattr(softwareupdate.Host, "of", lambda c: host)
    monkeypatch.setattr(softwareupdate, "facts", lambda c: have)
    monkeypatch.setattr(softwareupdate.console, "warn", said.append)
    c, want = SimpleNamespace(user="lab"), SimpleNamespace(reboot=True)
    softwareupdate.install_and_restart(c, want, [label])
    command = said[0].partition("owner of the disk: ")[2]
    expected = ["sudo", "softwareupdate", "-i", "-R", "--user", "lab", label]
    assert command == "install it at its screen" or read(command) == expected
    assert ("screen" in command) == (label in REFUSED)
