"""Jobs: what is installed on the host once, and what is reported; booted hosts prove that they run."""

import base64
import json
import zlib

import pytest

from labfab.errors import SetupError
from labfab.host.shell import Result
from labfab.on_host import loader
from labfab.stages import python
from labfab.stages.lab import notebook_jobs

STATE = {
    "job": "3",
    "notebook": "a\x1b[2J.ipynb",
    "state": "failed",
    "kernel": "python3",
    "folder": "/home/lab/notebooks",
    "cell": 2,
    "cells": 5,
    "submitted": 100.0,
    "started": 101.0,
    "ended": 171.5,
    "error": "ValueError: no",
    "boot": "b",
    "pid": 7,
}


@pytest.fixture
def ready(fake):
    """A host with Python and JupyterLab, but without the job runner."""
    model = fake(python="venv")
    python.install(model.c)
    model.again()
    model.answers = [
        ("echo folder", Result(1, "", "")),
        ("jobs.py list", Result(0, json.dumps({"now": 180.0, "jobs": [STATE]}), "")),
    ]
    return model


@pytest.fixture
def notebook(alone):
    path = alone / "it's $(a).ipynb"
    path.write_text('{"nbformat": 4, "cells": []}')
    return str(path)


def test_a_plan_tells_what_would_be_put_there(fake, notebook):
    """Also on a bare host, where there is no account yet."""
    model = fake(python="venv", dry=True)
    python.install(model.c)
    model.answers = [("echo folder", Result(1, "", ""))]
    notebook_jobs.submit(model.c, notebook)
    assert model.planned[-5:] == [
        "keep lab's programs running after logout",
        "make /home/lab/.local/share/labfab",
        "install the job runner, job.py",
        "install the job runner, jobs.py",
        "submit it's $(a).ipynb",
    ]
    assert model.writes == []


def test_what_is_there_already_is_not_put_again(fake, notebook):
    """Only a program that differs is installed again."""
    model = fake(python="venv", dry=True)
    python.install(model.c)
    same = base64.b64encode((loader.FOLDER / "job.py").read_bytes()).decode()
    model.answers = [("echo folder", Result(0, f"folder\n{same}\nb2xk\n", ""))]
    notebook_jobs.submit(model.c, notebook)
    assert [
        why for why in model.planned if why.startswith(("install the job", "make /home/lab/.local"))
    ] == ["install the job runner, jobs.py"]


def test_a_notebook_that_is_none_is_refused_before_the_host_is_asked(ready, alone):
    """Without JupyterLab on the host, the next step is named."""
    with pytest.raises(SetupError, match="there is no"):
        notebook_jobs.submit(ready.c, str(alone / "none.ipynb"))
    assert ready.questions == [] and ready.writes == []


def test_without_jupyterlab_the_task_is_named(fake, notebook):
    """Nothing is installed on such a host."""
    model = fake()
    with pytest.raises(
        SetupError, match="JupyterLab is not installed for lab .*: type python.install first"
    ):
        notebook_jobs.submit(model.c, notebook)
    assert model.writes == []


def test_states_are_told_in_a_line_each(ready, capsys):
    """It contains no escape sequences for the terminal."""
    capsys.readouterr()
    notebook_jobs.jobs(ready.c)
    assert (
        capsys.readouterr().out
        == "   3  failed     cell 2/5      1 min 10 s  a?[2J.ipynb  ValueError: no\n"
    )


def test_states_are_told_to_programs(ready, capsys):
    """It leaves out what only the runner uses."""
    capsys.readouterr()
    notebook_jobs.jobs(ready.c, json=True)
    told = json.loads(capsys.readouterr().out)["jobs"]
    assert told == [{key: value for key, value in STATE.items() if key not in ("boot", "pid")}]


