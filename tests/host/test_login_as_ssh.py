"""Logging in as ssh would: keys, certificates, agents and proxy commands of an ssh_config, against a real sshd."""

import getpass
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fabric import Config, Connection

from labfab.errors import SetupError
from labfab.host import connection, proxy_command
from labfab.laptop import openssh
from labfab.local_state import aliases, keypair, known_hosts, ssh_config
from labfab.settings import Settings
from tests import fake as models
from tests.loopback_sshd import Server, free_port, needs_sshd, server, wait_for
from tests.rig.relay import RELAY

__all__ = ["server"]
pytestmark = [pytest.mark.local, needs_sshd]
alone = models.alone


@pytest.fixture
def home(alone: Path, server: Server) -> Path:
    """A home that knows the host, and has no key yet."""
    home = alone / "home"
    known_hosts.pin(home / ".ssh/known_hosts", "127.0.0.1", server.port, server.host_key)
    return home


@pytest.fixture
def dial(home: Path, server: Server) -> Iterator:
    """Dial the sshd with this ssh_config, as a task would."""
    opened = []

    def go(config: str = "", host: str = "", **overrides) -> Connection:
        (home / ".ssh/config").write_text(config)
        (home / ".ssh/config").chmod(0o600)
        typed = host or f"127.0.0.1:{server.port}"
        c = Connection(f"{getpass.getuser()}@{typed}", config=Config(overrides=overrides))
        opened.append(c)
        connection.dial(c, Settings(connect_timeout=5))
        return c

    yield go
    for c in opened:
        c.close()


def install(home: Path, server: Server, name: str = "id_ed25519") -> Path:
    """Put the key that the host knows into the home."""
    path = home / ".ssh" / name
    shutil.copy(server.identity, path)
    shutil.copy(f"{server.identity}.pub", f"{path}.pub")
    return path


def certify(server: Server, key: Path, principal: str, validity: str = "-1d:+1d") -> Path:
    """Sign a key with the authority that the sshd trusts."""
    authority = server.identity.parent / "ca"
    words = ["-q", "-s", authority, "-I", "test", "-n", principal, "-V", validity]
    subprocess.run(["ssh-keygen", *words, f"{key}.pub"], check=True)
    return key.with_name(f"{key.name}-cert.pub")


@pytest.mark.parametrize("missing", ["~/.ssh/id_work", "none", "~/.ssh", "%d/.ssh/id_%r"])
def test_a_key_of_the_ssh_config_that_is_not_there_is_passed_over(dial, home, server, missing):
    """As ssh does it, whatever the file names besides."""
    install(home, server)
    config = f"Host *\n IdentityFile {missing}\n IdentityFile ~/.ssh/id_ed25519\n"
    assert dial(config).is_connected


