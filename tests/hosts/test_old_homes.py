"""What an account that is gone left behind, what sudo keeps, and what a run leaves that stops."""

import pytest

from labfab.local_state import keypair
from tests.rig import probes

pytestmark = pytest.mark.host

CONF = "/etc/ssh/sshd_config.d"
RESTART = "systemctl reset-failed ssh; systemctl restart ssh"
# Somebody left, and the account went; home and keys stayed.
LEFT = """
useradd -m -u 1500 -s /bin/bash lab
install -d -m 700 -o lab -g lab /home/lab/.ssh
install -m 600 -o lab -g lab /dev/stdin /home/lab/.ssh/authorized_keys
echo theirs >/home/lab/thesis
userdel lab
"""
SHORT = {"LABFAB_CONNECT_TIMEOUT": "5"}
CHOSEN = "a password of my own 7"


@pytest.fixture(scope="module")
def box(module_host):
    """A machine in use, for the tests that must not change it."""
    return module_host("debian13", "old")


@pytest.fixture
def former(tmp_path):
    """The key pair of somebody who left: path and public line."""
    path = keypair.generate(tmp_path / "former", comment="former@work")
    return path, keypair.public_line(path)


def test_an_old_home_is_never_inherited(box, module_fab, former):
    box.run(LEFT, input=former[1] + "\n")
    before = box.checksums()
    for task in ("setup.plan", "setup.full", "user.add", "keys.copy"):
        module_fab.on(box, task).fails(
            "/home/lab is there already and belongs to uid 1500",
            "choose another user, or move it away",
        )
    module_fab.on(box, "setup.plan", env={"LABFAB_USER": "ada", "LABFAB_LAB_USER": "lab"}).fails(
        "belongs to uid 1500: choose another lab_user"
    )
    assert box.checksums() == before and not probes.takes_key_file(
        box.address, "lab", box.port, former[0]
    )
    box.run("rm -r /home/lab; mkdir -p /srv/x && chown www-data /srv/x; ln -s /srv/x /home/lab")
    module_fab.on(box, "keys.copy").fails("/home/lab is there already, a link to /srv/x")
    box.run("rm /home/lab; install -d -o www-data /home/lab")
    module_fab.on(box, "keys.copy").fails("/home/lab is there already and belongs to www-data")
    box.run("rm -r /home/lab; echo HOME=/srv/homes >>/etc/default/useradd; mkdir -p /srv/homes/lab")
    box.run("touch /srv/homes/lab/x")
    module_fab.on(box, "keys.copy").fails("/srv/homes/lab is there already and belongs to root")
    box.run("rm -r /srv/homes; sed -i '/srv.homes/d' /etc/default/useradd")


def test_what_would_run_as_the_account_or_open_it_is_named(box, module_fab, former):
    box.run(
        "mkdir -p /var/spool/cron/crontabs /etc/ssh/keys; groupadd lab;"
        "echo '* * * * * true' >/var/spool/cron/crontabs/lab; cat >/etc/ssh/keys/lab",
        input=former[1] + "\n",
    )
    files = ".ssh/authorized_keys /etc/ssh/keys/%u"
    box.run(f"echo 'AuthorizedKeysFile {files}' >{CONF}/05-keys.conf; {RESTART}")
    module_fab.on(box, "setup.full").fails(
        "/var/spool/cron/crontabs/lab would run as lab",
        "the group lab is there already",
        "/etc/ssh/keys/lab has keys to it",
        "move them away",
    )
    box.run("echo 'ada ALL=(ALL) ALL' >/etc/sudoers.d/ada; chmod 440 /etc/sudoers.d/ada")
    module_fab.on(box, "setup.plan", env={"LABFAB_USER": "eve", "LABFAB_LAB_USER": "ada"}).fails(
        "a rule may let it become root (/etc/sudoers.d/ada:1"
    )
    box.run(
        f"rm {CONF}/05-keys.conf /var/spool/cron/crontabs/lab /etc/ssh/keys/lab; groupdel lab;"
        f"rm /etc/sudoers.d/ada; {RESTART}"
    )


