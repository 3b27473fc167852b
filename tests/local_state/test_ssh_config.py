import os
import subprocess
from pathlib import Path

import paramiko
import pytest

from labfab.errors import SetupError
from labfab.local_state import ssh_config
from labfab.local_state.ssh_config import Alias

LAB = Alias(
    "homelab", "203.0.113.5", "lab", 2222, "/home/me/.ssh/id_ed25519", "root@203.0.113.5:22"
)
GLOBALS = (
    "User boss\nPort 4022\nServerAliveInterval 99\nIdentityFile ~/.ssh/work\nForwardAgent yes\n"
)
FILES = {
    "empty": b"",
    "globals": GLOBALS.encode(),
    "hosts": b"Host work\n  HostName work.example\n\nHost *\n  Compression yes\n",
    "no final newline": b"Host work\n    User x",
    "crlf": GLOBALS.replace("\n", "\r\n").encode() + b"\r\nHost work\r\n\tUser x\r\n",
    "comments": "# größer\n\n\n#Host homelab\nHost work # $(x)\n".encode() + b"# \xff\xfe\n",
    "match": b"Match host work.example\n  User m\nMatch all\n  Compression yes\n",
    "include": b"Include extra/*.conf\nHost b\n  User b\n",
}


@pytest.fixture
def config(home: Path) -> Path:
    (home / ".ssh").mkdir(mode=0o700)
    return home / ".ssh/config"


def effective(config: Path, host: str) -> list[str]:
    """Return the options that OpenSSH uses for a host."""
    return subprocess.run(
        ["ssh", "-G", "-F", config, host], check=True, capture_output=True, text=True, timeout=10
    ).stdout.splitlines()


@pytest.mark.parametrize("data", FILES.values(), ids=FILES)
def test_there_and_back(data: bytes, config: Path) -> None:
    """The block comes first, every other byte stays, and removing it restores the file."""
    config.write_bytes(data)
    assert ssh_config.write(config, LAB)
    assert config.read_bytes().endswith(data)
    assert config.read_bytes().startswith(b"# >>> labfab homelab >>>")
    assert ssh_config.read(config) == [LAB]
    assert not ssh_config.write(config, LAB)
    assert ssh_config.remove(config, "homelab")
    assert config.read_bytes() == data
    assert not ssh_config.remove(config, "homelab")


@pytest.mark.parametrize("data", FILES.values(), ids=FILES)
def test_openssh_reads_it(data: bytes, config: Path) -> None:
    """ssh finds the lab by its alias, and every other host is unchanged."""
    (config.parent / "extra").mkdir()
    (config.parent / "extra/a.conf").write_text("Compression yes\nHost inc\n  User i\n")
    config.write_bytes(data.replace(b"extra/", str(config.parent / "extra").encode() + b"/"))
    others = ["work", "work.example", "unlisted.example", "203.0.113.5", "inc", "b"]
    before = {host: effective(config, host) for host in others}
    ssh_config.write(config, LAB)
    assert {host: effective(config, host) for host in others} == before
    lab = effective(config, "homelab")
    for line in (
        "hostname 203.0.113.5",
        "user lab",
        "port 2222",
        "identitiesonly yes",
        "serveraliveinterval 15",
        f"identityfile {LAB.identity}",
    ):
        assert line in lab
    if data == FILES["globals"]:
        assert "forwardagent yes" in lab


@pytest.mark.parametrize("data", [value for name, value in FILES.items() if name != "comments"])
def test_paramiko_reads_it(data: bytes, config: Path) -> None:
    """paramiko, and so Fabric, finds the same values."""
    config.write_bytes(data)
    others = ["work", "unlisted.example"]
    before = [dict(paramiko.SSHConfig.from_path(config).lookup(host)) for host in others]
    ssh_config.write(config, LAB)
    read = paramiko.SSHConfig.from_path(config)
    assert [dict(read.lookup(host)) for host in others] == before
    lab = read.lookup("homelab")
    assert (lab["hostname"], lab["user"], lab["port"]) == ("203.0.113.5", "lab", "2222")
    assert lab["identityfile"][0] == LAB.identity


