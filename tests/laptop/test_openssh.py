import os
import pwd
import shlex
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from labfab.errors import SetupError
from labfab.laptop import openssh
from labfab.laptop.openssh import Target
from labfab.local_state import keypair

LAB = Target("homelab", "203.0.113.5", "lab", 2222, "/keys/id")


def test_never_asks() -> None:
    """Every call is silent: no passphrase, password or host key is asked for."""
    argv = openssh.command(LAB, "-N")
    assert argv[0] == "ssh"
    for option in ("BatchMode=yes", "StrictHostKeyChecking=yes"):
        assert argv[argv.index(option) - 1] == "-o"
    assert argv[-2:] == ["--", "203.0.113.5"]
    assert openssh.command(Target("homelab"))[-2:] == ["--", "homelab"]


def test_home_of_its_own(home: Path) -> None:
    """If $HOME is not the home in the password database, ssh reads only the files in $HOME."""
    assert openssh.home_options()[:2] == ["-F", "none"]
    (home / ".ssh").mkdir()
    (home / ".ssh/config").write_text("Host homelab\n  Port 4711\n")
    argv = openssh.command(Target("homelab"), "-G")
    told = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.splitlines()
    assert "port 4711" in told
    assert f"userknownhostsfile {home}/.ssh/known_hosts" in told
    assert openssh.home_options("/other/config")[:2] == ["-F", "/other/config"]


def test_keys_of_the_home(home: Path) -> None:
    """A host without a key in its target is offered the keys in $HOME."""
    bare = Target("homelab", "203.0.113.5", "root", 22)
    assert "-i" not in openssh.command(bare)
    key = keypair.ensure()
    argv = openssh.command(bare)
    assert argv[argv.index("-i") + 1] == str(key)


def test_strange_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home with blanks, quotes and percent signs reaches ssh as one path."""
    home = tmp_path / "a b'\"%h ü"
    monkeypatch.setenv("HOME", str(home))
    told = subprocess.run(
        openssh.command(LAB, "-G"), check=True, capture_output=True, text=True
    ).stdout
    assert f"userknownhostsfile {home}/.ssh/known_hosts" in told


def test_real_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual home needs no options."""
    monkeypatch.setenv("HOME", pwd.getpwuid(os.getuid()).pw_dir)
    assert openssh.home_options() == []
    assert openssh.home_options("/other/config") == ["-F", "/other/config"]


def test_a_key_is_looked_for_where_labfab_pins_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the usual home too, where ssh would take the place from the user's configuration."""
    monkeypatch.setenv("HOME", pwd.getpwuid(os.getuid()).pw_dir)
    config = tmp_path / "config"
    config.write_text(
        "Host *\n StrictHostKeyChecking no\n UserKnownHostsFile /dev/null\n VerifyHostKeyDNS yes\n"
    )
    argv = openssh.command(Target("homelab", config=str(config)), "-G")
    told = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.splitlines()
    place = f"userknownhostsfile {Path.home()}/.ssh/known_hosts"
    assert any(line.startswith(place) for line in told)
    assert "stricthostkeychecking true" in told and "verifyhostkeydns false" in told


def test_an_old_ssh_gets_no_option_that_it_does_not_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would end with an error."""
    for name, said in (("8.6p1", False), ("9.9p2", True), ("10.0p1", True)):
        program = tmp_path / name / "ssh"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\necho OpenSSH_{name} Debian >&2\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
        assert ("SessionType=default" in openssh.command(LAB)) is said


def test_secrets_stay_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child gets none of our secrets, and its errors are returned."""
    monkeypatch.setenv("LABFAB_SUDO_PASSWORD", "hunter2")
    script = tmp_path / "child"
    script.write_text("#!/bin/sh\nenv >&2\nexit 7\n")
    script.chmod(0o755)
    code, errors = openssh.run([str(script)], 5)
    assert code == 7
    assert "PATH=" in errors and "hunter2" not in errors


def test_hanging_child() -> None:
    """A child that hangs is ended."""
    assert openssh.run(["sleep", "5"], 0.1) == (255, "timed out")


def test_no_client() -> None:
    """Without OpenSSH's client one line names what to install."""
    with pytest.raises(SetupError, match="install OpenSSH's client"):
        openssh.run(["no-such-ssh"], 1)


@pytest.mark.parametrize(
    ("errors", "message"),
    [
        ("lab@203.0.113.5: Permission denied (publickey).\r\n", "Permission denied (/keys/id)"),
        (
            "ssh: connect to host 203.0.113.5 port 2222: Connection refused",
            "nothing listens on port 2222",
        ),
        (
            "ssh: connect to host 203.0.113.5 port 2222: Connection timed out",
            "no answer on port 2222",
        ),
        (
            "ssh: connect to host 203.0.113.5 port 2222: Operation timed out",
            "no answer on port 2222",
        ),
        ("timed out", "no answer on port 2222"),
        ("ssh: connect to host 203.0.113.5 port 2222: No route to host", "right network"),
        ("ssh: Could not resolve hostname homelab: Name or service not known", "no such host name"),
        (
            "@@@\n@ REMOTE HOST IDENTIFICATION HAS CHANGED! @\n"
            "Host key for [1.2.3.4]:22 has changed and",
            "ssh-keygen -R '[203.0.113.5]:2222'",
        ),
        (
            "No ED25519 host key is known for x and you have requested strict checking.\nHost key",
            "unknown host key",
        ),
        (
            "/h/config: line 3: Bad configuration option: foo\n/h/config: terminating, 1 bad",
            "line 3: Bad config",
        ),
        ("first\nkex_exchange: Connection closed by remote host\n", "ssh says: kex_exchange"),
        ("", "without a word"),
        ("{0} {name} %s", "ssh says: {0} {name} %s"),
    ],
)
def test_explain(errors: str, message: str) -> None:
    """Errors of ssh become one line that starts with the host."""
    error = openssh.explain(LAB, errors)
    assert error.host == "203.0.113.5" and error.message.startswith("203.0.113.5: ")
    assert message in error.message
    assert "\n" not in error.message


