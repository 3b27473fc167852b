"""Facts: the script is read-only POSIX shell, and its answer is parsed for any host."""

import base64
import contextlib
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys

import pytest

from labfab.errors import SetupError
from labfab.facts import facts, reader, records
from labfab.host.remote_file import File
from labfab.host.session import Change, Host
from labfab.on_host import loader
from tests import fake as models

alone, fake = models.alone, models.fake
ME = pwd.getpwuid(os.getuid())


def blob(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.fixture
def read(tmp_path):
    """Run the script for real on this machine, with its writes kept in a temporary folder."""

    def run(
        *sections: str, path: str = "", instead: tuple[str, str] = ("", ""), **values: str
    ) -> dict:
        given = {
            "USERS": f"{ME.pw_name} no-such-account",
            "LAB_USER": ME.pw_name,
            "PREFIX": "jupyter-venv",
            "LAB_PORT": "9",
            "ROOT_DIR": "x",
        }
        head = "".join(f"{key}='{value}'\n" for key, value in (given | values).items())
        # The account's home comes from getent, so that is replaced.
        head = (
            loader.words("Linux")
            + head
            + f"home_of() {{ id \"$1\" >/dev/null 2>&1 && echo '{tmp_path}'; }}\n"
        )
        head += 'entry() { entry_home=$(home_of "$1"); '
        head += 'entry_uid=$(id -u "$1" 2>/dev/null); entry_shell=/bin/sh; }\n'
        head += 'name_of() { id -nu "$1"; }\n'
        script = loader.script("facts", "Linux").replace("/var/cache/labfab", f"{tmp_path}/cache")
        script = script.replace("mkdir -p -m 755 /run/sshd", "true").replace(*instead)
        done = subprocess.run(
            ["sh", "-c", f"{head}set -- {' '.join(sections)}\n{script}"],
            capture_output=True,
            text=True,
            env={"PATH": path + os.environ["PATH"], "HOME": str(tmp_path)},
        )
        assert done.returncode == 0, done.stderr
        assert "not found" not in done.stderr  # a function that is gone: shellcheck sees none
        return reader.parse(done.stdout, sections)

    return run


def stand_in(folder, name: str, text: str) -> str:
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / "bin" / name).chmod(0o755)
    return f"{folder}/bin:"


# The script -----------------------------------------------------------------------------------


def test_it_runs_on_this_machine_and_each_section_is_parsed(read, tmp_path):
    """As root or not, whatever is installed: every requested section has sane values."""
    path = stand_in(tmp_path, "apt-get", "echo 'Inst a'; echo 'Remv b'; echo 'Conf a'")
    found = read(*reader.SECTIONS, path=path)
    assert {*found} == {*reader.SECTIONS}
    assert (
        found["system"]["kernel"] == os.uname().sysname
        and found["system"]["machine"] == os.uname().machine
    )
    assert found["accounts"][f"{ME.pw_name}.uid"] == str(ME.pw_uid)
    unknown = [key for key in found["accounts"] if key.startswith("no-such")]
    assert unknown == ["no-such-account.left.home"]
    assert found["upgrades"]["pending"] == "2" if shutil.which("dpkg") else True


def test_only_requested_sections_are_read(read):
    """A later question reads only its own section."""
    assert {*read("firewall", "python")} == {"firewall", "python"}


@pytest.mark.skipif(not os.path.exists("/var/lib/dpkg/status"), reason="needs a Debian")
def test_the_result_of_a_simulation_is_kept(read, tmp_path):
    """The second reading runs no simulation and gives the same result."""
    path = stand_in(tmp_path, "apt-get", f"echo called >>{tmp_path}/calls; echo 'Inst a'")
    assert [read("upgrades", path=path)["upgrades"]["pending"] for _ in range(2)] == ["1", "1"]
    assert (tmp_path / "calls").read_text() == "called\n"


@pytest.mark.skipif(not os.path.exists("/var/lib/dpkg/status"), reason="needs a Debian")
def test_a_failed_simulation_has_no_result(read, tmp_path):
    """If apt fails, the number is missing rather than zero."""
    assert (
        "pending"
        not in read("upgrades", path=stand_in(tmp_path, "apt-get", "exit 100"))["upgrades"]
    )


