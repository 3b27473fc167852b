"""A notebook goes on while the laptop is away, and comes back with all its outputs, or with the reason why not."""

import json
import re
import shlex
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.host

ENV = {"LABFAB_PYTHON": "venv", "LABFAB_UPDATE": "false"}
ODD = 'it\'s $(touch x) "ü";.ipynb'
COUNT = """\
import os, time
tick = 0
while not os.path.exists("enough"):
    print("tick", tick, flush=True)
    tick += 1
    time.sleep(0.5)
"""
SLEEP = "import time; time.sleep(600)"
JOBS = "/home/lab/.local/share/labfab/jobs"
CUT = (
    "iptables -I INPUT -p tcp --dport 292 -j DROP; pkill -KILL -u lab -x 'sshd|sshd-session'; true"
)
OPEN = "ss -Htn state established '( sport = :292 )'"


@pytest.fixture(scope="module")
def box(module_lab):
    return module_lab("debian12", "jobs", env=ENV)


@pytest.fixture
def lab(box, module_fab):
    """Run fab by the name that the host has now."""
    return lambda *words, **more: module_fab("-H", "homelab", *words, env=ENV | more)


def notebook(folder: Path, *cells: str, name: str = "a.ipynb") -> Path:
    """Write a notebook that has outputs of an earlier day."""
    old = [{"output_type": "stream", "name": "stdout", "text": ["of an earlier day\n"]}]
    code = [
        {"cell_type": "code", "metadata": {}, "execution_count": 7, "outputs": old, "source": cell}
        for cell in cells
    ]
    text = {"cell_type": "markdown", "metadata": {}, "source": "# A study"}
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    path = folder / name
    path.write_text(
        json.dumps(
            {"nbformat": 4, "nbformat_minor": 4, "metadata": metadata, "cells": [text, *code]}
        )
    )
    return path


def submitted(lab, path, *flags: str) -> str:
    """Submit a notebook and return the number of its job."""
    return re.search(r"\bjob (\d+)", lab("lab.submit", str(path), *flags).ok().out)[1]


def state(lab, job: str) -> dict:
    return next(
        one for one in json.loads(lab("lab.jobs", "--json").ok().out)["jobs"] if one["job"] == job
    )


def ended(box, lab, job: str, timeout: float = 60) -> dict:
    """Wait for the end of a job."""
    wait_for(box, f'! grep -qE \'"state": "(queued|running)"\' {JOBS}/{job}/state.json', timeout)
    return state(lab, job)


def wait_for(box, command: str, timeout: float = 60) -> None:
    """Wait until a command on the host succeeds."""
    end = time.monotonic() + timeout
    while box.run(f"{{ {command}; }} && echo yes || true") != "yes":
        assert time.monotonic() < end, command
        time.sleep(0.3)


def wait_for_output(box, job: str, text: str) -> None:
    """Wait until a job has saved an output that begins like this."""
    wait_for(box, f"grep -q '\"{text}' {JOBS}/{job}/notebook.ipynb")


def printed(path: Path) -> str:
    """What the cells of a notebook have printed."""
    cells = json.loads(path.read_text())["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return "".join(
        "".join(output.get("text", "")) or "\n".join(output.get("traceback", []))
        for output in outputs
    )