@pytest.mark.parametrize(
    "alias",
    [
        LAB._replace(hostname="2001:db8::1", former_logins="root@[2001:db8::1]:22"),
        LAB._replace(identity="/home/größer kleiner/$x (y) #1/= key"),
        LAB._replace(identity=""),
        LAB._replace(former_logins="", proxy_jump="me@jump.example:2200"),
        LAB._replace(name="a.b_C-1", port=22),
    ],
)
def test_unusual_values(alias: Alias, config: Path) -> None:
    """ssh, paramiko and labfab read IPv6, jump hosts and paths with blanks alike."""
    ssh_config.write(config, alias)
    assert ssh_config.read(config) == [alias]
    found = effective(config, alias.name)
    read = paramiko.SSHConfig.from_path(config).lookup(alias.name)
    assert f"hostname {alias.hostname}" in found and read["hostname"] == alias.hostname
    if alias.identity:
        assert f"identityfile {alias.identity}" in found and read["identityfile"] == [
            alias.identity
        ]
    if alias.proxy_jump:
        assert f"proxyjump {alias.proxy_jump}" in found and read["proxyjump"] == alias.proxy_jump


@pytest.mark.parametrize(
    "alias",
    [
        LAB._replace(name="../x"),
        LAB._replace(name="a b"),
        LAB._replace(hostname="x\nProxyCommand evil"),
        LAB._replace(hostname="-oProxyCommand=x"),
        LAB._replace(hostname="fe80::1%eth0"),
        LAB._replace(hostname=""),
        LAB._replace(user="$(x)"),
        LAB._replace(port=0),
        LAB._replace(port=70000),
        LAB._replace(identity="/a\nProxyCommand evil"),
        LAB._replace(identity='/a"b'),
        LAB._replace(identity="/a%h"),
        LAB._replace(identity="/a~b"),
        LAB._replace(identity="/${HOME}"),
        LAB._replace(proxy_jump="a b"),
    ],
)
def test_refused_values(alias: Alias, config: Path) -> None:
    """Values that would break the file, or be read in two ways, are refused; no file appears."""
    with pytest.raises(SetupError):
        ssh_config.write(config, alias)
    assert not config.exists()


def test_was_cannot_break_out(config: Path) -> None:
    """An earlier login that is not one is dropped."""
    ssh_config.write(config, LAB._replace(former_logins="root@x:22\nProxyCommand evil"))
    assert b"evil" not in config.read_bytes()


def test_several_labs(config: Path) -> None:
    """Changing or removing one of several labs leaves the others in place."""
    config.write_bytes(FILES["globals"])
    labs = [
        LAB._replace(name=name, port=port)
        for name, port in (("one", 2201), ("two", 2202), ("three", 2203))
    ]
    for lab in labs:
        ssh_config.write(config, lab)
    before = config.read_bytes()
    assert [ssh_config.write(config, lab) for lab in labs] == [False] * 3
    assert config.read_bytes() == before
    assert ssh_config.write(config, labs[1]._replace(port=9))
    assert {lab.name: lab.port for lab in ssh_config.read(config)} == {
        "one": 2201,
        "two": 9,
        "three": 2203,
    }
    assert "port 9" in effective(config, "two") and "port 2203" in effective(config, "three")
    for lab in labs:
        assert ssh_config.remove(config, lab.name)
    assert config.read_bytes() == FILES["globals"]


def test_moves_back_to_the_top(config: Path) -> None:
    """If something was put in front of the block, a rewrite moves the block to the top again."""
    ssh_config.write(config, LAB)
    config.write_bytes(b"User boss\n" + config.read_bytes())
    assert ssh_config.write(config, LAB)
    assert config.read_bytes().endswith(b"<<<\nUser boss\n")
    assert "user lab" in effective(config, "homelab")


