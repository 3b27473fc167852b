"""Busy kernels are ended only with consent, even if the settings have changed since."""

import pytest

from labfab.errors import SetupError
from labfab.host.shell import Result
from labfab.server import busy_kernels
from labfab.settings import Settings
from tests.server.activity import KERNEL, blob

BUSY = f"kernels.7={blob([KERNEL])}"
# It runs, and listens where an earlier configuration said.
ELSEWHERE = {"session": "yes", "stale": "yes"}


def ask(c, yes: bool = False) -> None:
    busy_kernels.require(c, Settings.of(c), yes, "restart")


@pytest.mark.parametrize(
    "have", [ELSEWHERE, {"service": "yes"}, {"session": "yes", "owner": "lab", "pid": "7"}]
)
def test_kernels_of_a_lab_with_other_settings_count(ready, have):
    """Another port, scheme or path since it started: a restart would still end its kernels."""
    model = ready(BUSY)
    model.sections["lab"] |= have
    with pytest.raises(
        SetupError,
        match="python3 is running code right now, and a restart would end that: wait, or add --yes",
    ):
        ask(model.c)
    assert "run_script_as lab " in model.told[-1]


@pytest.mark.parametrize(
    "answer", ["", "bm8=", blob({"message": "Forbidden"}), blob([1]), blob([{"id": "x"}])]
)
def test_a_lab_that_does_not_tell_counts_as_busy(ready, answer):
    """A wrong token, a server that hangs: nobody knows what a restart would end."""
    model = ready(f"kernels.7={answer}", "parent.7=yes")
    model.sections["lab"] |= {"session": "yes", "owner": "lab", "pid": "7", "api": "2.21.0"}
    with pytest.raises(
        SetupError, match=r"JupyterLab \(pid 7\) does not report what it is running, and a restart"
    ):
        ask(model.c)
    ask(model.again(), yes=True)


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["kernels.7="],
        [f"kernels.7={blob([KERNEL | {'execution_state': 'idle'}])}", "parent.7=yes"],
    ],
)
def test_what_computes_nothing_needs_no_yes(ready, lines):
    """No server, a server without child processes, and one with idle kernels."""
    model = ready(*lines)
    model.sections["lab"] |= ELSEWHERE
    ask(model.c)


def test_where_the_account_cannot_be_asked_nothing_is_ended(ready):
    model = ready()
    model.sections["lab"] |= ELSEWHERE
    model.answers = [(r"\[activity\]", Result(1, "", "runuser: cannot set user id: x"))]
    with pytest.raises(
        SetupError, match="cannot ask as lab what computes there: runuser: cannot set"
    ):
        ask(model.c)


def test_where_nothing_runs_nothing_is_asked(ready):
    model = ready(BUSY)
    ask(model.c)
    model.sections["lab"] |= {"owner": "root", "pid": "1"}
    ask(model.again())
    assert model.questions == []