def test_an_environment_with_python_is_recognized(read, tmp_path):
    """Programs and versions are found by their files; no program is started."""
    binaries, packages = (
        tmp_path / "jupyter-venv/bin",
        tmp_path / "jupyter-venv/lib/python3.12/site-packages",
    )
    binaries.mkdir(parents=True)
    for name in ("python", "jupyter-lab"):
        (binaries / name).touch(mode=0o755)
    for name in ("jupyter_server-2.21.0", "PyYAML-6.0.2", "ruamel.yaml-0.18.6", "uv-0.9.1"):
        (packages / f"{name}.dist-info").mkdir(parents=True)
    (tmp_path / ".profile").write_text('PATH="$HOME/jupyter-venv/bin:$PATH"\n')
    found = read("python")["python"]
    assert found["prefix"] == f"{tmp_path}/jupyter-venv" and {"python", "lab", "shell.venv"} <= set(
        found
    )
    assert "conda" not in found and "unfinished" not in found
    versions = {
        "jupyter_server": "2.21.0",
        "PyYAML": "6.0.2",
        "ruamel.yaml": "0.18.6",
        "uv": "0.9.1",
    }
    assert reader.with_prefix(found, "version") == versions


@pytest.mark.parametrize("sign", ["\n", "\r", "\x0b", "\x1c", "\x85", "\u2028", "\x1b", "\x9b"])
def test_a_name_that_an_account_chose_forges_no_fact(read, tmp_path, sign):
    """A line break of any kind opens no section, sets no other key and reaches no terminal."""
    packages = tmp_path / "jupyter-venv/lib/python3.12/site-packages"
    (
        packages / f"x-1{sign}[firewall]{sign}active=yes{sign}[ssh]{sign}port.22=forged.dist-info"
    ).mkdir(parents=True)
    (packages / f"y{sign}lab=yes{sign}-1.dist-info").mkdir()
    found = read("firewall", "python")
    assert (
        set(found) == {"firewall", "python"}
        and found["firewall"].get("active") != "yes"
        and "lab" not in found["python"]
    )
    assert not any(char in f"{found}" for char in "\n\x1b\x85\x9b") and sign not in "".join(
        found["python"].values()
    )


@pytest.mark.parametrize(
    "lines", ["[ssh]\nport.22=yes\n[lab]\n[ssh]\nport.22=no", "[ssh]\n[root]\nx=y"]
)
def test_an_unexpected_section_is_refused(lines):
    """A section that comes twice, or was not requested, did not come from the script."""
    with pytest.raises(SetupError, match=r"has an unexpected section \[(ssh|root)\]"):
        reader.parse(lines, ("ssh", "lab"))