def test_earlier_logins_stay(config: Path) -> None:
    """Every login that led to the host is remembered while its address stays the same."""
    ssh_config.write(config, LAB)
    assert not ssh_config.write(config, LAB._replace(former_logins="lab@203.0.113.5:2222"))
    ssh_config.write(config, LAB._replace(former_logins="lab@203.0.113.5:2222", port=2200))
    assert ssh_config.read(config)[0].former_logins == "root@203.0.113.5:22 lab@203.0.113.5:2222"
    for user, port in (("root", 22), ("lab", 2222), ("lab", 2200)):
        assert ssh_config.find(config, user, "203.0.113.5", port).name == LAB.name
    ssh_config.write(
        config, LAB._replace(hostname="203.0.113.9", former_logins="root@203.0.113.9:22")
    )
    assert ssh_config.read(config)[0].former_logins == "root@203.0.113.9:22"


@pytest.mark.parametrize(
    ("user", "hostname", "port", "found"),
    [
        ("root", "203.0.113.5", 22, "homelab"),
        ("root", "203.0.113.5", None, "homelab"),
        ("lab", "203.0.113.5", 2222, "homelab"),
        ("anybody", "homelab", 22, "homelab"),
        ("root", "2001:DB8:0::1", 22, "six"),
        ("root", "[2001:db8::1]", 22, "six"),
        ("root", "Lab.Example", 22, "named"),
        ("lab", "203.0.113.5", 22, None),
        ("root", "203.0.113.5", 2222, None),
        ("root", "203.0.113.50", 22, None),
    ],
)
def test_find(user: str, hostname: str, port: int | None, found: str | None, config: Path) -> None:
    """A lab is found only by its alias, its first login and its present one."""
    assert ssh_config.find(config, user, hostname, port) is None
    ssh_config.write(config, LAB)
    ssh_config.write(
        config,
        LAB._replace(name="six", hostname="2001:db8::1", former_logins="root@2001:db8::1:22"),
    )
    ssh_config.write(
        config,
        LAB._replace(name="named", hostname="lab.example", former_logins="root@lab.example:22"),
    )
    alias = ssh_config.find(config, user, hostname, port)
    assert (alias and alias.name) == found


@pytest.mark.parametrize(
    "entry",
    [
        "Host homelab",
        "host=homelab",
        '  Host "homelab"',
        "Host\twork homelab",
        "Host = HomeLab",
        "Host homelab\r",
    ],
)
def test_foreign_entry(entry: str, config: Path) -> None:
    """A Host of the user's own with that name is never shadowed."""
    config.write_text(f"Compression yes\n{entry}\n  User x\n")
    before = config.read_bytes()
    with pytest.raises(SetupError, match="choose another name"):
        ssh_config.write(config, LAB)
    assert config.read_bytes() == before
    assert ssh_config.write(config, LAB._replace(name="home"))


@pytest.mark.parametrize(
    "entry",
    [
        "Host homelab",
        "Host work HOMELAB",
        "Match host homelab",
        "Match originalhost=work,homelab exec true",
        "Include deeper/*",
    ],
)
@pytest.mark.parametrize("include", ["Include config.d/*", 'include = "~/.ssh/config.d/home"'])
def test_foreign_entry_in_an_included_file(entry: str, include: str, config: Path) -> None:
    """It is never shadowed either, and the line names the file that has it."""
    config.write_text(f"{include}\n")
    for name, text in (("config.d/home", entry), ("deeper/x", "Host homelab")):
        place = config.parent / name
        place.parent.mkdir()
        place.write_text(f"Include {config}\n{text}\n  User x\n")
    before = config.read_bytes()
    holder = "deeper/x" if "deeper" in entry else "config.d/home"
    with pytest.raises(SetupError, match=f"{holder} has a Host homelab of your own.*alias"):
        ssh_config.write(config, LAB)
    assert config.read_bytes() == before
    assert ssh_config.write(config, LAB._replace(name="home"))


WAY = LAB._replace(
    proxy_command="""nc -X 5 -x "proxy host:1080" %h %p  2>/dev/null "x\"""",
    options=(
        ("CertificateFile", "~/.ssh/a b-cert.pub"),
        ("CertificateFile", "/certificates/two"),
        ("IdentityAgent", "/home/me/Group Containers/agent.sock"),
        ("HostKeyAlias", "box"),
    ),
)