@pytest.mark.parametrize(
    "text", ["", "garbage", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END", "public"]
)
def test_what_is_no_key_is_passed_over_too(dial, home, server, text):
    """A damaged key, or a public one that stands for one in an agent."""
    key = install(home, server)
    text = key.with_suffix(".pub").read_text() if text == "public" else text
    (home / ".ssh/id_work").write_text(text)
    config = f"Host *\n IdentityFile ~/.ssh/id_work\n IdentityFile {key}\n"
    assert dial(config).is_connected


def test_a_kind_of_address_that_the_host_does_not_have_leads_nowhere(dial, home, server):
    """AddressFamily and BindAddress count as for ssh."""
    install(home, server)
    assert dial("Host *\n AddressFamily inet\n BindAddress 127.0.0.1\n").is_connected
    with pytest.raises(SetupError, match=r"no such host name|cannot be reached"):
        dial("Host *\n AddressFamily inet6\n")


def test_a_key_that_was_typed_must_be_there(dial, home, server):
    """Also if the ssh_config names it too."""
    install(home, server)
    config = "Host *\n IdentityFile ~/.ssh/id_work\n"
    typed = {"key_filename": [str(home / ".ssh/id_work")]}
    with pytest.raises(SetupError, match="cannot read the key .*id_work.*correct fab -i"):
        dial(config, connect_kwargs=typed)


@pytest.mark.parametrize("principal, validity", [("nobody", "-1d:+1d"), ("{me}", "-2d:-1d")])
def test_a_certificate_that_is_refused_does_not_hide_its_key(
    dial, home, server, principal, validity
):
    """Neither one for others nor one that has ended; and not at the login that proves a change."""
    key = install(home, server)
    certify(server, key, principal.format(me=getpass.getuser()), validity)
    c = dial()
    assert c.is_connected
    new = connection.log_in_again(c, c.user, c.port, key)
    assert new.is_connected
    new.close()


@pytest.mark.parametrize("where", ["beside", "CertificateFile"])
def test_a_certificate_logs_in(dial, home, server, where):
    """The host knows the authority, not the key. CertificateFile may be anywhere."""
    key = keypair.generate(home / ".ssh/id_ed25519")
    certificate = certify(server, key, getpass.getuser())
    config = ""
    if where == "CertificateFile":
        certificate.rename(home / "elsewhere")
        config = f"Host *\n CertificateFile {home}/elsewhere\n"
    assert dial(config).is_connected


def test_a_refusal_names_the_certificate(dial, home, server):
    """It was tried too."""
    key = keypair.generate(home / ".ssh/id_ed25519")
    certify(server, key, "nobody")
    with pytest.raises(SetupError, match="keys tried: .*id_ed25519-cert.pub, .*id_ed25519;"):
        dial()


def test_the_agent_of_the_ssh_config_is_asked(dial, home, server, tmp_path):
    """IdentityAgent names another agent than SSH_AUTH_SOCK; none stands for no agent."""
    place = tmp_path / "a"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", place], stdout=subprocess.DEVNULL)
    try:
        wait_for(place.exists)
        env = {**os.environ, "SSH_AUTH_SOCK": str(place)}
        subprocess.run(["ssh-add", "-q", server.identity], env=env, check=True)
        assert dial(f"Host *\n IdentityAgent {place}\n").is_connected
        os.environ["SSH_AUTH_SOCK"] = str(place)
        with pytest.raises(SetupError, match="Permission denied"):
            dial("Host *\n IdentityAgent none\n")
    finally:
        os.environ.pop("SSH_AUTH_SOCK", None)
        agent.terminate()
        agent.wait(5)


@pytest.fixture
def relay(tmp_path: Path) -> str:
    """A ProxyCommand that leads to a port of this machine, whatever it is called for: %p follows."""
    program = tmp_path / "relay.py"
    program.write_text(RELAY)
    return f"{sys.executable} {program} 127.0.0.1"


def test_a_proxy_command_is_given_the_present_port(dial, home, server, relay):
    """Setup moves sshd: the login that proves it goes through the command to the new port."""
    key = install(home, server)
    box = known_hosts.host_name("box.internal", server.port)
    with (home / ".ssh/known_hosts").open("a") as known:
        known.write(f"{box} {server.host_key.get_name()} {server.host_key.get_base64()}\n")
    config = f"Host vps\n HostName box.internal\n Port 9\n ProxyCommand {relay} %p 2>/dev/null\n"
    c = dial(config, f"vps:{server.port}")
    assert c.is_connected
    new = connection.log_in_again(c, c.user, server.port, key)
    assert new.is_connected
    new.close()
    assert "publickey" in connection.offered_methods(c, c.user, server.port)


def test_a_proxy_command_that_leads_nowhere_is_one_line(dial, home, relay):
    """With the last words of the command, and what it was called with."""
    config = f"Host vps\n HostName box.internal\n ProxyCommand {relay} %p\n"
    with pytest.raises(SetupError, match=r"ProxyCommand .*ConnectionRefused.*by hand: .* \d+$"):
        dial(config, f"vps:{free_port()}")


@needs_sshd
@pytest.mark.parametrize(
    "name", ["x$(touch made)", "a;touch made", "-oProxyCommand=x", "a b", "`id`"]
)
def test_no_name_of_a_host_is_a_command_of_a_proxy(home, name):
    """Names come from lists of others; ssh refuses such a name too."""
    c = Connection("box", user="ada", gateway="nc %h %p", config=Config())
    c.original_host = name
    with pytest.raises(SetupError, match="cannot be the name in a ProxyCommand"):
        proxy_command.opened(c)
    with pytest.raises(SetupError, match="cannot be the name in a ProxyCommand"):
        aliases.proxy_command(c)


def test_a_proxy_command_that_only_ssh_can_use_is_refused(dial, home, relay):
    """It would never answer."""
    config = f"Host vps\n HostName box.internal\n ProxyCommand {relay} %p\n ProxyUseFdpass yes\n"
    with pytest.raises(SetupError, match="ProxyUseFdpass, which only ssh itself can do"):
        dial(config, "vps")


def test_what_leads_to_a_host_is_kept_for_its_alias(dial, home, server, relay):
    """Then ssh and fab find it under its alias as they did before, the host key included."""
    key = install(home, server)
    config = (
        f"Host vps\n HostName box.internal\n ProxyCommand {relay} %p # %n\n HostKeyAlias vps-key\n"
        f" AddressFamily inet\nHost *\n HostKeyAlias other\n AddressFamily inet\n"
    )
    known = home / ".ssh/known_hosts"
    known.write_text("")
    known_hosts.pin(known, "vps-key", 22, server.host_key)
    c = dial(config, f"vps:{server.port}")
    assert aliases.way(c) == f"{relay} %p # vps"
    assert aliases.needed_options(c) == (("HostKeyAlias", "vps-key"),)
    block = ssh_config.Alias(
        name="homelab",
        hostname=c.host,
        user=c.user,
        port=c.port,
        identity=str(key),
        proxy_command=aliases.proxy_command(c),
        options=aliases.needed_options(c),
    )
    ssh_config.write(home / ".ssh/config", block)
    assert openssh.ask(openssh.Target("homelab"), "echo there", 5) == "there"
    c = dial((home / ".ssh/config").read_text(), "homelab")
    assert c.is_connected and aliases.find_alias(c) == block
    assert aliases.needed_options(c) == block.options and aliases.way(c) == block.way


def test_a_silent_proxy_command_has_a_time_limit(dial, home, relay):
    """As a silent host has."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = f"Host vps\n HostName box.internal\n ProxyCommand {relay} %p\n"
        with pytest.raises(SetupError, match="no SSH server answers through the ProxyCommand"):
            dial(config, f"vps:{silent.getsockname()[1]}")
