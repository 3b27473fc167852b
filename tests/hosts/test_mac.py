"""Guide 000 on the double of a Mac: its account, who may log in, keys only, a port of its own; every fault is taken back.

Each machine is a double (tests/rig/mac): real sshd, PAM and files, with the tools of macOS in front of them.
"""

import json
import re
import signal
import subprocess
import time

import pytest

from labfab.on_host import loader
from tests.rig import Host, mac, probes
from tests.rig.fab import Fab, Run

from .test_guard import Attempt, ended  # noqa: F401  no run is left behind

pytestmark = pytest.mark.host

ENV = {
    "LABFAB_PYTHON": "venv",
    "LABFAB_UPDATE": "false",
    "LABFAB_REVERT_AFTER": "180",
}  # a double is slow on a busy machine
ACCESS = (
    "user.add",
    "keys.copy",
    "ssh.restrict",
    "ssh.disable-passwords",
    "ssh.disable-root",
    "ssh.change-port",
)
PASSWORD = "what admin types for sudo"
ARMED = "[ -e /var/lib/labfab/guard/armed ]"
LOADED = "launchctl print system/org.labfab.sshd >/dev/null 2>&1"
LIST = "com.apple.access_ssh"
LISTED = f"dseditgroup -o checkmember -m lab {LIST} >/dev/null 2>&1"
# What decides who gets in, and what labfab may have left behind.
STATE = """\
find /private/etc/ssh /private/etc/sudoers.d /Users/admin/.ssh /Library/LaunchDaemons -type f -exec shasum {} +
find /private/etc/ssh /private/etc/sudoers.d /Users/admin/.ssh /Library/LaunchDaemons -exec stat -f '%p %Su %N' {} +
for group in com.apple.access_ssh com.apple.access_ssh-disabled; do
  dscl . -read /Groups/$group RecordName GroupMembership NestedGroups 2>/dev/null
done
launchctl list | sed 's/^[-0-9]*.[-0-9]*//' | sort; launchctl print-disabled system; ls -d /var/lib/labfab/guard 2>/dev/null; true
"""


class Mac:
    """A double, the laptop beside it, and what is to be found again after a fault."""

    def __init__(self, host: Host, fab: Fab) -> None:
        self.host, self.fab = host, fab
        self.before: list[str] = []

    def run(self, *words: str, **settings: str) -> Run:
        env = ENV | {f"LABFAB_{name.upper()}": value for name, value in settings.items()}
        return self.fab.on(self.host, *words, user="admin", env=env)

    def loses_the_laptop(self, task: str, until: str) -> None:
        """Begin a task, and kill the laptop's side once the host has come so far."""
        attempt = self.start(task, revert_after="12")
        self.wait_until(until)
        attempt.signal(signal.SIGKILL)
        attempt.end()

    def start(self, *words: str, **settings: str) -> Attempt:
        return Attempt(
            self.fab,
            self.host,
            words,
            "admin",
            ENV | {f"LABFAB_{name.upper()}": value for name, value in settings.items()},
        )

    def state(self) -> list[str]:
        return self.host.run(STATE).splitlines()

    def states(self, area: str) -> dict[str, str]:
        """What the check says of each row."""
        return {
            row["id"]: row["state"]
            for row in json.loads(self.run(f"check.{area}", "--json").out)["checks"]
        }

    def wait_until(self, moment: str) -> None:
        self.host.run(f"until {moment}; do sleep 0.05; done", timeout=90)

    def heals(self) -> None:
        """Insist that the login of before works again and nothing else is left."""
        end = time.monotonic() + 60
        while self.state() != self.before:
            assert time.monotonic() < end, set(self.state()) ^ set(self.before)
            time.sleep(0.3)
        assert probes.takes_key(self.host.address, "admin", 22, self.fab.home)
        assert not probes.answering(self.host.address, [292])

    def ssh(self, user: str, port: int, command: str) -> subprocess.CompletedProcess:
        """Log in as ssh does, to the end: sshd may take the key, and PAM close the door all the same."""
        options = [
            "BatchMode=yes",
            f"UserKnownHostsFile={self.fab.home}/.ssh/known_hosts",
            "StrictHostKeyChecking=yes",
        ]
        words = [
            "ssh",
            "-F",
            "none",
            "-i",
            str(self.fab.home / ".ssh/id_ed25519"),
            *(word for one in options for word in ("-o", one)),
        ]
        words += ["-p", str(port), f"{user}@{self.host.address}", command]
        return subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)