@pytest.mark.parametrize("alias", [WAY, WAY._replace(lab_user="bob")])
def test_the_way_to_a_host_is_part_of_its_block(alias: Alias, config: Path) -> None:
    """Its ProxyCommand as the user wrote it, and whatever else ssh needs to get there."""
    config.write_text("Host *\n  ProxyCommand none\n")
    assert ssh_config.write(config, alias) and ssh_config.read(config) == [alias]
    assert not ssh_config.write(config, alias)
    for name in {alias.name, alias.admin_name}:
        found = effective(config, name)
        assert f"proxycommand {alias.proxy_command}" in found
        assert "hostkeyalias box" in found and "certificatefile /certificates/two" in found
        assert "identityagent /home/me/Group Containers/agent.sock" in found
    for way, same in ((alias.proxy_command, True), ("", False), ("nc %h %p", False), (None, True)):
        assert bool(ssh_config.find(config, "root", "203.0.113.5", 22, way)) is same


@pytest.mark.parametrize("text", ["nc %h\n  User root", "nc\0", "nc\r"])
def test_a_way_cannot_break_out(text: str, config: Path) -> None:
    """One line stays one line."""
    for alias in (
        LAB._replace(proxy_command=text),
        LAB._replace(options=(("HostKeyAlias", text),)),
    ):
        with pytest.raises(SetupError, match="cannot be the"):
            ssh_config.write(config, alias)


def test_own_options_below(config: Path) -> None:
    """Options that the user adds for the alias later still apply."""
    ssh_config.write(config, LAB)
    config.write_bytes(config.read_bytes() + b"Host homelab\n  Compression yes\n")
    assert ssh_config.write(config, LAB._replace(port=2200))
    assert {"compression yes", "port 2200"} <= set(effective(config, "homelab"))


def test_new_file(home: Path) -> None:
    """A new file and its folder are yours alone."""
    config = home / ".ssh/config"
    ssh_config.write(config, LAB)
    assert config.stat().st_mode & 0o777 == 0o600
    assert config.parent.stat().st_mode & 0o777 == 0o700


def test_link_and_mode(config: Path, home: Path) -> None:
    """A linked config is written at its target, and keeps its mode."""
    (home / "dotfiles").mkdir()
    target = home / "dotfiles/ssh config"
    target.write_bytes(FILES["hosts"])
    target.chmod(0o640)
    config.symlink_to("../dotfiles/ssh config")
    ssh_config.write(config, LAB)
    assert config.is_symlink()
    assert target.stat().st_mode & 0o777 == 0o640
    assert target.read_bytes().endswith(FILES["hosts"])
    assert os.listdir(home / "dotfiles") == ["ssh config"]


def test_read_only(config: Path) -> None:
    """A read-only file is left alone, even by root."""
    config.write_bytes(FILES["hosts"])
    config.chmod(0o400)
    with pytest.raises(SetupError, match=r"read-only.*chmod u\+w"):
        ssh_config.write(config, LAB)
    assert config.read_bytes() == FILES["hosts"]


def test_not_a_file(config: Path) -> None:
    """A folder in place of the file is reported."""
    config.mkdir()
    with pytest.raises(SetupError, match="cannot read"):
        ssh_config.write(config, LAB)


@pytest.mark.parametrize("lost", ["# >>> labfab homelab >>>", "# <<< labfab homelab <<<"])
def test_damaged_markers(lost: str, config: Path) -> None:
    """Half a block is reported, not guessed at."""
    ssh_config.write(config, LAB)
    config.write_text(config.read_text().replace(lost + "\n", ""))
    before = config.read_bytes()
    for act in (ssh_config.write, lambda path, alias: ssh_config.remove(path, alias.name)):
        with pytest.raises(SetupError, match="delete that block"):
            act(config, LAB)
    assert config.read_bytes() == before


