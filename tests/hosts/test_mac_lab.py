"""JupyterLab on the double of a Mac: Python, tmux, launchd, updates, sleep, jobs, backup, the table, and the way back."""

import json
import re
import subprocess
import time

import pytest

from labfab.laptop import api, kernel
from tests.rig import installer, mac, mac_report, network

pytestmark = pytest.mark.host

UPDATES = [
    {
        "label": "Command Line Tools for Xcode 26.5-26.5",
        "title": "Command Line Tools for Xcode 26.5",
        "version": "26.5",
    },
    {
        "label": "macOS Tahoe 26.6-25G80",
        "title": "macOS Tahoe 26.6",
        "version": "26.6",
        "restart": True,
    },
]
PLIST = "/Library/LaunchDaemons/org.labfab.jupyter.plist"
# What the stages of this file leave on a Mac, and must take away again.
STATE = """\
find /Library/LaunchDaemons /Library/Preferences /Users -type f ! -path '/Users/lab/*' \\
  ! -name .zsh_history ! -name '*.PowerManagement.plist' -exec shasum {} + | sort
pmset -g custom; launchctl list | cut -f 3 | sort; launchctl print-disabled system; dscl . -list /Users UniqueID
ls -d /var/cache/labfab /var/lib/labfab /Users/lab 2>/dev/null; pgrep -f '[j]upyter-lab'; true
"""


@pytest.fixture(scope="module")
def mirror(engine):
    """Serve the installer where hosts can reach it."""
    address = str(next(network.ensure(engine).hosts()))
    file = installer.build("miniforge", system="Darwin", machine="arm64")
    with installer.serve(file.parent, address=address) as server:
        server.file_for_macs = file
        yield server


@pytest.fixture(scope="module")
def box(module_host):
    host = module_host("mac")
    mac.switch(host, "updates", json.dumps(UPDATES))
    mac.switch(host, "command-line-tools", False)
    host.before = host.run(STATE)
    return host


@pytest.fixture(scope="module")
def run(box, module_fab, mirror):
    """Run fab: first with the administrator's login, then with the name that the Mac has."""
    env = installer.settings("miniforge", mirror.url, mirror.file_for_macs)

    def later(*words: str, **settings: str):
        return module_fab(
            "-H",
            "homelab",
            *words,
            env=env | {f"LABFAB_{name.upper()}": value for name, value in settings.items()},
        )

    later.first = module_fab.on(box, "setup.full", user="admin", env=env)
    return later


def rows(run, area: str = "all") -> dict[str, dict]:
    return {row["id"]: row for row in json.loads(run(f"check.{area}", "--json").out)["checks"]}


def bad(found: dict[str, dict]) -> dict[str, str]:
    return {name: row["detail"] for name, row in found.items() if row["state"] != "ok"}


def wait_for_lab(run) -> str:
    end = time.monotonic() + 90
    while "answers" not in (said := run("lab.status").text):
        assert time.monotonic() < end, said
        time.sleep(1)
    return said


def test_the_whole_guide_from_a_fresh_mac(run, module_fab):
    """Updates that need no restart, Python and tmux from conda-forge, the Lab behind the tunnel; others are named."""
    said = run.first.ok().text
    assert "install Command Line Tools for Xcode 26.5-26.5" in said and "install tmux" in said
    assert "not installed yet, needs a restart: macOS Tahoe 26.6-25G80; set reboot: true" in said
    assert "this Mac sleeps after 1 min" in said
    url = re.search(r"http://127\.0\.0\.1:\d+", run("tunnel.open").ok().out).group()
    assert kernel.accepts_password(
        f"{url}/", (module_fab.home / ".config/labfab/homelab/jupyter-password").read_text().strip()
    )


def test_a_second_run_changes_nothing(run, box):
    before = box.run(STATE)
    assert "nothing to change" in run("setup.full").ok().out
    assert box.run(STATE) == before