def test_only_the_newest_are_told(ready, capsys):
    """A long history takes only a few lines."""
    ready.answers = [
        ("jobs.py list", Result(0, json.dumps({"now": 180.0, "jobs": [STATE] * 13}), ""))
    ]
    capsys.readouterr()
    notebook_jobs.jobs(ready.c)
    told = capsys.readouterr().out.splitlines()
    assert len(told) == notebook_jobs.SHOWN + 1 and "3 older" in told[-1]


def test_none_at_all_is_no_error_to_list_but_to_fetch(ready, capsys):
    """Both times, the message says what to type first."""
    ready.answers = [("jobs.py", Result(0, '{"jobs": []}', ""))]
    notebook_jobs.jobs(ready.c)
    assert "there are no jobs yet: lab.submit NOTEBOOK" in capsys.readouterr().out
    with pytest.raises(SetupError, match="no jobs yet: lab.submit"):
        notebook_jobs.fetch(ready.c)


def test_only_what_runs_is_ended(ready):
    """Number 3 has failed already."""
    for job in ("3", "4"):
        with pytest.raises(SetupError, match=f"no job {job} is running: lab.jobs"):
            notebook_jobs.cancel(ready.c, job)
    assert ready.writes == []


def test_what_the_host_says_is_told(ready):
    """Its last words are the error."""
    ready.answers = [("jobs.py fetch", Result(1, "", "there is no job 9: lab.jobs lists them\n"))]
    with pytest.raises(SetupError, match="there is no job 9: lab.jobs"):
        notebook_jobs.fetch(ready.c, job="9")


def test_a_plan_of_a_fetch_writes_nothing(fake, alone, capsys):
    """It says where the notebook would go."""
    model = fake(python="venv", dry=True)
    model.add_account("lab")
    notebook = base64.b64encode(zlib.compress(b"{}")).decode()
    model.answers = [
        ("jobs.py fetch", Result(0, json.dumps({"state": STATE, "notebook": notebook}), ""))
    ]
    notebook_jobs.fetch(model.c, to=str(alone / "new"))
    assert (
        not (alone / "new").exists()
        and f"would write {alone}/new/a_[2J.executed.ipynb" in capsys.readouterr().out
    )


# A hostile host -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        "",
        "nothing",
        "[]",
        '{"jobs": 1}',
        '{"jobs": [1]}',
        '{"jobs": [{}]}',
        '{"jobs": [], "now": "x"}',
        "[" * 500_000,
        json.dumps({"jobs": [STATE | {"job": 3}]}),
        json.dumps({"jobs": [STATE | {"started": float("nan")}]}),
        json.dumps({"jobs": [STATE | {"ended": 0}]}).replace('"ended": 0', '"ended": 1e999'),
        json.dumps({"jobs": [STATE | {"notebook": None}]}),
    ],
    ids=lambda said: said[:30],
)
def test_an_answer_that_makes_no_sense_is_one_line(ready, said):
    ready.answers[1] = ("jobs.py list", Result(0, said, ""))
    if said != json.dumps({"jobs": [STATE | {"started": float("nan")}]}):  # null: not started yet
        with pytest.raises(SetupError, match="makes no sense"):
            notebook_jobs.jobs(ready.c)


def fetched(ready, state, notebook) -> None:
    said = json.dumps({"state": state, "notebook": notebook})
    ready.answers[1] = ("jobs.py fetch", Result(0, said, ""))
    notebook_jobs.fetch(ready.c)


def test_a_notebook_that_unpacks_to_more_than_memory_is_refused(ready, alone, monkeypatch):
    """A few kilobytes may unpack to gigabytes."""
    monkeypatch.setattr(notebook_jobs, "LARGEST", 100_000)
    bomb = base64.b64encode(zlib.compress(b"0" * 50_000_000)).decode()
    with pytest.raises(SetupError, match="more than 0 MB"):
        fetched(ready, STATE, bomb)
    for broken in (bomb[:1000], "!", "AAAA", None, 7):
        with pytest.raises(SetupError, match="makes no sense|more than"):
            fetched(ready, STATE, broken)
    assert not list(alone.glob("*.ipynb"))
