"""Bad input: one line on stderr says what to type next, and no host is dialed."""

import shutil
import socket
from pathlib import Path

import pytest

from labfab.host.session import Host
from labfab.local_state import secrets

REPO = Path(__file__).parents[2]
SETUP = ("-H", "root@192.0.2.1", "setup.full")
ACCOUNT = "an account name is at most 32 lower-case letters"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with the fabfile of this project, and a home without keys."""
    folder = tmp_path / "project"
    folder.mkdir()
    for name in ("fabfile.py", "fabric.yaml", "invoke.yaml"):
        shutil.copy(REPO / name, folder)
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(secrets, "TAKEN", {})
    monkeypatch.setattr(Host, "sessions", {})
    for name in ("LABFAB_USER", "LABFAB_RECIPE", "SSH_AUTH_SOCK", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def refused(project, monkeypatch, capfd):
    """Run fab, which must end with one line that has these words, before it dials."""
    from fabric.main import program

    def dial(*_, **__):
        pytest.fail("a host was dialed")

    monkeypatch.setattr(socket, "create_connection", dial)

    def run(words, *says, **variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as end:
            program.run(["fab", *words])
        out, err = capfd.readouterr()
        assert end.value.code == 1 and out == ""
        assert err.count("\n") == 1 and "Traceback" not in err, err
        assert [word for word in says if word not in err] == [], err

    return run


@pytest.mark.parametrize("task", ["setup.full", "user.add", "lab.start", "ssh.change-port"])
def test_no_host(refused, task):
    refused([task], "needs a host: fab -H root@ADDRESS")


def test_no_host_for_the_tunnel(refused):
    refused(["tunnel.open"], "no host is known as homelab: name one with -H")


@pytest.mark.parametrize(
    "login", ["root@", "@", "a,,b", "192.0.2.1:0", "192.0.2.1:70000", "192.0.2.1:ssh", ":22"]
)
def test_an_invalid_login(refused, login):
    refused(
        ["-H", login, "setup.full"],
        "this is not a login: type it as root@ADDRESS or root@ADDRESS:PORT",
    )


@pytest.mark.parametrize(
    "variable, value, says",
    [
        ("SSH_PORT", "0", "a whole number >= 1"),
        ("SSH_PORT", "70000", "a whole number <= 65535"),
        ("SSH_PORT", "ssh", "a whole number"),
        ("LAB_PORT", "80", "a whole number >= 1024"),
        ("USER", "a b; rm -rf /", ACCOUNT),
        ("USER", "$(x)", ACCOUNT),
        ("USER", "a" * 40, ACCOUNT),
        ("USER", "-rf", ACCOUNT),
        ("USER", "", ACCOUNT),
        ("USER", "root", "choose an account of your own"),
        ("LAB_USER", "www-data", "choose an account of your own"),
        ("PYTHON", "conda", "choose one of miniforge, anaconda, miniconda, venv"),
        ("SUDO", "none", "choose one of password, nopasswd"),
        ("REBOOT", "maybe", "write true or false"),
        ("OPEN_PORTS", "80,http", "a whole number"),
        ("OPEN_PORTS", "80,70000", "a whole number <= 65535"),
        ("JUPYTER_OPTIONS", "{", "is not valid JSON"),
        ("JUPYTER_OPTIONS", '{"ServerApp": 3}', "expected keys with values"),
        ("CONNECT_TIMEOUT", "0", "a whole number >= 1"),
        ("HOST_KEY", "md5:1", "host_key cannot be"),
        ("ALIAS", "../x", "alias cannot be"),
        ("PYTHON_MIRROR", "file:///etc", "python_mirror cannot be"),
        ("PACKAGES", "numpy;reboot", "packages cannot be"),
        ("SSHPORT", "22", "unknown setting 'sshport', did you mean 'ssh_port'?"),
        ("RECIPE", "../secret", "there is no recipe"),
    ],
)
def test_a_bad_variable(refused, variable, value, says):
    refused(SETUP, f"LABFAB_{variable}", says, **{f"LABFAB_{variable}": value})


@pytest.mark.parametrize(
    "text, says",
    [
        ("lab: {sshport: 22}", "unknown setting 'sshport', did you mean 'ssh_port'?"),
        ("lab: {ssh_port: 70000}", "ssh_port cannot be 70000"),
        ("lab: {user: root}", "user cannot be 'root'"),
        ("lab: {public_keys: ~/.ssh/id.pub}", "expected a list"),
        ("lab: 3", "`lab:` must hold settings"),
    ],
)
@pytest.mark.parametrize("file", ["invoke.yaml", "fabric.yaml", "recipe.yaml"])
def test_a_bad_file_is_named(refused, project, file, text, says):
    kept = (REPO / file).read_text() if file == "fabric.yaml" else ""
    (project / file).write_text(f"{kept}\n{text}\n")
    refused([*(["-f", file] if file == "recipe.yaml" else []), *SETUP], file, says)


def test_a_garbled_file_is_named(refused, project):
    (project / "invoke.yaml").write_text("lab: {user: [\n")
    refused(SETUP, "invoke.yaml cannot be read")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("\0{[: - a", "recipe.yaml cannot be read"),
        ("lab: {user: [", "recipe.yaml cannot be read: while parsing"),
        ("- 1", "recipe.yaml cannot be read: it must hold settings"),
        ("lab: {1: 2}", "the key 1 is not text"),
        ("run: 3", "Can't cleanly merge"),
        ("a: &a {b: *a}", "recipe.yaml cannot be read: maximum recursion"),
    ],
)
def test_a_garbled_recipe_is_named(refused, project, text, says):
    """Fabric reads it before any task of ours runs."""
    (project / "recipe.yaml").write_text(text)
    refused(["-f", "recipe.yaml", *SETUP], says)


def test_a_garbled_fabric_yaml_is_named(refused, project):
    (project / "fabric.yaml").write_text("lab: {user: [\n")
    refused(SETUP, "fabric.yaml cannot be read")


def test_a_missing_file_is_not_ignored(refused):
    refused(["-f", "absent.yaml", *SETUP], "-f absent.yaml: there is no such file")


def test_values_that_do_not_fit_together(refused):
    refused(SETUP, "lab_port 9999 must stay private", LABFAB_SSH_PORT="9999")


def test_same_account_twice(refused):
    refused(SETUP, "lab_user must differ from user", LABFAB_LAB_USER="lab")


def test_anaconda_needs_its_terms_accepted(refused):
    refused(SETUP, "accept_anaconda_terms: true", LABFAB_PYTHON="anaconda")


def test_nobody_to_ask_for_a_password(refused):
    refused(["jupyter.hash"], "set LABFAB_JUPYTER_PASSWORD")


def test_a_password_of_two_lines(refused):
    refused(["jupyter.hash"], "a password is one line of text", LABFAB_JUPYTER_PASSWORD="one\ntwo")


def test_an_unknown_task(refused):
    refused(["-H", "root@192.0.2.1", "setup.all"], "setup.all")