@pytest.fixture(scope="module")
def guided(module_host, module_fab):
    """A Mac whose access was set up."""
    it = Mac(module_host("mac", "guided", user="admin"), module_fab)
    it.bare = it.host.checksums()
    it.runs = {stage: it.run(stage).ok() for stage in ACCESS}
    return it


def test_each_step_of_the_guide_was_a_change(guided):
    for stage, why in (
        ("user.add", "add the account lab"),
        ("user.add", "stop the login window from offering other accounts"),
        ("keys.copy", "let your key log in as lab"),
        ("ssh.restrict", "let only administrators, admin and lab log in over SSH"),
        ("ssh.disable-passwords", "refuse passwords for every user"),
        ("ssh.disable-root", "refuse logins as root"),
        ("ssh.change-port", "make launchd listen there"),
    ):
        assert f"] {why}" in guided.runs[stage].out, why


def test_a_second_run_changes_nothing(guided):
    before = guided.host.checksums()
    for stage in ACCESS:
        assert "nothing to change" in guided.run(stage).ok().out
    assert guided.host.checksums() == before


def test_the_account_is_standard_hidden_and_opened_by_the_key_alone(guided):
    told = guided.host.run(
        "dscl . -read /Users/lab IsHidden UserShell; defaults read /Library/Preferences/com.apple.loginwindow"
    )
    assert "IsHidden: 1" in told and "/bin/zsh" in told and "SHOWOTHERUSERS_MANAGED = 0" in told
    assert not {"admin", "wheel"} & {*guided.host.run("id -Gn lab").split()}
    assert guided.ssh("lab", 292, "id -un").stdout == "lab\n"
    kept = (guided.fab.home / ".config/labfab/homelab/login-of-lab-user").read_text().strip()
    assert len(kept) >= 16 and not probes.takes_password(guided.host.address, "lab", 292, kept)
    assert guided.host.run(f"dscl . -authonly lab '{kept}' && echo right") == "right"


def test_an_account_that_is_shown_is_hidden_again(guided):
    guided.host.run("dscl . -delete /Users/lab IsHidden")
    assert "] hide lab in the login window" in guided.run("user.add").ok().out
    assert "IsHidden: 1" in guided.host.run("dscl . -read /Users/lab IsHidden")


@pytest.mark.parametrize("user", ["admin", "lab", "root", "nobody-at-all"])
@pytest.mark.parametrize("port", [22, 292])
def test_nobody_is_asked_for_a_password(guided, user, port):
    assert probes.offered(guided.host.address, user, port) == ["publickey"]


def test_who_is_not_on_the_list_is_shut_out(guided):
    """The key alone opens nothing: another account with the same key is not let in."""
    guided.host.run(
        "sysadminctl -addUser side -fullName side -shell /bin/zsh -password x 2>/dev/null"
    )
    guided.host.run("cp -R /Users/lab/.ssh /Users/side/ && chown -R side /Users/side/.ssh")
    assert guided.ssh("side", 292, "id -un").stdout == ""
    guided.host.run(f"dseditgroup -o edit -a side -t user {LIST}")  # the list alone kept it out
    assert guided.ssh("side", 292, "id -un").stdout == "side\n"
    guided.host.run(
        f"dseditgroup -o edit -d side -t user {LIST}; sysadminctl -deleteUser side 2>/dev/null"
    )


def test_nothing_else_lies_in_the_folder_of_sshd(guided):
    assert guided.host.run("ls -A /etc/ssh/sshd_config.d").split() == [
        "000-labfab.conf",
        "100-macos.conf",
    ]


