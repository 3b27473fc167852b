"""Many booted hosts at once, through the public command line: at a terminal, with bad ones among them, and cut off by Ctrl-C."""

import json
import re
import stat
import time

import pytest

from tests.rig import Host
from tests.rig.fab import Fab
from tests.rig.terminal import terminal

pytestmark = pytest.mark.host

SHARED, OTHER, SUDO = "shared pässword", "other pässword", "sudo pässword"
VENV = {"LABFAB_PYTHON": "venv", "LABFAB_UPDATE": "false", "LABFAB_ALIAS": "{host}"}


def login(host: Host, user: str = "root") -> str:
    return f"{user}@{host.address}" + (f":{host.port}" if host.port != 22 else "")


def know(fab: Fab, *hosts: Host) -> None:
    """Pin the keys, each host's own, as a first login at a terminal would."""
    with open(fab.home / ".ssh" / "known_hosts", "a") as known:
        for host in hosts:
            name = f"[{host.address}]:{host.port}" if host.port != 22 else host.address
            known.write(f"{name} {host.host_key()}\n")


def results(out: str) -> dict[str, str]:
    """The recap: host -> result."""
    return dict(
        re.findall(r"^(\S+@\S+)  +([a-z]+) +\d+ +.* s$", out.replace("\r", ""), re.MULTILINE)
    )


def test_several_are_set_up_at_once_and_a_second_run_changes_nothing(host, fab):
    """Each with a log for you alone; the same machine under two names is worked on once."""
    boxes = [host("debian12", "one"), host("debian13", "two")]
    know(fab, *boxes)
    names = ",".join(map(login, boxes))
    first = fab("-H", names, "setup.full", env=VENV).ok()
    assert set(results(first.out).values()) == {"done"} and "2 of 2 hosts done" in first.out
    logs = list((fab.home / ".local/state/labfab/log").glob("*/*.log"))
    assert len(logs) == 2 and all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in logs)
    assert all("install" in path.read_text() for path in logs)
    again = fab(
        "-H", f"{names},{boxes[0].address}", "setup.full", env=VENV | {"LABFAB_RECAP": "json"}
    ).ok()
    found = json.loads(again.out)
    assert found["summary"] == {"hosts": 2, "done": 2, "changes": 0}
    assert (
        f"{boxes[0].address} is the same login as {login(boxes[0])}: it runs only once" in again.err
    )


def test_bad_hosts_among_good_ones_are_told_of_and_stop_nobody(host, fab):
    """One that is frozen, one with another host key, one that nobody listens at: a recap, what to type, exit code 1."""
    good, frozen, other = (host("debian12", name) for name in ("good", "frozen", "other"))
    know(fab, good, frozen)
    with open(fab.home / ".ssh" / "known_hosts", "a") as known:
        known.write(
            f"{other.address if other.port == 22 else f'[{other.address}]:{other.port}'} {good.host_key()}\n"
        )
    names = [login(box) for box in (good, frozen, other)] + ["root@127.0.0.1:1"]
    frozen.pause()
    try:
        with terminal(
            fab, "-H", ",".join(names), "user.add", env=VENV | {"LABFAB_CONNECT_TIMEOUT": "5"}
        ) as tty:
            assert tty.ends() == 1
    finally:
        frozen.resume()
    assert results(tty.seen) == dict(
        zip(names, ("done", "failed", "failed", "failed"), strict=True)
    )
    for words in (
        "no answer on port",
        "THE HOST KEY HAS CHANGED",
        "nothing listens on port 1",
        "1 of 4 hosts done",
    ):
        assert words in tty.seen, tty.seen
    assert (
        f"to run it again there: fab -H {','.join(names[1:])}" in tty.seen
        and "Traceback" not in tty.seen
    )
    assert good.run("id -nG lab").split() == ["lab", "sudo"]


def test_what_must_be_asked_is_asked_first_and_once(host, fab):
    """Host keys one by one, the password for all, then for the one that refuses it; sudo takes what it knows."""
    boxes = [host("debian12", "one", password=SHARED), host("debian12", "two", password=OTHER)]
    cloud = host("debian13", "cloud", user="debian", nopasswd=False, password=SHARED)
    fab.secrets |= {SHARED, OTHER}
    names = [*map(login, boxes), login(cloud, "debian")]
    with terminal(fab, "-H", ",".join(names), "user.add", env=VENV) as tty:
        for box in (*boxes, cloud):
            tty.sees(box.host_key_fingerprint()).sees("[y/N]").types("yes")
        tty.sees(f"password of {', '.join(names)} (the same for all").types(SHARED)
        tty.sees(f"password of {names[1]}:").types(OTHER)
        assert tty.ends() == 0, tty.seen
    assert set(results(tty.seen).values()) == {"done"}
    assert tty.seen.count("password of") == 2 and SHARED not in tty.seen
    for log in (fab.home / ".local/state/labfab/log").glob("*/*.log"):
        assert SHARED not in log.read_text() and OTHER not in log.read_text()


def test_without_a_terminal_nobody_waits_for_an_answer(host, fab):
    box = host("debian12", "one")
    run = fab("-H", f"{login(box)},root@127.0.0.1:1", "user.add", env=VENV, timeout=60)
    run.fails("unknown host key", "LABFAB_HOST_KEY=SHA256:", "0 of 2 hosts done")


def test_ctrl_c_ends_all_and_armed_changes_are_taken_back(host, fab):
    """Each host is in the middle of a change to its access, which no login can prove; one Ctrl-C, exit code 130."""
    boxes = [host("debian12", "one"), host("debian12", "two")]
    know(fab, *boxes)
    names = ",".join(map(login, boxes))
    fab("-H", names, "firewall.enable", env=VENV).ok()
    for box in boxes:
        box.run("iptables -I INPUT -p tcp --dport 2300 -j DROP")
    before = [
        box.checksums()["etc/ssh/sshd_config.d/00-labfab.conf"] if has_drop_in(box) else ""
        for box in boxes
    ]
    with terminal(
        fab,
        "-H",
        names,
        "ssh.change-port",
        env=VENV | {"LABFAB_SSH_PORT": "2300", "LABFAB_REVERT_AFTER": "12"},
    ) as tty:
        wait(
            lambda: all(
                "guard.sh" in box.run("ls /var/lib/labfab/guard 2>/dev/null || true")
                for box in boxes
            )
        )
        wait(lambda: all("2300" in box.run("ss -ltn") for box in boxes))
        tty.presses("\x03")
        assert tty.ends() == 130, tty.seen
    assert "Traceback" not in tty.seen and set(results(tty.seen).values()) == {"stopped"}
    assert tty.seen.count("stopped: the host will revert the change by itself within 12 s") == 2
    wait(lambda: not any("2300" in box.run("ss -ltn") for box in boxes))
    assert before == [
        box.checksums()["etc/ssh/sshd_config.d/00-labfab.conf"] if has_drop_in(box) else ""
        for box in boxes
    ]
    fab(
        "-H", names, "lab.status", env=VENV
    )  # it comes in by the old port, and tells that a change was taken back


def has_drop_in(box: Host) -> bool:
    return "00-labfab.conf" in box.run("ls /etc/ssh/sshd_config.d")


def wait(what, patience: float = 60) -> None:
    """Wait until something is so."""
    end = time.monotonic() + patience
    while not what():
        assert time.monotonic() < end, "it does not come to that"
        time.sleep(0.3)
