"""What a name means to ssh: asked of the real ssh for files that paramiko misreads."""

import shutil
from pathlib import Path

import pytest
from fabric import Config, Connection

from labfab.errors import SetupError
from labfab.local_state import ssh_lookup

needs_ssh = pytest.mark.skipif(not shutil.which("ssh"), reason="no ssh here")


@pytest.fixture
def write(home: Path):
    """Write an ssh_config: write(text), write(text, "config.d/one")."""

    def write(text: str, name: str = "config") -> Path:
        path = home / ".ssh" / name
        for folder in (home / ".ssh", path.parent):
            folder.mkdir(mode=0o700, exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)
        return path

    return write


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The hosts about which ssh is asked."""
    hosts: list[str] = []
    ask = ssh_lookup.ask

    def count(option, hostname, user):
        if option != ("-F", "none"):
            hosts.append(hostname)
        return ask(option, hostname, user)

    monkeypatch.setattr(ssh_lookup, "ask", count)
    return hosts


@needs_ssh
@pytest.mark.parametrize(
    "text, user, port",
    [
        ("Match final all\n ForwardX11Trusted yes\nHost box\n Port 2200\n", "ada", 2200),
        ("Match host=box\n Port 2200\nHost box\n User bob\n", "ada", 2200),
        ("Match host=other\n Port 2200\n", "ada", 22),
        ("Match user ada\n Port 2200\nMatch user root\n Port 1\n", "ada", 2200),
        ("Match exec \"test 'a b' = 'a b'\"\n Port 2200\n", "ada", 2200),
        ('Match exec "false"\n Port 1\n', "ada", 22),
        ("Match originalhost box !user root\n Port 2200\n", "ada", 2200),
        ("Host box\n Port 2200 # the usual one\n", "ada", 2200),
        ("Host box\n HostName %h.example.com\n Port = 2200\n", "ada", 2200),
        ('Host "box"\n Port "2200"\n', "ada", 2200),
        ("Host box\n ConnectTimeout 1m\n ForwardAgent $SSH_AUTH_SOCK\n", "ada", 22),
    ],
)
def test_a_name_means_what_it_means_to_ssh(write, monkeypatch, text, user, port):
    """paramiko refuses some of these lines and misreads the others; Fabric fails on the last."""
    monkeypatch.setenv("SSH_AUTH_SOCK", "/")
    write(text)
    c = Connection("ada@box", config=Config())
    assert (c.user, c.port) == (user, port)


@needs_ssh
def test_what_is_plain_is_read_without_ssh(write, asked):
    """So that a run starts as fast as before, also with blocks of ours."""
    write(
        "# mine\nHost box *.lan\n    HostName 192.0.2.1\n    IdentityFile ~/.ssh/id_box\nHost *\n"
    )
    assert Connection("box", config=Config()).host == "192.0.2.1" and not asked
    write("Include config.d/*\n")
    write("Host box\n HostName 192.0.2.2\n", "config.d/one")
    config = Config()
    found = [Connection("box", config=config.clone()).host for _ in range(3)]
    assert found == ["192.0.2.2"] * 3 and asked == ["box"]


@needs_ssh
def test_only_what_the_file_says_counts(write):
    """Defaults of ssh are not what the user wants: Fabric has its own, and its own settings."""
    write('Match host box\n CertificateFile ~/.ssh/a\n IdentityFile "~/.ssh/a b"\n')
    config = Config(overrides={"user": "carl", "port": 2022})
    other, box = (Connection(name, config=config) for name in ("other", "box"))
    assert (other.user, other.port) == (box.user, box.port) == ("carl", 2022)
    assert "identityfile" not in other.ssh_config
    home = str(Path.home())
    assert box.ssh_config["identityfile"] == [f"{home}/.ssh/a b"]
    assert box.ssh_config["certificatefile"] == [f"{home}/.ssh/a"]


@needs_ssh
def test_the_file_given_with_s_is_the_only_one(write, tmp_path):
    """As with ssh -F."""
    write("Match host box\n Port 1\n")
    given = tmp_path / "given"
    given.write_text("Match host box\n Port 2\n")
    assert Connection("box", config=Config(runtime_ssh_path=str(given))).port == 2
    with pytest.raises(SetupError, match="there is no .*gone: correct fab -S"):
        Config(runtime_ssh_path=str(tmp_path / "gone"))


@needs_ssh
@pytest.mark.parametrize("line", ["Match nonsense box", "Match host", "Port many"])
def test_what_ssh_refuses_is_one_line_that_names_file_and_line(write, line):
    """Fabric starts nevertheless: --list needs no host."""
    path = write(f"Host other\n User me\n{line}\n User you\n")
    config = Config()
    with pytest.raises(SetupError, match=rf"^ssh does not accept.*{path},? line 3") as error:
        Connection("box", config=config)
    assert "\n" not in str(error.value)


def test_without_ssh_paramiko_answers(write, monkeypatch, tmp_path):
    """And what it cannot read is one line."""
    monkeypatch.setenv("PATH", str(tmp_path))
    write("Include config.d/*\nHost box\n Port 2200\n")
    assert Connection("box", config=Config()).port == 2200
    write("Match final all\n")
    with pytest.raises(SetupError, match="ssh does not accept your configuration: .*config"):
        Connection("box", config=Config())


@pytest.mark.parametrize(
    "typed, user, host, port",
    [
        ("root@[2001:db8::10]", "root", "2001:db8::10", 22),
        ("root@[2001:db8::10]:2222", "root", "2001:db8::10", 2222),
        ("[::1]:2222", None, "::1", 2222),
        ("root@[192.0.2.1]:2222", "root", "192.0.2.1", 2222),
        ("root@2001:db8::10", "root", "2001:db8::10", 22),
        ("root@fe80::1%eth0", "root", "fe80::1%eth0", 22),
    ],
)
def test_an_address_may_stand_in_brackets(home, typed, user, host, port):
    """As in ssh's ProxyJump and in rsync: without them, a port cannot be told from the address."""
    c = Connection(typed, config=Config())
    assert (c.host, c.port) == (host, port) and (user is None or c.user == user)


@needs_ssh
def test_gateways_are_those_of_ssh(write):
    """With none there is none. An address is written as it is without ssh."""
    write("Host box\n ProxyJump none\nHost far\n ProxyJump ada@192.0.2.1:2222,bob@b\nMatch all\n")
    assert Connection("box", config=Config()).gateway is None
    far = Connection("far", config=Config())
    assert far.ssh_config["proxyjump"] == "ada@192.0.2.1:2222,bob@b"
    assert (far.gateway.host, far.gateway.gateway.host) == ("b", "192.0.2.1")
