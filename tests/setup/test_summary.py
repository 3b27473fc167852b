"""What setup.full prints at its end: aligned, without secrets in a pipe, and what is left to do."""

from types import SimpleNamespace

import pytest

from labfab import setup
from labfab.errors import SetupError
from labfab.host.session import Host, Login
from labfab.host.shell import ConnectionLost
from labfab.local_state import secrets
from labfab.run.runner import Duration
from labfab.run.task import HostTask
from labfab.settings import Settings
from labfab.setup.summary import stopped, summarize, times
from labfab.stages import firewall
from tests.fake import alone, fake

__all__ = ["alone", "fake"]

ALIAS = "homelab"


def host(*changes: str) -> SimpleNamespace:
    """Return a host that this run has changed."""
    login = Login("lab", 292, None)
    return SimpleNamespace(
        changes=changes,
        login=login,
        c=SimpleNamespace(host="203.0.113.5", gateway=None),
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


def test_a_run_that_stops_says_what_stays_and_how_it_goes_on(alone, capsys):
    secrets.store(ALIAS, "sudo-password", "of 14 letters and more")
    box = host("a", "b")
    stopped(box, Settings(), ALIAS, ["user", "keys"], False, "homelab-admin")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6 and "of 14 letters" not in str(lines)
    assert lines[1:] == [
        "stopped       2 changes stay; complete: user, keys",
        "log in        ssh homelab-admin (that is ssh -p 292 lab@203.0.113.5)",
        f"kept          {secrets.path_of(ALIAS, 'sudo-password')}",
        "firewall      not on yet",
        "next          fix the problem, then type the same command: it resumes here",
    ]


def test_a_run_that_stops_before_its_first_change_says_nothing(alone, capsys):
    stopped(host(), Settings(), ALIAS, [], False)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("on", "wanted", "said"), [(True, True, "on"), (False, False, "as it was")]
)
def test_the_state_of_the_firewall_is_said(alone, capsys, on, wanted, said):
    stopped(host("a"), Settings(firewall=wanted), ALIAS, [], on)
    assert f"firewall      {said}\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    "error", [SetupError("x"), ConnectionLost("x"), KeyboardInterrupt(), ZeroDivisionError()]
)
@pytest.mark.parametrize("dry", [False, True])
def test_whatever_stops_a_run_is_followed_by_what_stays(fake, capsys, error, dry):
    """No question is asked of a host that may not answer any more."""
    model = fake(dry=dry)
    runner = SimpleNamespace(completed=["user"])
    with (
        pytest.raises(type(error)),
        setup.told_if_stopped(model.c, Settings.of(model.c), runner),
    ):
        Host.of(model.c).record(firewall.ON)
        asked = len(model.told)
        raise error
    out = capsys.readouterr().out
    assert ("1 change stays; complete: user" in out and "firewall      on" in out) is not dry
    assert len(model.told) == asked


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