OURS, KEPT = "/etc/ssh/sshd_config.d/000-labfab.conf", "/private/tmp/kept"
GUARD = "/var/lib/labfab/guard"
FIRST = "/etc/ssh/sshd_config.d/000-a-copy.bak"
# row, area, what breaks it, what mends it
SABOTAGES = [
    (
        "ssh-login",
        "ssh",
        "cd /Users/admin && mv .ssh/authorized_keys keys",
        "cd /Users/admin && mv keys .ssh/authorized_keys",
    ),
    (
        "ssh-password",
        "ssh",
        f"cp -p {OURS} {KEPT}; {{ echo PasswordAuthentication yes; cat {KEPT}; }} >{OURS}",
        f"cp -p {KEPT} {OURS}",
    ),
    (
        "ssh-root",
        "ssh",
        f"cp -p {OURS} {KEPT}; {{ echo PermitRootLogin yes; cat {KEPT}; }} >{OURS}",
        f"cp -p {KEPT} {OURS}",
    ),
    # A backup of any name in that folder is read, and comes first here.
    ("ssh-password", "ssh", f"echo KbdInteractiveAuthentication yes >{FIRST}", f"rm {FIRST}"),
    ("secrets-keys", "secrets", "chmod 777 /Users/lab/.ssh", "chmod 700 /Users/lab/.ssh"),
    (
        "host-revert",
        "host",
        f"mkdir {GUARD}; printf '1\nmove the port\n' >{GUARD}/armed",
        f"rm -r {GUARD}",
    ),
]
FACTS = loader.script("facts", "Darwin")
FIRST_ON_THE_PATH = r"""
cd /Users/admin && mkdir gnubin && echo 'PATH=$HOME/gnubin:$PATH' >.zshenv
for name in sh stat awk date perl id uname sudo ps; do
  printf '#!/bin/sh\n/bin/echo $(/usr/bin/id -u) %s >>/private/tmp/ran\n' $name >gnubin/$name
done
chmod -R 755 gnubin .zshenv && chown -R admin gnubin .zshenv
"""


@pytest.mark.parametrize("row, area, breaks, mends", SABOTAGES, ids=[case[0] for case in SABOTAGES])
def test_the_check_sees_an_open_door(guided, row, area, breaks, mends):
    guided.host.run(breaks)
    try:
        assert guided.states(area)[row] == "fail"
    finally:
        guided.host.run(mends)
    assert guided.states(area)[row] == "ok"


def test_nothing_that_the_login_puts_first_is_run(guided):
    """There is no secure_path: what an account may write would be run by root, and GNU's tools speak otherwise."""
    guided.host.run(FIRST_ON_THE_PATH)
    try:
        assert "nothing to change" in guided.run("user.add").ok().out
        assert (
            guided.ssh("admin", 22, "stat; cat /private/tmp/ran").stdout == "501 stat\n"
        )  # by the login alone
    finally:
        guided.host.run("rm -rf /Users/admin/.zshenv /Users/admin/gnubin /private/tmp/ran")


def test_sshd_is_asked_for_what_counts_alone(guided):
    given = "USERS='root admin lab' LAB_USER=lab PREFIX=.venv\n"
    told = guided.host.run("sh -s ssh", input=loader.words("Darwin") + given + FACTS)
    assert "lab.permitrootlogin=no" in told and "lab.ciphers" not in told


def test_it_holds_after_a_restart(guided):
    guided.host.reboot(port=292)
    assert guided.ssh("lab", 292, "id -un").stdout == "lab\n"
    assert "nothing to change" in guided.run("ssh.change-port").ok().out


def test_port_22_closes_where_that_is_wanted_and_comes_back_with_the_undo(guided):
    """Told over the new port, for what Remote Login started may end with it."""
    mac.switch(guided.host, "bootout-ends-sessions", True)
    assert "] close port 22" in guided.run("ssh.close-port-22").ok().out
    assert probes.answering(guided.host.address, [22, 292]) == [292]
    guided.host.reboot(port=292)
    assert probes.answering(guided.host.address, [22, 292]) == [292]
    assert "nothing to change" in guided.run("ssh.close-port-22").ok().out