@pytest.mark.parametrize("sign", [*";|&()<>{}`*?!$%~#\"'\\ \t\n\x1b"])
@pytest.mark.parametrize("field", ["hostname", "user", "proxy_jump"])
def test_a_name_that_a_shell_would_read_is_no_name(config: Path, field: str, sign: str) -> None:
    """rsync and ProxyCommand hand names on to shells."""
    for value in (f"a{sign}b", f"{sign}b", f"a{sign}"):
        with pytest.raises(SetupError, match="cannot be the"):
            ssh_config.write(config, LAB._replace(**{field: value}))
    assert not config.exists()


@pytest.mark.parametrize(
    "values",
    [
        {"hostname": "2001:db8::1"},
        {"hostname": "bücher.example"},
        {"user": "ada@corp.example"},
        {"user": "first.last+lab"},
        {"proxy_jump": "me@[2001:db8::1]:22,you@gate.example:2222"},
    ],
)
def test_usual_names_are_names(config: Path, values: dict[str, str]) -> None:
    assert ssh_config.write(config, LAB._replace(**values))
    assert ssh_config.read(config) == [LAB._replace(**values)]


# Two accounts --------------------------------------------------------------------------------------

TWO = Alias(
    "box", "203.0.113.5", "lab", 292, former_logins="root@203.0.113.5:22", lab_user="jupyter"
)


def test_the_alias_leads_to_the_notebooks_and_another_to_sudo(tmp_path):
    """OpenSSH reads both names, each with its account, and nothing else of the file changes."""
    path = tmp_path / "config"
    path.write_text("Host other\n    User me\n")
    path.chmod(0o600)
    assert ssh_config.write(path, TWO) and not ssh_config.write(path, TWO)
    for name, user in (("box", "jupyter"), ("box-admin", "lab"), ("other", "me")):
        said = subprocess.run(
            ["ssh", "-G", "-F", path, name], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        assert f"user {user}" in said
        assert ("port 292" in said) is (name != "other")
    assert ssh_config.read(path) == [TWO]
    assert ssh_config.remove(path, "box") and path.read_text() == "Host other\n    User me\n"


@pytest.mark.parametrize(
    "user, host, port",
    [
        ("jupyter", "203.0.113.5", 292),
        ("lab", "203.0.113.5", 292),
        ("root", "203.0.113.5", 22),
        ("me", "box", 22),
        ("me", "box-admin", 22),
    ],
)
def test_a_host_with_two_accounts_is_found_by_each_of_its_logins(tmp_path, user, host, port):
    path = tmp_path / "config"
    ssh_config.write(path, TWO)
    assert ssh_config.find(path, user, host, port) == TWO


def test_an_alias_becomes_two_and_one_again(tmp_path):
    """A host with one account may get a second one, and lose it."""
    path = tmp_path / "config"
    one = TWO._replace(lab_user="")
    for alias in (one, TWO, one):
        assert ssh_config.write(path, alias)
        assert ssh_config.read(path) == [alias]


def test_a_name_of_the_users_own_is_not_taken(tmp_path):
    """A Host box-admin of the user's own would be hidden."""
    path = tmp_path / "config"
    path.write_text("Host box-admin\n    User me\n")
    with pytest.raises(SetupError, match="has a Host box-admin of your own"):
        ssh_config.write(path, TWO)
    ssh_config.write(path, TWO._replace(lab_user=""))


def test_the_account_of_the_notebooks_gets_neither_agent_nor_display(tmp_path):
    """Whatever the user's own configuration says of all hosts; the account with sudo is as it says."""
    path = tmp_path / "config"
    path.write_text("Host *\n    ForwardAgent yes\n    ForwardX11 yes\n")
    path.chmod(0o600)
    # A block of an earlier version gets the lines when it is written again, once.
    old = ssh_config.render(TWO, "\n").replace("    ForwardAgent no\n    ForwardX11 no\n", "")
    path.write_text(old + path.read_text())
    assert ssh_config.read(path) == [TWO]
    assert ssh_config.write(path, TWO) and not ssh_config.write(path, TWO)
    for name, said in (("box", "no"), ("box-admin", "yes")):
        argv = ["ssh", "-G", "-F", path, name]
        options = subprocess.run(
            argv, capture_output=True, text=True, check=True
        ).stdout.splitlines()
        assert {f"forwardagent {said}", f"forwardx11 {said}"} <= {*options}