def test_a_stopped_run_leaves_the_host_no_weaker_and_says_how_to_go_on(box, module_fab, former):
    """PAM lets the new account in no further, and later the account is let in but not on the port."""
    hostile = former[1].rsplit(" ", 1)[0] + " me\x1b[2J\u202e@evil"
    box.run("cat >>/root/.ssh/authorized_keys", input=f'from="*" {hostile}\n')
    box.run(f"echo PasswordAuthentication yes >{CONF}/99-on.conf; {RESTART}")
    box.run(f"printf 'Match User lab\\n  AllowTcpForwarding no\\n' >{CONF}/98-lab.conf; {RESTART}")
    said = module_fab.on(box, "setup.full", env={"LABFAB_SUDO_PASSWORD": CHOSEN} | SHORT).fails(
        "could not let your key log in as lab", "the host has reverted everything"
    )
    assert "sudo" not in box.run("id -nG lab").split()
    assert box.run("passwd -S lab").split()[1] == "L"
    assert not probes.takes_password(box.address, "lab", box.port, CHOSEN)
    out = said.out.splitlines()
    rows = [line for line in out if line.startswith(("stopped", "log in", "firewall", "next"))]
    assert "complete: user" in rows[0] and f"root@{box.address}" in rows[1], said.text
    assert "not on yet" in rows[2] and "then type the same command" in rows[3]
    # Each key is named, and what stands in its comment does no harm.
    assert "labfab, from your laptop" in said.out and 'from="*"' in said.out
    assert "me?[2J?@evil, from /root/.ssh/authorized_keys (SHA256:" in said.out
    box.run(f"rm {CONF}/98-lab.conf {CONF}/99-on.conf; {RESTART}")
    # A stop after the login was proven: nobody gets in at the new port.
    shut = "Match LocalPort 292\\n  DenyUsers *\\n"
    box.run(f"printf '{shut}' >{CONF}/99-shut.conf; {RESTART}")
    said = module_fab.on(box, "setup.full", env=SHORT).fails("could not move sshd to port 292")
    assert "complete: user, keys, passwords off, root off" in said.out
    assert f"ssh homelab (that is ssh lab@{box.address})" in said.out
    assert ".config/labfab/homelab/sudo-password" in said.out
    assert CHOSEN not in said.text
    box.run(f"rm {CONF}/99-shut.conf; {RESTART}")


def test_what_sudo_would_keep_is_named_before_the_first_secret(host, fab):
    box = host("debian13", "iolog", user="debian", key=fab.key, nopasswd=False, password=CHOSEN)
    box.run(
        "rm -f /etc/sudoers.d/90-cloud-init-users;"
        "printf 'Defaults log_input, log_output\\n' >/etc/sudoers.d/io; chmod 440 /etc/sudoers.d/io"
    )
    given = {"LABFAB_SUDO_PASSWORD": CHOSEN, "LABFAB_PYTHON": "venv"}
    for task in ("keys.copy", "setup.full"):
        fab.on(box, task, user="debian", env=given).fails(
            "sudo keeps what labfab types there, passwords too, in /var/log/sudo-io/",
            "/etc/sudoers.d/io:1:Defaults log_input",
            "Defaults:debian !log_input",
            "LABFAB_ACCEPT=sudo-log",
        )
    assert box.run("id lab 2>&1 || echo none").endswith("none")
    kept = "find /var/log/sudo-io -type f -exec zgrep -alF '%s' {} + || true"
    assert box.run("find /var/log/sudo-io -type f | wc -l") != "0"
    assert box.run(kept % CHOSEN) == ""
    planned = fab.on(box, "setup.plan", user="debian", env=given).text
    assert "sudo keeps what labfab types" in planned and "accept: [sudo-log]" in planned
    agreed = given | {"LABFAB_ACCEPT": "sudo-log"}
    said = fab.on(box, "keys.copy", user="debian", env=agreed).ok().text
    assert "sudo keeps what labfab types" in said
    # No secret is left to send.
    assert "sudo keeps" not in fab("-H", "homelab", "keys.copy", env=given).ok().text
    box.run("userdel -r lab; echo 'Defaults:debian !log_input' >>/etc/sudoers.d/io")


def test_a_mac_s_account_inherits_no_home_either(host, fab):
    box = host("mac", key=fab.key)
    box.run("mkdir -p /Users/jupyter/.ssh; chown -R 777 /Users/jupyter")
    env = {"LABFAB_LAB_USER": "jupyter"}
    for task in ("user.add", "setup.plan"):
        fab.on(box, task, user="admin", env=env).fails(
            "/Users/jupyter is there already and belongs to uid 777: choose another lab_user"
        )