def test_undo_gives_the_state_before(guided):
    """It follows the one above: the door that it came in by goes last, over Remote Login."""
    guided.run("setup.undo", "--yes").ok()
    assert probes.answering(guided.host.address, [22, 292]) == [22]
    assert guided.host.checksums() == guided.bare
    assert (
        guided.host.run("ls /private/var/backups/labfab 2>/dev/null || true") == ""
    )  # all that the home had was of its making
    assert guided.host.run("launchctl list | grep -c labfab || true") == "0"


def test_one_whose_sudo_asks_and_that_is_slow_to_end_its_jobs(module_host, module_fab):
    """As real ones are, and macOS 12 in its launchctl; where sysadminctl makes no home, it is made; nothing stays of it."""
    box = Mac(
        module_host(
            "mac", "asking", user="admin", key=module_fab.key, password=PASSWORD, nopasswd=False
        ),
        module_fab,
    )
    bare = box.host.checksums()
    for name, value in (
        ("old-launchctl", True),
        ("home-created", False),
        ("product-version", "12.7.6"),
    ):
        mac.switch(box.host, name, value)
    said = ""
    for stage in (*ACCESS, "ssh.close-port-22"):
        mac.switch(box.host, "bootstrap-refusals", "2")
        said += box.run(stage, sudo_password=PASSWORD).ok().text
    done = re.sub(r"  [\d.]+ s$", "", said, flags=re.MULTILINE)
    for why in ("make /Users/lab", "make launchd listen there", "close port 22"):
        assert f"] {why}\n" in done, said
    assert box.ssh("lab", 292, "pwd").stdout == "/Users/lab\n" and PASSWORD not in said
    box.run("user.add", sudo_password="wrong").fails("sudo")
    box.host.reboot(port=292)
    assert probes.answering(box.host.address, [22, 292]) == [292]
    mac.switch(box.host, "bootstrap-refusals", "2")
    box.run("setup.undo", "--yes", sudo_password=PASSWORD).ok()
    assert probes.answering(box.host.address, [22, 292]) == [22]
    assert box.host.checksums() == bare


@pytest.fixture(scope="module")
def faulty(module_host, module_fab):
    """A Mac with nothing but the account and its key, for what goes wrong."""
    it = Mac(module_host("mac", "faulty", user="admin"), module_fab)
    it.run("keys.copy").ok()
    (it.fab.home / ".ssh/config").unlink()
    it.before = it.state()
    return it


def test_the_laptop_dies(faulty):
    faulty.loses_the_laptop("ssh.change-port", LOADED)
    faulty.heals()


def test_a_revert_that_dies_half_way_is_taken_up_at_the_deadline(faulty):
    faulty.loses_the_laptop("ssh.change-port", LOADED)
    faulty.host.run(f"mv {GUARD}/armed {GUARD}/reverting")  # as far as it got
    faulty.heals()


def test_the_next_run_tells_of_it(faulty):
    said = faulty.start("user.add").end().ok()
    assert (
        "the host reverted a change because no fresh login proved it: move sshd to port 292"
        in said.text
    )


@pytest.mark.parametrize("how", ["reboot", "kill_power"])
def test_the_mac_goes_down_in_the_window(faulty, how):
    attempt = faulty.start("ssh.change-port", revert_after="300")
    faulty.wait_until(LOADED)
    attempt.signal(signal.SIGSTOP)
    getattr(faulty.host, how)(22)
    faulty.heals()
    attempt.signal(signal.SIGCONT)
    attempt.end().fails("could not move sshd to port 292")