def test_its_locale_is_one_that_a_mac_has(run, box):
    said = box.run(
        "tr '\\0' '\\n' </proc/$(pgrep -f '[j]upyter-lab' | head -n 1)/environ | grep ^LC_; LC_ALL=C.UTF-8 perl -e 1 2>&1"
    )
    assert said.splitlines()[0] == "LC_ALL=en_US.UTF-8" and "Setting locale failed" in said


def test_the_table_has_every_row(run):
    """What labfab does not change by itself is a warning: sudo without a password, sleep, an update that restarts."""
    found = rows(run)
    assert set(bad(found)) == {"host-sudo", "host-sleep", "host-updates"}, bad(found)
    assert found["ports-firewall"]["detail"].startswith("macOS's own is off")
    assert found["ports-answering"]["detail"].startswith("22, 292")


@pytest.mark.parametrize(
    ("sabotage", "back", "row"),
    [
        (
            "touch -t 202001010000 /var/cache/labfab/softwareupdate",
            "touch /var/cache/labfab/softwareupdate",
            "host-updates",
        ),
        (
            "chmod 644 /Users/lab/.jupyter/jupyter_server_config.json",
            "chmod 600 /Users/lab/.jupyter/jupyter_server_config.json",
            "secrets-jupyter",
        ),
        (
            "chmod 644 /etc/ssh/ssh_host_rsa_key",
            "chmod 600 /etc/ssh/ssh_host_rsa_key",
            "secrets-host-keys",
        ),
        (
            "echo 'PasswordAuthentication yes' >/etc/ssh/sshd_config.d/0.conf",
            "rm /etc/ssh/sshd_config.d/0.conf",
            "ssh-password",
        ),
        (
            "su -l lab -c '/Users/lab/miniforge3/bin/tmux kill-session -t jupyter'; sleep 2",
            "",
            "lab-api",
        ),
    ],
)
def test_sabotage_turns_its_row(run, box, sabotage, back, row):
    box.run(sabotage)
    try:
        found = rows(run)[row]
        assert found["state"] in ("fail", "warn"), found
    finally:
        box.run(back or "true")
    if not back:
        run("lab.start").ok()


def test_a_mac_stays_awake_where_that_is_wanted(run, box):
    assert "keep the Mac awake" in run("power.keep-awake", keep_awake="true").ok().out
    assert "nothing to change" in run("power.keep-awake", keep_awake="true").ok().out
    assert rows(run, "host")["host-sleep"]["state"] == "ok"
    assert re.search(r"(?m)^ womp +1$", box.run("pmset -g")) and re.search(
        r"(?m)^ autorestart +1$", box.run("pmset -g")
    )


def test_a_job_runs_by_itself_and_a_backup_holds_it(run, box, tmp_path):
    """Without systemd a job has a session of its own; what it wrote comes back, also by rsync."""
    notebook = {
        "cells": [
            {
                "cell_type": "code",
                "source": "print(6 * 7)",
                "metadata": {},
                "outputs": [],
                "execution_count": None,
            }
        ],
        "metadata": {},
        "nbformat": 4,
        "nbformat_minor": 4,
    }
    (tmp_path / "sum.ipynb").write_text(json.dumps(notebook))
    run("lab.submit", str(tmp_path / "sum.ipynb")).ok()
    end = time.monotonic() + 90
    while json.loads(run("lab.jobs", "--json").out)["jobs"][0]["state"] != "done":
        assert time.monotonic() < end, run("lab.jobs").text
        time.sleep(1)
    run("lab.fetch", "--to", str(tmp_path)).ok()
    assert "42" in (tmp_path / "sum.executed.ipynb").read_text()
    run("files.push", str(tmp_path / "sum.ipynb")).ok()
    assert box.run("stat -f %Su /Users/lab/notebooks/sum.ipynb").strip() == "lab"
    run("backup.create", "--to", str(tmp_path / "kept")).ok()
    assert list((tmp_path / "kept").rglob("notebooks/sum.ipynb"))


