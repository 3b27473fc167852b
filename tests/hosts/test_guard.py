"""Changes to access under every fault that could lock somebody out: the old login works again, everything is as before.

What each case took goes to .cache/faults-main.md, from where the table of docs/safety.md is taken.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

import pytest

from labfab.on_host import loader
from tests.rig import Host, dockerd, probes
from tests.rig.fab import BIN, Fab, Run
from tests.rig.places import CACHE, REPO

pytestmark = pytest.mark.host

STATE = """\
cd /; set -- etc/ssh etc/sudoers etc/sudoers.d etc/ufw etc/default/ufw etc/systemd root/.ssh home/lab/.ssh
find "$@" -printf '%m %U:%G %y %p %l\n' 2>/dev/null | sort; find "$@" -type f -exec sha256sum {} + 2>/dev/null | sort -k 2
"""
# Moments in the life of a window, as shell text that is true from then on.
ARMED = "[ -e /var/lib/labfab/guard/armed ]"
BOTH = "ss -Hltn | grep -q ':292 '"
ONLY = "! grep -qx 'Port 22' /etc/ssh/sshd_config.d/00-labfab.conf && ss -Hltn | awk '/:292 /{n=1} /:22 /{o=1} END{exit !n || o}'"
# Logins take long from then on, so that there is time between the change and its proof.
SLOW = (
    "echo 'grep -qx \"Port 22\" /etc/ssh/sshd_config.d/00-labfab.conf || sleep 4' >/etc/ssh/sshrc"
)
LEFT = """\
ls -d /var/lib/labfab/guard /etc/systemd/system/labfab-revert.service /etc/systemd/system/*/labfab-revert.service 2>/dev/null
systemctl list-units --all --plain --no-legend 'labfab-*'
"""
QUICK = {"LABFAB_CONNECT_TIMEOUT": "3"}


RUNNING: "list[Attempt]" = []


@pytest.fixture(autouse=True)
def ended():
    """Leave no run behind when a case fails half-way."""
    yield
    for attempt in list(RUNNING):
        attempt.signal(signal.SIGKILL)
        attempt.end()


class Attempt:
    """One run of fab, which can be frozen and killed in the middle."""

    def __init__(
        self, fab: Fab, host: Host, words: tuple[str, ...], user: str, env: dict[str, str]
    ):
        self.files = ExitStack()  # files, not pipes, which a frozen reader would fill
        self.out = self.files.enter_context(tempfile.TemporaryFile("w+"))  # noqa: SIM115
        self.err = self.files.enter_context(tempfile.TemporaryFile("w+"))  # noqa: SIM115
        self.words, self.fab = ("-H", f"{user}@{host.address}", *words), fab
        env = {"LABFAB_HOST_KEY": host.host_key_fingerprint(), **QUICK, **env}
        self.process = subprocess.Popen(
            [str(BIN / "fab"), *self.words],
            cwd=REPO,
            env=fab.environment(env),
            stdin=subprocess.DEVNULL,
            stdout=self.out,
            stderr=self.err,
            text=True,
            start_new_session=True,
        )
        RUNNING.append(self)

    def signal(self, kind: signal.Signals) -> None:
        os.killpg(self.process.pid, kind)

    def end(self, timeout: float = 150) -> Run:
        """Wait for its end and give what it said."""
        try:
            rc = self.process.wait(timeout)
        finally:
            with suppress(ProcessLookupError):
                self.signal(signal.SIGKILL)
        self.out.seek(0), self.err.seek(0)
        run = Run(self.words, rc, self.out.read(), self.err.read())
        self.files.close()
        RUNNING.remove(self)
        self.fab._note(run)
        return run


@dataclass
class Machine:
    """A booted machine, the laptop beside it and what is to be found again after each fault."""

    host: Host
    fab: Fab
    flavour: str
    before: list[str] = field(default_factory=list)
    fault: float = 0.0

    def start(self, *words: str, user: str = "root", **env: str) -> Attempt:
        return Attempt(
            self.fab,
            self.host,
            words,
            user,
            {f"LABFAB_{name.upper()}": value for name, value in env.items()},
        )

    def state(self) -> list[str]:
        """Fingerprint what decides who gets in, with modes and owners."""
        return self.host.run(STATE).splitlines()

    def wait_until(self, moment: str, timeout: float = 60) -> None:
        """Return as soon as a moment has come on the host, which counts as the fault's."""
        slow = f"until {ARMED}; do sleep 0.01; done; {SLOW}\n" if moment == ONLY else ""
        self.host.run(f"{slow}until {moment}; do sleep 0.01; done", timeout=timeout)
        self.fault = time.monotonic()

    @contextmanager
    def behind_our_back(self, moment: str, deed: str):
        """Do something on the host as root as soon as a moment has come."""
        script = f"until {moment}; do sleep 0.01; done; {deed}\necho done"
        command = [self.host.engine.command, "exec", "-i", self.host.id, "sh", "-c", script]
        hand = subprocess.Popen(
            command,
            env=self.host.engine.env,
            stdout=subprocess.PIPE,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        try:
            yield
            assert hand.communicate(timeout=5)[0].endswith("done\n"), "the fault was never there"
        finally:
            hand.kill()
            hand.communicate()

    def heals(self, case: str, what: str) -> None:
        """Insist that the old login works and nothing else is left; note how long that took since the fault."""
        end = time.monotonic() + 40
        while not self.is_healed():
            assert time.monotonic() < end, f"{case}: {self.host.run(LEFT)}"
            time.sleep(0.4)  # each look is a login and a command on the host
        TOOK.setdefault(case, (what, []))[1].append(time.monotonic() - self.fault)
        write_table()
        assert self.host.run(LEFT) == ""
        assert self.state() == self.before
        assert not probes.answering(self.host.address, [292])

    def is_healed(self) -> bool:
        try:
            return probes.takes_key(
                self.host.address, "root", 22, self.fab.home
            ) and not self.host.run(LEFT)
        except (OSError, EOFError, probes.paramiko.SSHException):
            return False


TOOK: dict[str, tuple[str, list[float]]] = {}


def write_table() -> None:
    """Write down what the cases took so far."""
    lines = ["| what went wrong | what happened | seconds |", "|---|---|---|"]
    for case, (what, took) in TOOK.items():
        lines.append(
            f"| {case} | {what} | {', '.join(sorted({f'{seconds:.0f}' for seconds in took}, key=int))} |"
        )
    (CACHE / f"faults-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}.md").write_text(
        "\n".join(lines) + "\n"
    )


@pytest.fixture(scope="module", params=["debian12", "ubuntu-like"])
def each(request, module_host, module_fab):
    """A machine whose sshd listens by itself, and one where systemd listens for it."""
    yield prepared(module_host(request.param, request.param), module_fab, request.param)


def prepared(host: Host, fab: Fab, flavour: str) -> Machine:
    """Give the machine what no case is about: the account and, where wanted, ufw."""
    fab.on(host, "keys.copy", env={"LABFAB_SUDO_PASSWORD": "Dachs-9-Hain"}).ok()
    for path in (".config/labfab", ".ssh/config"):
        place = fab.home / path
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    if flavour == "debian12":
        host.run(
            "(apt-get update && apt-get install -y --no-install-recommends ufw) >/dev/null 2>&1",
            timeout=300,
        )
    machine = Machine(host, fab, flavour)
    machine.before = machine.state()
    return machine


def test_the_laptop_dies(each):
    attempt = each.start("ssh.change-port", revert_after="8")
    each.wait_until(ONLY)
    attempt.signal(signal.SIGKILL)
    assert attempt.end().rc == -signal.SIGKILL
    end = (
        time.monotonic() + 3
    )  # systemd closes the sockets of both ports before it opens the new one
    while (found := probes.answering(each.host.address, [22, 292])) != [292]:
        assert time.monotonic() < end, f"these ports answer: {found}"
    each.heals(
        "the laptop dies right after the change (window of 8 s)",
        "the host took it back at the deadline",
    )


def test_the_next_run_tells_what_the_host_did_alone(each):
    """It follows the one above, whose laptop could not tell."""
    said = each.start("user.add").end().ok()
    assert (
        "the host reverted a change because no fresh login proved it: move sshd to port 292"
        in said.text
    )
    assert "reverted a change" not in each.start("user.add").end().ok().text


@pytest.mark.parametrize("how", ["reboot", "kill_power"])
def test_the_host_goes_down_while_armed(each, how):
    attempt = each.start("ssh.change-port", revert_after="60")
    each.wait_until(ONLY)
    attempt.signal(signal.SIGSTOP)
    getattr(each.host, how)(22)
    case = {
        "reboot": "the host reboots before the proof",
        "kill_power": "the power fails before the proof",
    }[how]
    each.heals(case, "the host took it back as it booted")
    attempt.signal(signal.SIGCONT)
    attempt.end().fails("could not move sshd to port 292", "the old login works again")


def test_the_proof_comes_too_late(each):
    attempt = each.start("ssh.change-port", revert_after="5")
    each.wait_until(ONLY)
    attempt.signal(signal.SIGSTOP)
    each.heals(
        "the laptop sleeps longer than the window (5 s)", "the host took it back at the deadline"
    )
    attempt.signal(signal.SIGCONT)
    attempt.end().fails("could not move sshd to port 292", "the old login works again")


def test_the_host_freezes(each):
    attempt = each.start("ssh.change-port", revert_after="5")
    each.wait_until(ONLY)
    each.host.pause()
    time.sleep(6)
    each.host.resume()
    run = attempt.end().fails("could not move sshd to port 292", "the old login works again")
    each.heals(
        "the host freezes for longer than the window (5 s)", "the host took it back as it woke up"
    )
    one_line(run)


def one_line(run: Run, words: str = "could not") -> None:
    """Insist on one line that tells what failed."""
    assert len(run.err.splitlines()) == 1 and words in run.err, run.text


@contextmanager
def outer_rule(rule: str, *address: str):
    """Have this machine's packet filter stand between the laptop and the host."""
    if not shutil.which("iptables") or not dockerd.possible():
        pytest.skip("this machine has no packet filter of its own to use")
    rules = [rule % one for one in address]
    try:
        for one in rules:
            assert dockerd.as_root(f"iptables -w -I {one}").returncode == 0
        yield
    finally:
        for one in rules:
            dockerd.as_root(f"iptables -w -D {one}")


def test_the_network_blocks_the_new_port(each):
    each.fault = time.monotonic()
    with outer_rule("OUTPUT -d %s -p tcp --dport 292 -j DROP", each.host.address):
        run = (
            each.start("ssh.change-port")
            .end()
            .fails("no answer within 3 s", "firewall", "the old login works again")
        )
    each.heals("a router drops the new port", "the proof failed, the change was taken back")
    one_line(run)


@pytest.fixture(scope="module")
def box(engine, module_host, module_fab):
    """One machine for everything that does not depend on who listens."""
    yield prepared(module_host("debian12", "box"), module_fab, "debian12")


def test_a_firewall_of_the_host_blocks_the_new_port(box):
    rule = "INPUT -p tcp --dport 292 -j DROP"
    box.host.run(f"iptables -I {rule}")
    box.fault = time.monotonic()
    run = (
        box.start("ssh.change-port")
        .end()
        .fails("no answer within 3 s", "firewall", "the old login works again")
    )
    box.heals(
        "another firewall of the host drops the new port",
        "the proof failed, the change was taken back",
    )
    box.host.run(f"iptables -D {rule}")
    one_line(run)


# case: moment, deed, words of the message
DEEDS = {
    "a broken file appears in sshd_config.d": (
        ARMED,
        "echo 'Nonsense yes' >/etc/ssh/sshd_config.d/99-bad.conf",
        "Bad configuration option",
    ),
    "sshd refuses to start: everybody can read its host keys": (
        ARMED,
        "chmod 644 /etc/ssh/ssh_host_*_key",
        "no hostkeys available",
    ),
    "sshd refuses to start: everybody can write to /run/sshd": (
        ARMED,
        "chmod 777 /run/sshd",
        "/run/sshd must be owned by root",
    ),
    "the key vanishes from authorized_keys": (
        ARMED,
        ": >/root/.ssh/authorized_keys",
        "refuses the key",
    ),
    "~/.ssh belongs to somebody else": (
        ARMED,
        "chown -R nobody /root/.ssh; chmod 777 /root/.ssh",
        "refuses the key",
    ),
    "the whole of /etc/ssh is deleted": (ARMED, "rm -rf /etc/ssh", "could not"),
    "the disk is full, sshd's own file was emptied": (
        ARMED,
        "head -c 9M /dev/zero >/small/filler; : >/etc/ssh/sshd_config",
        "could not",
    ),
}


@pytest.mark.parametrize("case", DEEDS)
def test_something_breaks_behind_our_back(box, case, small_disk):
    moment, deed, words = DEEDS[case]
    with box.behind_our_back(moment, deed):
        attempt = box.start("ssh.change-port")
        box.wait_until(moment)
        run = attempt.end().fails(
            "could not move sshd to port 292", words, "the old login works again"
        )
    box.heals(case, "the change or its proof failed, it was taken back")
    one_line(run)


@pytest.fixture
def small_disk(box, request):
    """Let /etc/ssh lie on a disk that is soon full, for the case that wants it."""
    if "disk" not in request.node.name:
        yield
        return
    disk = "mkdir /small && mount -t tmpfs -o size=1m,mode=755 tmpfs /small"
    box.host.run(f"{disk} && cp -a /etc/ssh /small/ssh && mount --bind /small/ssh /etc/ssh")
    yield
    box.host.run("umount /etc/ssh; umount /small; rmdir /small")


def test_the_disk_is_full_before_anything_is_changed(box):
    box.host.run("mkdir -p /var/lib/labfab; mount -t tmpfs -o size=64k tmpfs /var/lib/labfab")
    box.fault = time.monotonic()
    run = (
        box.start("ssh.change-port").end().fails("no space left on the host", "nothing was changed")
    )
    box.heals("the disk is full", "nothing was changed")
    box.host.run("umount /var/lib/labfab")
    one_line(run)


@pytest.mark.parametrize(
    "deed", ["echo 'Defaults nonsense !!! =' >/etc/sudoers", "chmod 666 /etc/sudoers"]
)
def test_sudo_breaks_behind_our_back(box, deed):
    with box.behind_our_back("[ -e /etc/sudoers.d/90-labfab ]", deed):
        attempt = box.start("user.add", user="lab", sudo="nopasswd", sudo_password="Dachs-9-Hain")
        box.wait_until(ARMED)
        run = attempt.end().fails(
            "could not let lab use sudo without a password",
            "cannot become root",
            "the old login works again",
        )
    box.heals("the rules of sudo break", "the proof failed, the change was taken back")
    assert box.host.run("runuser -u lab -- sudo -S -p '' id -u", input="Dachs-9-Hain\n") == "0"
    one_line(run)


def test_visudo_refuses_the_rule(box):
    refuse = (
        "printf '#!/bin/sh\necho no good; exit 1\n' >/usr/sbin/visudo; chmod +x /usr/sbin/visudo"
    )
    box.host.run(f"mv /usr/sbin/visudo /usr/sbin/visudo.kept; {refuse}")
    box.fault = time.monotonic()
    run = box.start("user.add", user="lab", sudo="nopasswd", sudo_password="Dachs-9-Hain").end()
    box.host.run("mv /usr/sbin/visudo.kept /usr/sbin/visudo")
    run.fails(
        "could not let lab use sudo without a password", "no good", "the old login works again"
    )
    box.heals("visudo refuses the rule", "the change failed, it was taken back")
    one_line(run)


SHUT = "sed -i '/^# End required lines/a -A ufw-before-input -p tcp --dport 22 -m conntrack --ctstate NEW -j DROP' /etc/ufw/before.rules"


def test_the_firewall_shuts_ssh_out(box):
    """A rule for new connections that ufw reads before those of labfab."""
    with box.behind_our_back(ARMED, SHUT):
        attempt = box.start("firewall.enable")
        box.wait_until("grep -q ENABLED=yes /etc/ufw/ufw.conf")
        run = attempt.end().fails(
            "could not switch the firewall on", "no answer within 3 s", "the old login works again"
        )
    box.heals("the firewall shuts SSH out", "the proof failed, the firewall was switched off again")
    assert "inactive" in box.host.run("ufw status")
    one_line(run)


def test_the_laptop_dies_as_the_firewall_shuts_ssh_out(box):
    with box.behind_our_back(ARMED, SHUT):
        attempt = box.start("firewall.enable", revert_after="12")
        box.wait_until("ufw status | grep -q 'Status: active'")
        attempt.signal(signal.SIGKILL)
        attempt.end()
    assert not probes.answering(box.host.address, [22])
    box.heals(
        "the firewall shuts SSH out and the laptop dies (window of 12 s)",
        "the host took it back at the deadline",
    )
    assert "inactive" in box.host.run("ufw status")
    box.host.run("rm /var/lib/labfab/reverted")


def test_the_line_loses_packets(box):
    """Whatever becomes of it, what was told is so."""
    loss = "-m statistic --mode random --probability 0.2 -j DROP"
    attempt = box.start("ssh.change-port", connect_timeout="10")
    box.wait_until(ARMED)
    with (
        outer_rule(f"OUTPUT -d %s {loss}", box.host.address),
        outer_rule(f"INPUT -s %s {loss}", box.host.address),
    ):
        run = attempt.end()
    if run.rc == 0:
        assert probes.takes_key(box.host.address, "root", 292, box.fab.home)
        box.host.run(
            "rm -r /etc/ssh/sshd_config.d/00-labfab.conf /etc/systemd/system/ssh.service.d\n"
            "systemctl daemon-reload; systemctl restart ssh"
        )
        (box.fab.home / ".ssh" / "config").unlink()
    else:
        run.fails("could not move sshd to port 292", "the old login works again")
        one_line(run)
    box.heals("a third of all packets is lost", "a slow proof, or the change was taken back")


def test_a_power_cut_in_the_middle_of_the_way_back(box):
    """cp is slowed down, so that the power fails between two files."""
    slow = "printf '#!/bin/sh\nsleep 0.4; exec /usr/bin/cp \"$@\"\n' >/usr/local/sbin/cp; chmod +x /usr/local/sbin/cp"
    attempt = box.start("ssh.change-port")
    box.wait_until(ONLY)
    attempt.signal(signal.SIGKILL)
    attempt.end()
    box.host.run(
        f"{slow}; for f in /etc/ssh/ssh_host_* /etc/ssh/sshd_config; do echo broken >$f; done; rm -f /etc/ssh/moduli"
    )
    box.host.engine.run(
        "exec", "-d", box.host.id, "sh", "/var/lib/labfab/guard/guard.sh", "revert", "deadline"
    )
    box.wait_until(
        '[ -e /var/lib/labfab/guard/reverting ] && [ -z "$(grep -l broken /etc/ssh/sshd_config)" ] || [ -e /etc/ssh/moduli ]'
    )
    assert box.host.run("grep -l broken /etc/ssh/* || true")
    box.host.kill_power(22)
    box.heals("the power fails while the change is taken back", "the host went on as it booted")
    box.host.run("rm /usr/local/sbin/cp; rm -f /var/lib/labfab/reverted")


RACE = """\
cd /; rm -rf /tmp/race; mkdir -p /tmp/race/etc; G=/var/lib/labfab/guard
for round in $(seq 30); do
  mkdir -p -m 700 $G; cat >$G/guard.sh </tmp/guard.sh; echo before >/tmp/race/etc/file
  PATHS=/tmp/race/etc FOLDERS= RUN_SSHD=true SECONDS_LEFT=60 WHY=race sh $G/guard.sh arm r$round || echo unarmed
  echo after >/tmp/race/etc/file
  ( sh /tmp/guard.sh disarm r$round 2>/dev/null; echo $? >/tmp/race/disarm ) &
  ( sh /tmp/guard.sh revert asked r$round 2>/dev/null; echo $? >/tmp/race/revert ) &
  ( sh /tmp/guard.sh revert deadline r$round 2>/dev/null ) &
  wait
  echo "$(cat /tmp/race/disarm) $(cat /tmp/race/revert) $(cat /tmp/race/etc/file) $(ls -d $G 2>/dev/null)"
done
rm -rf /tmp/race /tmp/guard.sh /var/lib/labfab/reverted
"""


def test_a_revert_and_a_disarm_race(box):
    box.host.run(
        "cat >/tmp/guard.sh",
        input=loader.words("Linux") + loader.script("guard", "Linux"),
    )
    rounds = box.host.run(RACE).splitlines()
    assert len(rounds) == 30 and set(map(str.strip, rounds)) <= {"0 3 after", "1 0 before"}, rounds
    assert box.host.run(LEFT) == ""


def test_the_next_run_settles_what_a_dead_one_left(box):
    attempt = box.start("ssh.change-port", revert_after="600")
    box.wait_until(BOTH)
    attempt.signal(signal.SIGKILL)
    attempt.end()
    time.sleep(1)
    said = box.start("user.add").end().ok()
    assert (
        "an earlier run was interrupted: move sshd to port 292; reverting that change now"
        in said.text
    )
    box.heals("the laptop dies, the same command is typed again", "the next run took it back")


def test_two_runs_at_once(box):
    attempt = box.start("ssh.change-port", revert_after="30")
    box.wait_until(ARMED)
    attempt.signal(signal.SIGSTOP)
    run = box.start("user.add").end().fails("another run of labfab is at work there")
    attempt.signal(signal.SIGKILL)
    attempt.end()
    box.wait_until("flock -n /run/labfab/lock true")
    box.start("user.add").end().ok()
    box.heals("a second run while one is at work", "the second one stopped and said so")
    one_line(run, "another run")
