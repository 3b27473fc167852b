"""The owner of an old account wants the rights that labfab gives to an account of that name."""

import subprocess

import pytest

from labfab.local_state import keypair

pytestmark = pytest.mark.host

# PAM keeps an account out, of which sshd's settings say nothing.
KEPT_OUT = """\
cp /etc/pam.d/sshd /root/pam; cp /etc/security/access.conf /root/access
sed -i '1i account required pam_access.so' /etc/pam.d/sshd
echo '-:%s:ALL' >>/etc/security/access.conf"""
LET_IN = "cp /root/pam /etc/pam.d/sshd; cp /root/access /etc/security/access.conf"
ENV = {"LABFAB_PYTHON": "venv", "LABFAB_UPDATE": "false", "LABFAB_REVERT_AFTER": "30"}
OLD_PASSWORD = "the owner's own"
RIGHTS = "id -nG %s; getent shadow %s; sudo -l -U %s | tail -n 1; cat /home/%s/.ssh/*keys || true"
OLD_ACCOUNT = """\
useradd -m -s /bin/bash lab && echo "lab:{secret}" | chpasswd
install -d -m 700 -o lab -g lab /home/lab/.ssh && echo '{key}' >/home/lab/.ssh/authorized_keys
chown lab: /home/lab/.ssh/authorized_keys && chmod 600 /home/lab/.ssh/authorized_keys
"""


@pytest.fixture(scope="module")
def owner(tmp_path_factory):
    """The key of the old account's owner, which the admin does not have."""
    return keypair.generate(tmp_path_factory.mktemp("owner") / "id_ed25519", "")


@pytest.fixture(scope="module")
def box(module_host, module_fab, owner):
    """A bare host with old accounts: lab with a password and a key, and accounts with hidden power."""
    host = module_host("debian12", "accounts", key=module_fab.key)
    host.run("apt-get update -qq && apt-get install -y -qq sudo", timeout=300)
    host.run(OLD_ACCOUNT.format(secret=OLD_PASSWORD, key=keypair.public_line(owner)))
    host.run("groupadd -f docker; useradd -m -G docker boss; useradd -m ruled; useradd -m plain")
    host.run("useradd -r -s /usr/sbin/nologin waiter; useradd -M homeless")
    host.run("echo 'ruled ALL=(root) NOPASSWD: /usr/bin/apt-get' >/etc/sudoers.d/ruled")
    return host


def rights(box, name: str = "lab") -> str:
    return box.run(RIGHTS.replace("%s", name))


def powerless(box) -> bool:
    """Return whether the owner of the old account is what he was: no sudo, with his own password."""
    said = box.run(
        f"printf '%s\\n' \"{OLD_PASSWORD}\" | runuser -u lab -- sudo -k -S id -u 2>&1; id -nG lab"
    )
    return "sudo" not in said.splitlines()[-1].split() and "0" not in said.splitlines()


def logs_in(box, owner) -> bool:
    """Return whether the owner's key still opens his account."""
    options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes"]
    words = [word for option in options for word in ("-o", option)]
    ssh = ["ssh", *words, "-i", str(owner), "-p", str(box.port), f"lab@{box.address}", "id -un"]
    return subprocess.run(ssh, capture_output=True, text=True, timeout=30).stdout == "lab\n"


def test_the_owner_of_an_old_account_gets_nothing_by_a_run(box, module_fab, owner):
    """It stops before any change and says what would open the account, and which setting agrees."""
    before, files = rights(box), box.checksums()
    run = module_fab.on(box, "setup.full", env=ENV).fails(
        "the account lab exists already", "its own password and 1 key", "take_over: [lab]"
    )
    assert len([line for line in run.err.splitlines() if "lab exists" in line]) == 1
    assert rights(box) == before and box.checksums() == files
    assert powerless(box) and logs_in(box, owner)


def test_a_run_that_stops_in_the_window_leaves_the_owner_no_sudo(box, module_fab, owner):
    """The admin agrees, but his login as lab does not work: group and password are taken back."""
    before = rights(box)
    # The proof of the new login fails; root's old one works.
    box.run(KEPT_OUT % "lab")
    try:
        env = ENV | {"LABFAB_TAKE_OVER": "lab", "LABFAB_SUDO_PASSWORD": OLD_PASSWORD}
        run = module_fab.on(box, "setup.full", env=env)
        run.fails("the login lab@", "the host has reverted everything")
        assert "lab is taken over; its own password and 1 key" in run.err
    finally:
        box.run(LET_IN)
    assert rights(box) == before and powerless(box) and logs_in(box, owner)
    module_fab.on(box, "setup.full", env=ENV).fails("the account lab exists already")


def test_an_account_without_password_is_locked_again(box, module_fab):
    """It was made without one: the generated one goes with the window."""
    before = rights(box, "plain")
    box.run(KEPT_OUT % "plain")
    try:
        env = ENV | {"LABFAB_TAKE_OVER": "plain", "LABFAB_USER": "plain"}
        module_fab.on(box, "keys.copy", env=env).fails("the host has reverted everything")
    finally:
        box.run(LET_IN)
    assert rights(box, "plain") == before


@pytest.mark.parametrize(
    "name, words",
    [
        ("boss", "by the group docker"),
        ("ruled", "by a rule of sudo"),
        ("daemon", "cannot be 'daemon'"),
        ("waiter", "belongs to a service"),
        ("lab", "the account lab exists already"),
    ],
)
def test_an_account_with_power_runs_no_notebooks(box, module_fab, name, words):
    """Groups and rules count, a service's account is never taken, nor is somebody else's."""
    files = box.checksums()
    taken = "" if name == "lab" else name
    env = ENV | {"LABFAB_USER": "admin", "LABFAB_LAB_USER": name, "LABFAB_TAKE_OVER": taken}
    module_fab.on(box, "setup.full", env=env).fails(words)
    assert box.checksums() == files


def test_a_sudo_that_gives_no_answer_counts_as_power(box, module_fab):
    """Its rules may come from a directory, which somebody keeps from answering."""
    slow = '#!/bin/sh\ncase $* in *-l*) exec sleep 60 ;; esac\nexec /usr/bin/sudo.real "$@"\n'
    env = ENV | {"LABFAB_USER": "admin", "LABFAB_LAB_USER": "plain", "LABFAB_TAKE_OVER": "plain"}
    box.run(
        "mv /usr/bin/sudo /usr/bin/sudo.real; cat >/usr/bin/sudo; chmod 755 /usr/bin/sudo",
        input=slow,
    )
    try:
        files = box.checksums()
        run = module_fab.on(box, "setup.full", env=env)
        run.fails("lab_user plain can become root", "a rule of sudo(no-answer)")
        assert box.checksums() == files
    finally:
        box.run("mv -f /usr/bin/sudo.real /usr/bin/sudo")


@pytest.mark.parametrize("key", ["LABFAB_USER", "LABFAB_LAB_USER"])
def test_an_account_without_its_home_is_named(box, module_fab, key):
    """Its owner has deleted it, or it hangs: one line says so before any change."""
    files = box.checksums()
    env = ENV | {"LABFAB_USER": "admin", key: "homeless", "LABFAB_TAKE_OVER": "homeless"}
    run = module_fab.on(box, "setup.full", env=env)
    run.fails("the home /home/homeless of homeless is missing or does not answer")
    assert box.checksums() == files
