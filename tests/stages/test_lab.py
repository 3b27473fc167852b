"""JupyterLab in a tmux session: started once, reported, stopped."""

import pytest

from labfab.errors import SetupError
from labfab.host.shell import Result
from labfab.stages import lab, python
from labfab.stages.lab import lifecycle

START = ["install tmux", "keep lab's programs running after logout", "start JupyterLab"]


@pytest.fixture
def ready(fake):
    """A host with Python and JupyterLab in place."""

    def make(**settings):
        model = fake(**({"python": "venv"} | settings))
        python.install(model.c)
        model.again()
        return model

    return make


def running(model, owner: str = "lab", **more: str) -> None:
    model.sections["lab"] |= {
        "session": "yes",
        "owner": owner,
        "pid": "4711",
        "holder": "jupyter-lab",
        "api": "2.21.0",
    } | more


def test_it_starts_once(ready):
    """A start configures, lets programs linger and waits for an answer; the next one finds it running."""
    model = ready()
    lab.start(model.c)
    assert model.whys[-3:] == START and model.writes[-1].user == "lab"
    assert model.writes[-1].command.startswith("set -- jupyter-venv ")
    assert "exec $runtime ~/$1/bin/jupyter-lab" in model.writes[-1].command
    assert "http://127.0.0.1:9999/api" in model.questions[-1]
    lab.start(model.again())
    assert model.whys == [] and model.questions == []


@pytest.mark.parametrize(
    ("facts", "starts"),
    [
        ({}, True),
        ({"version.jupyter_server": "2.20.0"}, False),
        ({"half": "yes"}, False),
        ({"unfinished": "yes"}, False),
    ],
)
def test_ahead_of_its_turn_only_what_needs_no_work_is_started(ready, facts, starts):
    """An old or half-installed JupyterLab is repaired first, by the stage `python`."""
    model = ready()
    model.sections["python"] |= {"version.jupyter_server": "2.21.0"} | facts
    lifecycle.start_early(model.c)
    assert ("start JupyterLab" in model.whys) == starts


def test_without_python_it_names_the_task(fake):
    """On a bare host nothing is changed, and the task that helps is named."""
    model = fake()
    with pytest.raises(SetupError, match="type python.install first"):
        lab.start(model.c)
    assert model.writes == []


@pytest.mark.parametrize("stale", [{}, {"stale": "yes"}])
def test_one_that_is_ending_is_waited_for_and_a_new_one_started(ready, stale):
    """After File > Shut Down session and process last until all kernels have ended."""
    model = ready()
    lab.start(model.c)
    model.again()
    model.sections["lab"] = {"session": "yes"} | stale
    answers = [end(model), Result(0, "", "")]
    model.answers.insert(0, ("/api", lambda: answers.pop(0)() if len(answers) > 1 else answers[0]))
    lab.start(model.c)
    assert model.whys == ["start JupyterLab"]


def end(model):
    """Let JupyterLab and its session end while somebody waits for it."""

    def ended() -> Result:
        model.sections["lab"] = {}
        return Result(1, "", "")

    return ended


def test_one_that_neither_answers_nor_ends_is_left_alone(ready):
    """Its kernels may be at work: nothing is started over it."""
    model = ready()
    lab.start(model.c)
    model.again()
    model.sections["lab"] = {"session": "yes"}
    model.answers.insert(0, ("/api", Result(1, "last words", "")))
    with pytest.raises(SetupError, match="does not answer .*: last words"):
        lab.start(model.c)
    assert model.whys == []


def test_a_port_of_somebody_else_is_left_alone(ready):
    """JupyterLab is neither started nor stopped: the error names the program that has the port."""
    model = ready()
    running(model, "root", holder="nginx")
    with pytest.raises(
        SetupError, match="port 9999 is taken by nginx of root: choose another lab_port"
    ):
        lab.start(model.c)
    with pytest.raises(SetupError, match="belongs to root, so it is not yours to stop"):
        lab.stop(model.c)
    assert model.writes == []


def test_a_server_that_does_not_answer_is_told_with_its_log(ready):
    """The last lines of the log are in the error."""
    model = ready()
    model.answers = [
        (
            "tail -n 3 ~/.jupyter/lab.log",
            Result(1, "Traceback\nModuleNotFoundError: No module named 'x'\n", ""),
        )
    ]
    with pytest.raises(SetupError, match="does not answer on port 9999: .*ModuleNotFoundError"):
        lab.start(model.c)


def test_a_session_that_is_still_starting_is_waited_for(ready):
    """A tmux session that does not answer yet is not started twice."""
    model = ready()
    model.sections["lab"]["session"] = "yes"
    lab.start(model.c)
    assert "start JupyterLab" not in model.whys and model.questions


def test_an_older_configuration_in_memory_is_told(ready, capsys):
    """A running Lab is never restarted without being asked; a note says that it should be."""
    model = ready()
    running(model, stale="yes")
    lab.start(model.c)
    assert "lab.restart" in capsys.readouterr().out and "start JupyterLab" not in model.whys


@pytest.mark.parametrize(
    "facts, whys",
    [
        ({"pid": "4711", "owner": "lab", "session": "yes"}, ["stop JupyterLab"]),
        ({"session": "yes"}, ["end the tmux session jupyter"]),
        ({}, []),
    ],
)
def test_it_stops_what_there_is(ready, facts, whys):
    """Stops the process if there is one, else the empty session, else nothing."""
    model = ready()
    model.sections["lab"] |= facts
    lab.stop(model.c)
    assert model.whys == whys


@pytest.mark.parametrize("session", [{"session": "yes"}, {"service": "yes", "state": "active"}])
def test_a_plan_of_a_restart_stops_and_starts(ready, monkeypatch, session):
    model = ready()
    model.sections["lab"] |= {"pid": "4711", "owner": "lab", "api": "2.21.0"} | session
    model.dry = True
    lab.restart(model.again(), yes=True)
    starts = [why for why in model.planned if why in ("stop JupyterLab", "start JupyterLab")]
    assert starts == ["stop JupyterLab", "start JupyterLab"] and model.whys == []


@pytest.mark.parametrize(
    "state, stopped",
    [("activating", True), ("active", True), ("failed", False), ("inactive", False)],
)
def test_a_unit_that_crashes_again_and_again_is_stopped(ready, state, stopped):
    """Between two attempts it has no port and no session."""
    model = ready()
    model.sections["lab"] |= {"service": "yes", "state": state}
    lab.stop(model.c)
    assert model.whys == ["stop JupyterLab"] * stopped and all(
        "systemctl --user stop" in write.command for write in model.writes
    )
