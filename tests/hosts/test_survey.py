"""system.survey on a machine that others use: it names who and what, and changes nothing."""

import json

import pytest

from labfab.local_state import keypair

pytestmark = pytest.mark.host

IN_USE = """\
useradd -m -s /bin/bash alice; echo alice:not-yours | chpasswd
useradd -m -s /bin/bash carol; install -d -m 700 -o carol -g carol /home/carol/.ssh
cat >/home/carol/.ssh/authorized_keys; chown carol: /home/carol/.ssh/authorized_keys
mkdir /home/gone; chown 1500:1500 /home/gone
printf 'http_proxy=http://me:hunter2@192.0.2.1:3128\\n' >>/etc/environment
echo 'account required pam_access.so' >>/etc/pam.d/sshd
sed -i 's/^#*PasswordAuthentication.*/PasswordAuthentication yes/' /etc/ssh/sshd_config
systemctl restart ssh
systemd-run -q --unit web python3 -m http.server 8080
printf '[Unit]\\n[Service]\\nExecStart=/bin/true\\n[Install]\\nWantedBy=multi-user.target\\n' \
    >/etc/systemd/system/jupyterhub.service
systemctl daemon-reload
"""


@pytest.fixture(scope="module")
def box(module_host, tmp_path_factory):
    box = module_host("debian13", "box")
    path = keypair.generate(tmp_path_factory.mktemp("keys") / "carol", comment="carol@desk")
    forced = f'restrict,command="/usr/bin/true" {keypair.public_line(path)}'
    box.run(IN_USE, input=f"{keypair.public_line(path)}\n{forced}\n")
    return box


def test_who_uses_a_machine_is_shown_and_nothing_changes(box, module_fab):
    box.run("groupadd lab")  # with it, a plan would stop
    before = box.checksums()
    said = module_fab.on(box, "system.survey").ok().text
    for words in (
        *("alice: a password", "carol: 2 keys (1 for one command only)", "root: 1 key"),
        "will end: alice logs in with a password and has no key",
        "python3 answers on TCP port 8080",
        "will end: python3 answers others on port 8080",
        *("/home/gone (uid 1500) belongs to no account", "the group lab exists"),
        *("the unit jupyterhub.service exists", "pam_access in /etc/pam.d/sshd"),
        *("http_proxy=http://…@192.0.2.1:3128", "to install: ", "/etc/ssh/sshd_config:"),
        *("free", "memory: ", "name servers: ", "2 things will end"),
    ):
        assert words in said, words
    assert "hunter2" not in said
    found = json.loads(module_fab.on(box, "system.survey", "--json").ok().out)
    assert found["schema"] == 1 and len(found["ends"]) == 2
    assert {"logins", "sshd", "ports", "packages", "names", "programs", "room"} <= {*found["areas"]}
    assert box.checksums() == before
    box.run("groupdel lab")


def test_a_plan_of_a_new_host_begins_with_the_survey(box, module_fab):
    planned = module_fab.on(box, "setup.plan").text
    assert planned.index("alice: a password") < planned.index("would add the account lab")
    document = json.loads(module_fab.on(box, "setup.plan", "--json").out)
    assert any("8080" in row["text"] for row in document["survey"]["ports"])


@pytest.mark.parametrize("option", ["noexec", "ro"])
def test_a_home_where_nothing_runs_stops_the_setup_before_it_begins(box, module_fab, option):
    box.run(f"mount -t tmpfs -o {option} none /home")
    try:
        before = box.checksums()
        for task in ("setup.plan", "setup.full"):
            module_fab.on(box, task, env={"LABFAB_ACCEPT": "passwords"}).fails(
                f"/home is mounted with {option}", "mount -o remount"
            )
        assert box.checksums() == before
    finally:
        box.run("umount /home")


def test_a_clock_that_is_wrong_is_told(box, module_fab):
    """The machine's clock is the outer kernel's here, so its answer is what is changed."""
    box.run(
        "mv /usr/bin/date /usr/bin/date.real; printf '%s\\n' '#!/bin/sh' "
        '\'[ "$*" = +%s ] && exec /usr/bin/date.real -d "-3 hours" +%s\' '
        "'exec /usr/bin/date.real \"$@\"' >/usr/bin/date; chmod 755 /usr/bin/date"
    )
    said = module_fab.on(box, "system.survey").ok().text
    box.run("mv /usr/bin/date.real /usr/bin/date")
    assert "behind yours: timedatectl set-ntp true" in said