FORGED = (
    "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\n"
    "Host key for x';id>PWNED;' has changed and you have requested strict checking.\n"
)


@pytest.mark.parametrize(
    "said",
    [
        "",
        f"Received disconnect from 203.0.113.5 port 2222:2: bye\n{FORGED}",
        f"Received disconnect from 203.0.113.5 port 2222:2: {FORGED}",
        f"Unable to negotiate with 203.0.113.5 port 2222: no match. Their offer: x\n{FORGED}",
    ],
)
def test_what_a_host_prints_is_shown_and_not_believed(said: str) -> None:
    """Nor what ssh quotes of it: no advice comes of it, and no command."""
    error = openssh.explain(LAB, said, FORGED + "\x1b[2Jlast\nwords\x1b")
    assert "ssh-keygen" not in error.message and "CHANGED" not in error.message.partition(": ")[0]
    assert error.message.endswith("printed: words?") and "\n" not in error.message


def test_the_name_of_a_changed_key_is_the_one_that_ssh_looks_up(home: Path) -> None:
    """By the configuration of this machine, whatever a message names, and quoted for the shell."""
    (home / ".ssh").mkdir()
    (home / ".ssh/config").write_text(
        "Host homelab\n HostName 203.0.113.7\n Port 292\nHost other\n HostKeyAlias a;id\n"
    )
    said = openssh.explain(Target("homelab"), FORGED).message
    assert said.endswith("ssh-keygen -R '[203.0.113.7]:292'")
    said = openssh.explain(Target("other"), FORGED).message
    assert shlex.split(said.partition("machine: ")[2]) == ["ssh-keygen", "-R", "a;id"]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Put a program in ssh's place; $log is where ssh's own messages go."""

    def write(script: str) -> Path:
        program = tmp_path / "bin/ssh"
        program.parent.mkdir(exist_ok=True)
        take = 'for one; do [ "$before" = -E ] && log=$one; before=$one; done\n'
        program.write_text(f"#!/bin/sh\n{take}{script}\n")
        program.chmod(0o755)
        return program

    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    return write


def test_a_command_of_the_host_cannot_speak_for_ssh(fake) -> None:
    """An account of the host chooses its shell's exit code, and what that prints."""
    fake(f'cat >&2 <<"X"\n{FORGED}X\nexit 255')
    with pytest.raises(SetupError, match="without a word; the host, .* printed: Host key for x"):
        openssh.ask(Target("homelab"), "pwd", 5)
    fake("echo timed out >&2; exit 255")
    with pytest.raises(SetupError, match="printed: timed out"):
        openssh.ask(Target("homelab"), "pwd", 5)
    fake('echo "lab@x: Permission denied (publickey)." >"$log"; exit 255')
    with pytest.raises(SetupError, match=r"Permission denied \(the keys"):
        openssh.ask(Target("homelab"), "pwd", 5)


def test_a_log_without_end_fills_nothing(fake, tmp_path, monkeypatch) -> None:
    """Not even the time: an ssh that has more to say than a pipe holds is ended."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    fake('yes >"$log"; exit 255')
    with pytest.raises(SetupError, match="no answer"):
        openssh.ask(Target("homelab"), "pwd", 1)
    assert not list(tmp_path.glob("labfab-ssh-*"))


def test_explain_passphrase(home: Path) -> None:
    """The error says that a key with a passphrase needs an agent."""
    path = keypair.generate(home / "key", passphrase="secret")
    error = openssh.explain(
        Target("homelab", "x", identity=str(path)), "x: Permission denied (publickey)."
    )
    assert f"ssh-add '{path}'" in error.message


@pytest.mark.parametrize("stream", ["", ">&2"])
def test_a_host_that_never_stops_answering_fills_no_disk(tmp_path, monkeypatch, stream):
    """Its answer to `pwd` is short, or ssh ends."""
    (tmp_path / "ssh").write_text(f"#!/bin/sh\nexec yes /home/lab {stream}\n")
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    began = time.monotonic()
    said = openssh.ask(openssh.Target("homelab"), "pwd", 10)
    assert len(said) < 100 and time.monotonic() - began < 10


def test_what_this_ssh_can_is_read_with_its_configuration(tmp_path, monkeypatch):
    """As its own home has it, and without our secrets; an ssh that cannot tell says nothing."""
    program = tmp_path / "bin/ssh"
    program.parent.mkdir()
    said = "user me\\nmacs a,b\\nkexalgorithms c\\nciphers d\\nhostkeyalgorithms e\\nport 22"
    program.write_text(f"#!/bin/sh\nprintf '{said}\\n'; echo \"$*\" >{tmp_path}/called\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    assert openssh.capabilities("box") == {
        "KexAlgorithms": ["c"],
        "HostKeyAlgorithms": ["e"],
        "Ciphers": ["d"],
        "MACs": ["a", "b"],
    }
    assert (tmp_path / "called").read_text().endswith("-G -- box\n")
    program.write_text("#!/bin/sh\necho unknown option -- G >&2; exit 255\n")
    assert openssh.capabilities("box") == {}