def test_launchd_starts_it_again_after_a_restart(run, box):
    """As its own account, with its log closed to others; killed, it comes back; stopped, it stays away until the next start."""
    assert "make launchd start JupyterLab at boot" in run("lab.service").ok().out
    assert "nothing to change" in run("lab.service").ok().out
    assert box.run(f"stat -f '%Su:%Sg %Lp' {PLIST}").strip() == "root:wheel 644"
    assert "by launchd" in wait_for_lab(run)
    run("system.reboot").ok()
    assert "by launchd" in wait_for_lab(run) and not bad(rows(run, "lab"))
    pid = json.loads(run("lab.status", "--json").out)["pid"]
    box.run(f"kill -KILL {pid}")
    end = time.monotonic() + 60
    while json.loads(run("lab.status", "--json").out)["pid"] in (None, pid):
        assert time.monotonic() < end
        time.sleep(1)
    run("lab.stop").ok()
    assert "does not run" in run("lab.status").text and "inactive" not in run("lab.start").ok().text
    assert box.run("stat -f '%Su %Lp' /Users/lab/.jupyter/lab.log").strip() == "lab 600"


def test_on_a_socket_only_its_own_account_gets_in(run, box, module_fab):
    """The alias leads to that account; the administrator and root's questions go through its login."""
    on = {"listen": "socket"}
    words = ["ssh", "-F", str(module_fab.home / ".ssh/config"), "-o", "BatchMode=yes"]
    words += ["-o", f"UserKnownHostsFile={module_fab.home}/.ssh/known_hosts"]
    for name, account in (("homelab", "lab"), ("homelab-admin", "admin")):
        done = subprocess.run([*words, name, "id -un"], capture_output=True, text=True, timeout=60)
        assert done.stdout.strip() == account, done.stderr
    run("lab.restart", "--yes", **on).ok()
    said = box.run("stat -f '%Su %Lp' /Users/lab/.jupyter/lab.sock /Users/lab/.jupyter")
    assert said.split() == ["lab", "600", "lab", "700"]
    found = rows(lambda *more: run(*more, **on), "lab")
    assert not bad(found) and found["lab-loopback"]["detail"].endswith("no port"), found
    for _ in range(2):  # the second time through the open tunnel alone
        address, _, token = (
            run("lab.url", "--with-token", **on).ok().out.strip().partition("?token=")
        )
        assert api.code(address, token) == 200
    said = run("jupyter.password", "--rotate", "--yes", **on).ok().text
    assert "refused; the new password: accepted" in said
    assert "nothing to change" in run("setup.full", **on).ok().out
    run("lab.restart", "--yes").ok()


@pytest.mark.parametrize("state", ["on", "soon"])
def test_filevault_keeps_labfab_from_a_restart(run, box, state):
    mac.switch(box, "filevault", state)
    try:
        before = box.boot_id()
        run("system.reboot").fails("FileVault is on", "sudo fdesetup authrestart")
        run("system.update", reboot="true").fails(
            "FileVault is on", "reboot: false leaves that out"
        )
        assert box.boot_id() == before
    finally:
        mac.switch(box, "filevault", False)


def test_apple_silicon_wants_an_owner_s_password(run):
    said = run("system.update", reboot="true").ok().text
    assert (
        "takes the password of an owner of the disk" in said
        and "--user admin" in said
        and "nothing to change" in said
    )


@pytest.mark.parametrize(
    "question", mac_report.QUESTIONS, ids=lambda question: question.command[:40]
)
def test_the_report_expects_what_the_double_says(box, question):
    """Else the report on a real Mac would compare with something else than labfab was tried with."""
    text = f"exec 2>&1\n{mac_report.WORDS if question.words else ''}\n{question.command}\n"
    said = box.run(
        "sh -s"
        if question.root
        else "sudo -n -H -u admin env PATH=/usr/bin:/bin:/usr/sbin:/sbin sh -s; true",
        input=text,
    )
    assert mac_report.fits(question, said.strip("\n"), "admin"), said


def test_undo_gives_the_mac_of_before(run, box):
    """But for the updates, and the home, which has notebooks."""
    run("setup.undo", "--yes").ok()
    assert box.run(STATE) == box.before
    assert box.run("ls /private/var/backups/labfab | grep -c '^lab-'").strip() == "1"