def test_it_goes_on_with_the_laptop_away(box, lab, module_fab, tmp_path):
    """Every connection is cut and no ssh of ours is left; the outputs are saved as they come, and fetched at last."""
    box.run("echo of the host >/home/lab/notebooks/data.txt")
    path = notebook(
        tmp_path,
        "print('begun')",
        COUNT,
        "print(open('data.txt').read())",
        "print(6 * 7)",
        name=ODD,
    )
    job = submitted(lab, path)
    lab("tunnel.close").ok()
    box.run(CUT)
    try:
        assert box.run(OPEN) == "" and box.run("pgrep -u lab -x 'sshd|sshd-session' || true") == ""
        assert not ours(module_fab.home)
        lab("lab.jobs", LABFAB_CONNECT_TIMEOUT="3").fails("no answer")
        wait_for_output(box, job, "begun")
        last = int(
            box.run(f"grep -o 'tick [0-9]*' {JOBS}/{job}/notebook.ipynb | tail -n 1 | tr -dc 0-9")
            or 0
        )
        wait_for_output(box, job, f"tick {last + 8}")
    finally:
        box.run("iptables -D INPUT -p tcp --dport 292 -j DROP")
    assert f"  {job}  running    cell 2/4 " in lab("lab.jobs").ok().out
    lab("lab.fetch", "--to", str(tmp_path / "results")).ok()
    fetched = tmp_path / "results" / ODD.replace(".ipynb", ".executed.ipynb")
    assert (
        "tick 5" in printed(fetched)
        and "42" not in printed(fetched)
        and "earlier day" not in printed(fetched)
    )
    box.run("touch /home/lab/notebooks/enough")
    assert ended(box, lab, job)["state"] == "done"
    lab(
        "lab.fetch", "--to", str(tmp_path / "results")
    ).ok()  # over the part that was fetched before
    begun, *ticks, data, _, answer, _ = printed(fetched).split("\n")
    assert (begun, data, answer) == ("begun", "of the host", "42")
    assert ticks == [f"tick {number}" for number in range(len(ticks))] and len(ticks) > last + 8
    assert "earlier day" in path.read_text()