# case: stage, moment, deed, words of the message
DEEDS = {
    "a broken file in sshd_config.d": (
        "ssh.change-port",
        ARMED,
        "echo Nonsense yes >/etc/ssh/sshd_config.d/999-bad",
        "could not move sshd",
    ),
    "the job of sshd is broken": (
        "ssh.change-port",
        "[ -e /Library/LaunchDaemons/org.labfab.sshd.plist ]",
        "echo nonsense >/Library/LaunchDaemons/org.labfab.sshd.plist; launchctl bootout system/org.labfab.sshd || true",
        "could not move sshd",
    ),
    "Remote Login's list loses everybody": (
        "ssh.restrict",
        LISTED,
        f"for kind in group user; do dseditgroup -o edit -d admin -t $kind {LIST}; done",
        "could not let only",
    ),
    "the list's group is gone and another in its place": (
        "ssh.restrict",
        LISTED,
        f"dseditgroup -o delete -q {LIST}; dseditgroup -o create -q {LIST}",
        "could not let only",
    ),
}


@pytest.mark.parametrize("case", DEEDS)
def test_something_breaks_behind_our_back(faulty, case):
    stage, moment, deed, words = DEEDS[case]
    attempt = faulty.start(stage)
    faulty.wait_until(moment)
    attempt.signal(signal.SIGSTOP)  # the proof comes after the deed
    faulty.host.run(deed)
    attempt.signal(signal.SIGCONT)
    run = attempt.end().fails(words, "the old login works again")
    assert len(run.err.splitlines()) == 1, run.text
    faulty.heals()


@pytest.mark.parametrize("before", ["on", "off", "none"])
def test_the_list_is_as_it_was_when_the_laptop_dies(faulty, before):
    """On, switched off, or not there at all: each is found again, with its members."""
    off = f"dscl . -change /Groups/{LIST} RecordName {LIST} {LIST}-disabled"
    faulty.host.run(
        {"on": ":", "off": off, "none": f"dseditgroup -o delete -q {LIST}-disabled"}[before]
    )
    faulty.before = faulty.state()
    faulty.loses_the_laptop("ssh.restrict", LISTED)
    faulty.heals()


def test_of_an_account_that_is_gone_nothing_stays_on_the_list(faulty):
    """Its name and its number, which decides on a Mac."""
    group, number = f"/Groups/{LIST}-lost", "AAAAAAAA-0000-0000-0000-000000000000"
    words = loader.words("Darwin").replace(LIST, f"{LIST}-lost")
    faulty.host.run(
        f"dseditgroup -o create -q {LIST}-lost; dseditgroup -o edit -a admin -t user {LIST}-lost"
    )
    faulty.host.run(
        f"dscl . -append {group} GroupMembership ghost; dscl . -append {group} GroupMembers {number}"
    )
    faulty.host.run("sh -s", input=words + "set_access on user:admin\n")
    left = faulty.host.run(f"dscl . -read {group} GroupMembership GroupMembers")
    faulty.host.run(f"dseditgroup -o delete -q {LIST}-lost")
    assert "ghost" not in left and number not in left and "admin" in left and left.count("-") == 4


def test_of_the_folders_that_a_mac_has_not_none_stays_empty(faulty):
    words = loader.words("Darwin")
    faulty.host.run("sh -s", input=words + "mkdir -p /private/var/backups && clear_places\n")
    assert (
        faulty.host.run("ls -d /private/var/lib /private/var/backups 2>/dev/null || true")
        == "/private/var/lib"
    )  # it holds something


def test_without_full_disk_access_the_user_is_told_where_to_switch_it_on(host, fab):
    """macOS makes the account, and would not take it away again: both are said, and the next undo ends what this one cannot."""
    box = Mac(host("mac", "closed", user="admin"), fab)
    before = box.host.checksums()
    mac.switch(box.host, "full-disk-access", False)
    assert "Allow full disk access for remote users" in box.run("user.add").ok().text
    assert "UserShell: /bin/zsh" in box.host.run(
        "dscl . -read /Users/lab UserShell; ls -d /Users/lab"
    )
    box.run("setup.undo", "--yes").fails(
        "the account lab: macOS", "Allow full disk access for remote users"
    )
    mac.switch(box.host, "full-disk-access", True)
    box.run("setup.undo", "--yes").ok()
    assert box.host.checksums() == before