def test_what_checks_read_forges_nothing_either(tmp_path):
    """All scripts print paths and programs with this function."""
    say = re.search(r"^fact\(\) \{.*?^\}$", loader.shared("words"), re.MULTILINE | re.DOTALL)[0]
    done = subprocess.run(
        ["sh", "-c", f'{say}; fact a "$1"', "sh", "b\n[c]\x1b"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "a=b?[c]?\n"


@pytest.mark.parametrize(
    "text", ["{}", "", '{"a": "Käse €"}\n', "no newline", "a=b\n[ssh]\nx=y\n", "\0\n"]
)
def test_any_content_of_a_file_survives(read, tmp_path, text):
    """Even a file that looks like the script's own answer."""
    (tmp_path / ".jupyter").mkdir(mode=0o700)
    path = tmp_path / ".jupyter/jupyter_server_config.json"
    path.write_text(text)
    path.chmod(0o640)
    found = read("jupyter", "lab")
    assert set(found) == {"jupyter", "lab"}
    file = records.file_from(found["jupyter"], "config")
    assert (file.content, file.mode, file.owner) == (text, "640", ME.pw_name)


@pytest.mark.parametrize("name", ["note books", "it's", "$HOME"])
def test_a_folder_of_notebooks_with_any_name_is_found(read, tmp_path, name):
    """Blanks, quotes and dollar signs in root_dir do no harm."""
    (tmp_path / name).mkdir()
    assert read("jupyter", ROOT_DIR=name.replace("'", "'\\''"))["jupyter"]["root_dir"] == ME.pw_name


@pytest.mark.parametrize(
    "policy, incoming", [("DROP", "deny"), ("REJECT", "reject"), ("ACCEPT", "allow")]
)
@pytest.mark.parametrize("loaded", [True, False])
def test_the_state_of_ufw_is_read_from_its_chains_and_settings(
    read, tmp_path, loaded, policy, incoming
):
    """They list what `ufw status` prints, which takes as long as all other sections together."""
    stand_in(tmp_path, "ufw", "exit 1")
    path = stand_in(
        tmp_path, "iptables", f'[ "$*" = "-S ufw-user-input" ] && {str(loaded).lower()}'
    )
    (tmp_path / "default").write_text(
        f'# a comment\nIPV6=yes\nDEFAULT_INPUT_POLICY="{policy}"\nDEFAULT_OUTPUT_POLICY="ACCEPT"\n'
    )
    found = read("firewall", path=path, instead=("/etc/default/ufw", f"{tmp_path}/default"))[
        "firewall"
    ]
    assert (found.get("active"), found["incoming"]) == ("yes" if loaded else None, incoming)


LISTEN = """\
import ctypes, os, socket, sys, time
address, port, uid, name = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
if os.getuid() == 0:
    os.setgroups([]); os.setgid(uid); os.setuid(uid)
ctypes.CDLL(None).prctl(4, 1)  # dumpable again, as after an exec
ctypes.CDLL(None).prctl(15, name.encode())
listening = socket.create_server((address, port))
print(listening.getsockname()[1], flush=True)
time.sleep(60)
"""


@pytest.fixture
def listen():
    """Start programs that listen: listen("127.0.0.1", port, uid, name) returns port and pid."""
    started = []

    def start(address: str, port: int, uid: int, name: str) -> tuple[str, str]:
        argv = [sys.executable, "-c", LISTEN, address, str(port), str(uid), name]
        started.append(subprocess.Popen(argv, stdout=subprocess.PIPE, text=True))
        return started[-1].stdout.readline().strip(), str(started[-1].pid)

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_what_listens_for_others_is_told_apart_from_loopback(read, monkeypatch):
    """Both protocols; a client's socket of UDP is nobody's service."""
    with contextlib.ExitStack() as stack:
        ports = {}
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            for address in ("0.0.0.0", "127.0.0.1"):
                one = stack.enter_context(socket.socket(socket.AF_INET, kind))
                one.bind((address, 0))
                if kind == socket.SOCK_STREAM:
                    one.listen()
                ports[kind, address] = str(one.getsockname()[1])
        client = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        client.connect(("127.0.0.1", 9))
        own = client.getsockname()[1]
        found = read("firewall")["firewall"]
    for kind, word in ((socket.SOCK_STREAM, "open"), (socket.SOCK_DGRAM, "open_udp")):
        assert f"{word}.{ports[kind, '0.0.0.0']}" in found
        assert f"{word}.{ports[kind, '127.0.0.1']}" not in found
    assert f"open_udp.{own}" not in found


@pytest.mark.skipif(os.getuid() != 0, reason="listens as other accounts")
@pytest.mark.parametrize(
    "name", ["sshd", " uid:2 ", '",pid=1,fd=3))', "x\nLISTEN 0 1 127.0.0.1:9 x"]
)
def test_the_name_of_a_program_does_not_say_whose_a_port_is(read, listen, name):
    """An account names its program as it likes; another one listens on an address beside it."""
    port, mine = listen("127.0.0.1", 0, 2, name)
    listen("127.0.0.9", int(port), 65534, name)
    found = read("lab", "ssh", LAB_PORT=port)
    assert (found["lab"]["owner"], found["lab"]["pid"]) == (pwd.getpwuid(2).pw_name, mine)
    assert found["ssh"][f"listening.{port}"].endswith((" (uid 2)", " (uid 65534)"))


@pytest.mark.skipif(os.getuid() != 0, reason="listens as other accounts")
def test_a_port_beside_127_0_0_1_is_nobodys(read, listen):
    """What is sent to 127.0.0.1 never gets there."""
    port, _ = listen("127.0.0.9", 0, 65534, "jupyter-lab")
    assert "owner" not in read("lab", LAB_PORT=port)["lab"]


@pytest.mark.parametrize(("address", "port"), [("0.0.0.0", 0), ("::", 0), ("::ffff:0.0.0.0", 0)])
def test_a_program_that_listens_everywhere_is_found(read, listen, address, port):
    """As a published JupyterLab does."""
    listening = socket.create_server(
        (address, port),
        family=socket.AF_INET6 if ":" in address else socket.AF_INET,
        dualstack_ipv6=":" in address,
    )
    with listening:
        found = read("lab", LAB_PORT=str(listening.getsockname()[1]))["lab"]
    assert (found["owner"], found["pid"]) == (ME.pw_name, str(os.getpid()))


@pytest.mark.skipif(not os.path.exists("/usr/sbin/sshd"), reason="needs an sshd")
def test_every_listening_port_has_its_program(read, listen):
    """Root's programs have their plain name."""
    port, _ = listen("127.0.0.1", 0, 0, "some-daemon")
    assert read("ssh")["ssh"][f"listening.{port}"] == "some-daemon"


# The answer -----------------------------------------------------------------------------------


SSHD_T = """port 22
kexalgorithms a,b
macs c
hostkeyalgorithms ssh-ed25519,ecdsa-sha2-nistp256,rsa-sha2-512,ssh-ed25519-cert-v01@openssh.com
logingracetime 120
persourcemaxstartups none
permitrootlogin yes
hostkey {0}/ed25519
hostkey {0}/gone"""


def test_what_sshd_offers_to_everybody_is_read_once(read, tmp_path):
    """Only host keys that are there count, and no option of the server is taken for an account's."""
    (tmp_path / "ed25519.pub").write_text("ssh-ed25519 AAAAC3Nz root@box\n")
    (tmp_path / "sshd-says").write_text(SSHD_T.format(tmp_path))
    stand_in(tmp_path, "sshd", f"cat {tmp_path}/sshd-says")
    found = read(
        "ssh", instead=("/usr/sbin/sshd", f"{tmp_path}/bin/sshd"), USERS=f"root {ME.pw_name}"
    )["ssh"]
    assert found["sshd.kexalgorithms"] == "a,b" and found["sshd.persourcemaxstartups"] == "none"
    assert found["host_key.ssh-ed25519"] == "AAAAC3Nz"
    assert [key for key in found if key.startswith("host_key.")] == ["host_key.ssh-ed25519"]
    assert found[f"{ME.pw_name}.permitrootlogin"] == "yes"
    assert not [key for key in found if key.startswith(f"{ME.pw_name}.") and "alg" in key]


JAILS = {
    "jail.conf": "[DEFAULT]\nenabled = false\nport = 0:65535\n\n[sshd]\nport    = ssh\n",
    "jail.d/defaults-debian.conf": "[sshd]\nenabled = true\n",
}


@pytest.mark.parametrize(
    ("more", "jail"),
    [
        ({}, "ssh"),
        ({"jail.local": "[sshd]\nport = 2200,2201 \n"}, "2200,2201"),
        ({"jail.d/zz-labfab.local": "# ours\n[sshd]\nport = 2222\n"}, "2222"),
        ({"jail.d/z.local": "[nginx]\nport = 80\n"}, "ssh"),
        ({"jail.local": "[ sshd ]\nenabled: no\n"}, None),
        ({"jail.d/defaults-debian.conf": ""}, None),
        ({"jail.conf": "[DEFAULT]\nenabled = yes\nport = all\n"}, "all"),
    ],
)
def test_fail2bans_jail_is_read_from_its_files(read, tmp_path, more, jail):
    """The last file wins, a section is not another's, and a jail that is off is none."""
    (tmp_path / "f/jail.d").mkdir(parents=True)
    for name, text in (JAILS | more).items():
        (tmp_path / "f" / name).write_text(text)
    path = stand_in(tmp_path, "fail2ban-client", "")
    found = read("ssh", path=path, instead=("/etc/fail2ban", f"{tmp_path}/f"))["ssh"]
    assert found.get("jail") == jail


def test_an_answer_is_split_at_the_first_sign():
    """Values keep equal signs, brackets and blanks; lines outside of sections are ignored."""
    out = "motd of the host\n[system]\nname=Debian [x] = y\nempty=\n[lab]\n[ssh]\nport.22=yes\n"
    assert reader.parse(out, reader.SECTIONS) == {
        "system": {"name": "Debian [x] = y", "empty": ""},
        "lab": {},
        "ssh": {"port.22": "yes"},
    }


@pytest.mark.parametrize("line", ["stray=1", "a = b"])
def test_a_stray_line_in_front_is_no_traceback(line):
    """Output of a shell start-up file before the first section does no harm."""
    assert reader.parse(f"{line}\n[system]\nkernel=Linux\n", ("system",))["system"] == {
        "kernel": "Linux"
    }


def test_every_section_of_an_empty_host_can_be_read(fake):
    """A bare system without ssh, ufw, Python or accounts has empty facts."""
    model = fake()
    model.sections |= {name: {} for name in reader.SECTIONS if name != "system"}
    found = facts(model.c)
    assert found.accounts == {} and found.sudoers is None
    assert (found.ssh.ports, found.ssh.listening, found.ssh.drop_in, found.ssh.other_ports) == (
        frozenset(),
        {},
        None,
        (),
    )
    assert found.firewall == records.Firewall(False, "", frozenset())
    assert found.python.versions == {} and not found.python.lab
    assert found.jupyter.config is None and found.lab.api == ""
    assert found.pending is None


def test_a_host_without_os_release_is_no_traceback(fake):
    """An unknown system is reported in one line by the code that needs to know it."""
    from labfab.platforms import platform

    model = fake()
    for key in ("id", "version", "name", "like"):
        del model.sections["system"][key]
    with pytest.raises(SetupError, match="runs an unknown system: labfab sets up Debian"):
        platform(model.c)


def test_one_question_reads_everything_and_after_a_change_all_but_the_slow(fake):
    """One round trip for a run without changes, and one more after a change."""
    model = fake()
    for _ in range(2):
        assert facts(model.c).firewall.active is False and facts(model.c).python.lab is False
    assert len(model.told) == 1
    Host.of(model.c).changes.append(Change("ssh", "one"))
    Host.of(model.c).forget()
    assert facts(model.c).lab.api == "" and facts(model.c).firewall.active is False
    assert (
        len(model.told) == 2
        and "upgrades" not in re.search("^set -- .*", model.told[-1], re.MULTILINE)[0]
    )
    assert facts(model.c).pending == 0
    assert len(model.told) == 3


def test_after_a_change_its_stage_reads_what_it_asks_about(fake):
    """Reading everything takes a host a while; a stage reads a part of it repeatedly."""
    model = fake()
    host = Host.of(model.c)
    host.stage = "ssh"
    assert facts(model.c).ssh.ports == {22} and "root" in facts(model.c).accounts
    host.changes.append(Change("ssh", "one"))
    host.forget()
    assert facts(model.c).ssh.ports == {22}
    assert re.search("^set -- (.*)$", model.told[-1], re.MULTILINE)[1].split() == [
        "accounts",
        "ssh",
    ]
    # No stage has asked about this section, so now all others are read together.
    assert facts(model.c).lab.api == ""
    assert {"python", "jupyter", "firewall"} < set(
        re.search("^set -- (.*)$", model.told[-1], re.MULTILINE)[1].split()
    )


def test_a_failed_script_is_reported(fake, monkeypatch):
    """The error has the host's own words."""
    from labfab.host.shell import Result

    model = fake()
    monkeypatch.setattr(model, "run", lambda *args, **more: Result(2, "", "sh: 3: Syntax error"))
    with pytest.raises(SetupError, match="cannot be read: sh: 3: Syntax error"):
        facts(model.c).system  # noqa: B018


def test_settings_are_quoted(fake):
    """A folder with a quote in its name reaches the script as one word."""
    model = fake(root_dir="it's $(id)")
    assert facts(model.c).jupyter.root_dir == ""
    assert """ROOT_DIR='it'"'"'s $(id)'\n""" in model.told[0]


def test_the_content_of_a_file_does_not_show():
    """A hash or a token in a configuration is in no traceback."""
    file = File("600", "lab", "argon2:secret")
    assert "secret" not in repr(file) and "secret" not in f"{[file]}"


def test_a_file_that_is_not_utf8_survives():
    """Other bytes are kept, so that they can be written back."""
    raw = base64.b64encode(b"key \xff comment\n").decode()
    assert records.decoded(raw).encode(errors="surrogateescape") == b"key \xff comment\n"
    written = reader.planned_file("ssh.drop_in", records.decoded(raw), "644", "root")
    assert written == {"ssh.drop_in.stat": "644 root", "ssh.drop_in.text": raw}


def test_a_dot_in_a_name_is_part_of_it(fake):
    """john and john.doe are two accounts, each with its own values."""
    model = fake()
    model.add_account("john", uid=1001)
    model.add_account("john.doe", uid=1002, groups="john.doe sudo")
    model.set_file("accounts", "john.doe.keys", "a key", "600 john.doe")
    model.sections["ssh"]["john.doe.permitrootlogin"] = "no"
    Host.of(model.c).facts |= model.sections
    accounts, effective = facts(model.c).accounts, facts(model.c).ssh.effective
    assert (accounts["john"].uid, accounts["john"].keys, accounts["john.doe"].uid) == (
        1001,
        None,
        1002,
    )
    assert accounts["john.doe"].keys.content == "a key" and "sudo" in accounts["john.doe"].groups
    assert set(effective) == {"root", "john", "john.doe"}
    assert (
        effective["john.doe"]["permitrootlogin"] == "no"
        and effective["john"]["permitrootlogin"] == "yes"
    )


@pytest.mark.parametrize("publish, told", [("apache", {"elsewhere": "yes"}), ("tunnel", {})])
def test_a_key_left_by_another_publish_is_reported(read, tmp_path, publish, told):
    """Only its presence is reported; the present `publish` has no key yet."""
    (tmp_path / ".jupyter/tls").mkdir(parents=True)
    (tmp_path / ".jupyter/tls/key.pem").write_text("secret")
    assert read("https", PUBLISH=publish)["https"] == told
