"""What setup.full prints at its end: aligned, without secrets in a pipe, and what is left to do."""

from types import SimpleNamespace

import pytest

from labfab import setup
from labfab.host.session import Login
from labfab.local_state import secrets
from labfab.run.runner import Duration
from labfab.run.task import HostTask
from labfab.settings import Settings
from labfab.setup.summary import summarize, times
from tests.fake import alone

__all__ = ["alone"]

ALIAS = "homelab"


def host(*changes: str) -> SimpleNamespace:
    """Return a host that this run has changed."""
    login = Login("lab", 292, None)
    return SimpleNamespace(
        changes=changes,
        login=login,
        c=SimpleNamespace(host="203.0.113.5"),
        stored_secret=lambda want, name: secrets.load(ALIAS, name),
    )


def summary(capsys, want: Settings, *changes: str, reboot: bool = False) -> dict[str, list[str]]:
    """Return the lines of a summary, by their labels."""
    summarize(host(*changes), want, ALIAS, reboot, [Duration("keys", 2.0)])
    found: dict[str, list[str]] = {}
    for line in capsys.readouterr().out.splitlines():
        label, _, text = line.partition("  ")
        found.setdefault(label, []).append(text.strip())
    return found


@pytest.mark.parametrize("user", ["lab", "cloud-user"])
def test_labels_and_texts_are_apart_however_long_a_name_is(alone, capsys, user):
    secrets.store(ALIAS, "sudo-password", "of 14 letters and more")
    said = summary(capsys, Settings(user=user))
    assert said[f"sudo of {user}"] == [f"in {secrets.path_of(ALIAS, 'sudo-password')}"]
    assert said["shell"] == ["ssh homelab"] and said["all tasks"] == ["fab --list"]


def test_what_is_left_to_do_is_told_after_a_change_only(alone, capsys):
    published = Settings(publish="apache", names=["lab.example.test"])
    assert "to do" not in summary(capsys, published)
    assert summary(capsys, Settings(), "a change")["to do"] == [
        "open TCP 292 in your router or cloud firewall"
    ]
    assert summary(capsys, published, "a change", reboot=True)["to do"] == [
        "open TCP 292, 80, 443 in your router or cloud firewall",
        "trust this lab in your browsers: fab -H homelab https.trust",
        "reboot: fab -H homelab system.reboot",
    ]


def test_the_time_is_that_of_the_run_and_early_work_counts_apart():
    took = [Duration("keys", 2.0), Duration("packages", 6.3, parallel=True), Duration("Lab", 18.04)]
    assert times(took) == "20.0 s in all; keys 2.0 s, Lab 18.0 s; in parallel: packages 6.3 s"
    assert times([Duration("keys", 0.01)]) == "0.0 s in all"


def test_a_task_stays_a_task_when_its_module_is_loaded():
    """labfab.setup.undo(c) is one way to reuse labfab."""
    from labfab.setup import history, undoing

    assert history and undoing
    tasks = (setup.full, setup.ubuntu, setup.macos_, setup.plan_, setup.journal_, setup.undo)
    assert all(isinstance(task, HostTask) for task in tasks)