def ours(home: Path) -> list[str]:
    """The command lines of the ssh processes of a home."""
    mark, found = f"HOME={home}".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append(
                    (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                )
        except OSError:
            continue  # ended meanwhile, or somebody else's
    return [line for line in found if "ssh" in line.split(" ")[0]]


def test_a_failure_is_told_with_its_cell_and_keeps_the_traceback(box, lab, tmp_path):
    """So is a kernel that dies; what came before is there, what comes after never ran."""
    job = submitted(
        lab,
        notebook(
            tmp_path, "print('before')", "def oven():\n    return 1 / 0\noven()", "print('after')"
        ),
    )
    died = submitted(
        lab, notebook(tmp_path, "print('alive')", "import os; os.kill(os.getpid(), 9)")
    )
    now = ended(box, lab, job)
    assert (now["state"], now["cell"], now["error"]) == (
        "failed",
        2,
        "ZeroDivisionError: division by zero",
    )
    told = lab("lab.jobs").ok().out
    assert "cell 2/3" in told and "ZeroDivisionError: division by zero" in told
    lab("lab.fetch", "--job", job, "--to", str(tmp_path)).ok()
    said = printed(tmp_path / "a.executed.ipynb")
    assert (
        "before" in said
        and "oven()" in said
        and "ZeroDivisionError" in said
        and "after" not in said
    )
    assert ended(box, lab, died)["error"] == "the kernel died: out of memory?"


def test_a_file_of_the_user_is_never_overwritten(box, lab, tmp_path):
    """Only what was fetched earlier and not touched since is replaced; else it is said."""
    job = submitted(lab, notebook(tmp_path, "print(1)"))
    ended(box, lab, job)
    mine = tmp_path / "a.executed.ipynb"
    mine.write_text("mine")
    lab("lab.fetch", "--to", str(tmp_path)).fails("exists already and differs", "--force")
    assert mine.read_text() == "mine"
    lab("lab.fetch", "--to", str(tmp_path), "--force").ok()
    lab("lab.fetch", "--to", str(tmp_path)).ok()
    mine.write_text(mine.read_text().replace("A study", "My study"))
    lab("lab.fetch", "--to", str(tmp_path)).fails("differs")


def test_one_on_the_host_runs_beside_its_data(box, lab, tmp_path):
    """--there names it from the folder of the notebooks on; the original stays as it is."""
    path = notebook(tmp_path, "print(open('near.txt').read())")
    box.run(
        "mkdir -p '/home/lab/notebooks/a b' && cat >'/home/lab/notebooks/a b/x.ipynb'",
        input=path.read_text(),
    )
    box.run("echo near >'/home/lab/notebooks/a b/near.txt'; chown -R lab: /home/lab/notebooks")
    before = box.run("sha256sum /home/lab/notebooks/*/x.ipynb")
    assert ended(box, lab, submitted(lab, "a b/x.ipynb", "--there"))["state"] == "done"
    lab("lab.fetch", "--to", str(tmp_path)).ok()
    assert (
        printed(tmp_path / "x.executed.ipynb") == "near\n\n"
        and box.run("sha256sum /home/lab/notebooks/*/x.ipynb") == before
    )
    lab("lab.submit", "--there", "none.ipynb").fails("there is no /home/lab/notebooks/none.ipynb")


def test_what_cannot_run_is_told_in_one_line(box, lab, tmp_path):
    """No such file, not a notebook, an unknown kernel, no such job, no space left: none of them leaves a job behind."""
    good, before = notebook(tmp_path, "1"), lab("lab.jobs", "--json").ok().out
    (tmp_path / "b.ipynb").write_text("{}")
    lab("lab.submit", str(tmp_path / "none.ipynb")).fails("there is no", "lab.submit --there")
    lab("lab.submit", str(tmp_path / "b.ipynb")).fails("b.ipynb is not a notebook")
    lab("lab.submit", str(good), "--kernel", "julia").fails(
        "there is no kernel 'julia'", "--kernel: python3"
    )
    lab("lab.fetch", "--job", "99").fails("there is no job 99")
    lab("lab.cancel", "99").fails("no job 99 is running")
    assert lab("lab.jobs", "--json").ok().out == before
    box.run(
        f"mount -t tmpfs -o size=16k,mode=700,uid=$(id -u lab) tmpfs {JOBS}; head -c 16k /dev/zero >{JOBS}/full || true"
    )
    try:
        said = lab("lab.submit", str(good)).fails("no space left on the host").err.strip()
        assert "\n" not in said
    finally:
        box.run(f"umount {JOBS}")


def test_a_job_is_ended_on_demand(box, lab, tmp_path):
    """Its kernel goes with it, its outputs stay."""
    job = submitted(lab, notebook(tmp_path, "print('so far')", SLEEP))
    wait_for_output(box, job, "so far")
    lab("lab.cancel", job).ok()
    assert (
        state(lab, job)["state"] == "cancelled"
        and box.run("pgrep -u lab -f 'job.py|ipykernel' || true") == ""
    )
    lab("lab.fetch", "--to", str(tmp_path)).ok()
    assert printed(tmp_path / "a.executed.ipynb") == "so far\n"


def test_what_a_reboot_ended_is_told_as_failed(box, lab, tmp_path):
    """And what was killed in the middle, likewise."""
    killed = submitted(lab, notebook(tmp_path, SLEEP))
    job = submitted(lab, notebook(tmp_path, "print('so far')", SLEEP))
    wait_for_output(box, job, "so far")
    box.run(f"pkill -KILL -u lab -f 'job.py {killed}$'")
    box.reboot(port=box.next_port)
    assert (state(lab, job)["state"], state(lab, job)["error"]) == (
        "failed",
        "the host was restarted",
    )
    assert (state(lab, killed)["state"], state(lab, killed)["error"]) == (
        "failed",
        "the host was restarted",
    )
    lab("lab.fetch", "--job", job, "--to", str(tmp_path)).ok()
    assert printed(tmp_path / "a.executed.ipynb") == "so far\n"


def test_undo_ends_them_and_keeps_what_they_wrote(box, lab, module_fab, tmp_path):
    """The account goes, its home with the outputs is moved aside."""
    job = submitted(lab, notebook(tmp_path, "print('so far')", SLEEP, name=ODD))
    wait_for_output(box, job, "so far")
    made = [
        row["state"]
        for row in json.loads(lab("setup.journal", "--json").ok().out)["changes"]
        if row["why"].startswith("submit")
    ]
    assert made.count("done") == 1  # that one ends all of them
    told = module_fab.on(box, "setup.undo", "--yes", env=ENV).ok().out
    assert "undone: submit" in told and "is now /var/backups/labfab/lab-" in told
    kept = box.run(
        f"cat /var/backups/labfab/lab-*/.local/share/labfab/jobs/{shlex.quote(job)}/notebook.ipynb"
    )
    assert "so far" in kept and box.run("getent passwd lab || true") == ""
