"""The pure parts of `inv bench`: medians, ratios, goals, tables, the plot, and that the peers are given the same recipe."""

import re
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import measure, plot, recipe, report, run, table, tools, wire
from tests.rig.places import CLONE, REPO, RigError

FOLDER = REPO / "bench"
TIMES = {
    table.NO_CHANGE: {
        table.NEAR: {
            table.SSH: [0.2, 9.0, 0.25],
            table.LABFAB: [0.5, 0.6, 0.5],
            table.PYINFRA: [5.0, 4.0, 6.0],
        },
        table.FAR: {
            table.SSH: [1.0],
            table.LABFAB: [1.6],
            table.PYINFRA: [16.0],
            table.MITOGEN: [9.0],
            table.ANSIBLE: [],
        },
    },
    table.FIRST: {table.NEAR: {table.LABFAB: [12.0], table.PYINFRA: [25.0], table.TUNED: [20.0]}},
}


def goal(scene: str, line: str, *others: str) -> table.Goal:
    return next(
        one for one in table.goals() if (one.scene, one.line, one.others) == (scene, line, others)
    )


def test_a_goal_compares_medians():
    """One slow run of three does not change the result."""
    near = goal(table.NO_CHANGE, table.NEAR, table.SSH)
    assert near.ratio(TIMES) == pytest.approx(2.0) and near.reached(TIMES) is True
    far = goal(table.NO_CHANGE, table.FAR, table.SSH)
    assert far.ratio(TIMES) == pytest.approx(1.6) and far.reached(TIMES) is False


def test_faster_than_is_the_other_way_round():
    assert goal(table.NO_CHANGE, table.FAR, table.PYINFRA).ratio(TIMES) == pytest.approx(10)
    assert goal(table.NO_CHANGE, table.FAR, table.PYINFRA).reached(TIMES) is True
    assert goal(table.NO_CHANGE, table.FAR, table.MITOGEN).ratio(TIMES) == pytest.approx(5.625)
    assert goal(table.NO_CHANGE, table.FAR, table.MITOGEN).reached(TIMES) is False


def test_of_several_peers_the_quicker_one_counts():
    first = goal(table.FIRST, table.NEAR, table.PYINFRA, table.TUNED)
    assert first.ratio(TIMES) == pytest.approx(0.6) and first.reached(TIMES) is True


def test_what_was_not_measured_is_neither_reached_nor_missed():
    """A goal is not measured if there are no runs of its scene, its line or its contender."""
    for scene, line, other in (
        (table.NO_CHANGE, table.FAR, table.ANSIBLE),
        (table.NO_CHANGE, table.NEAR, table.MITOGEN),
        (table.CHANGE, table.FAR, table.SSH),
    ):
        assert (
            goal(scene, line, other).ratio(TIMES) is None
            and goal(scene, line, other).reached(TIMES) is None
        )
    verdicts = [row[-1] for row in table.goal_rows(TIMES)]
    assert {"yes", "no", "not measured"} == set(verdicts) and len(verdicts) == len(table.goals())


def test_every_goal_is_about_something_that_is_measured():
    """Each scene has a function, and the plan runs it."""
    scenes = {one.scene for one in table.goals()}
    assert scenes == set(measure.SCENES) == set(measure.Plan().scenes) == set(run.NAMES.values())


def test_a_row_has_median_range_and_number_of_runs():
    assert [table.NO_CHANGE, table.NEAR, table.SSH, "0.25", "0.20 to 9.00", "3"] in table.time_rows(
        TIMES
    )
    assert not any(row[2] == table.ANSIBLE for row in table.time_rows(TIMES))


def test_tables_hold_every_cell():
    rows = table.time_rows(TIMES)
    for text in (table.plain(table.TIMES_HEAD, rows), table.markdown(table.TIMES_HEAD, rows)):
        assert len(text.splitlines()) == len(rows) + 2
        assert all(
            cell in line
            for row, line in zip(rows, text.splitlines()[2:], strict=True)
            for cell in row
        )


def test_the_plot_has_a_bar_for_each_median():
    """It is well-formed, the longest bar of a panel fills it, and it has colors for a dark ground."""
    drawn = ElementTree.fromstring(plot.svg(TIMES))
    bars = [float(one.get("width")) for one in drawn.iter("{http://www.w3.org/2000/svg}rect")]
    assert len(bars) == len(table.time_rows(TIMES))
    assert bars.count(plot.WIDTH - plot.LEFT - plot.RIGHT) == 3
    assert bars[0] / bars[2] == pytest.approx(0.25 / 5.0, rel=0.01)
    assert "prefers-color-scheme: dark" in plot.svg(TIMES)
    low = max(float(one.get("y")) for one in drawn.iter("{http://www.w3.org/2000/svg}rect"))
    assert low < float(drawn.get("viewBox").split()[-1])


def ansible_steps(variant: str) -> list[str]:
    """The names of the tasks, in the order of the playbook."""
    playbook = (FOLDER / "ansible" / "playbook.yml").read_text()
    files = [
        one.replace("{{ variant }}", variant)
        for one in re.findall(r'import_tasks: "?([^"\n]+)', playbook)
    ]
    return [
        name
        for file in files
        for name in re.findall(
            r"^- name: (.+)$", (FOLDER / "ansible" / file).read_text(), re.MULTILINE
        )
    ]


@pytest.mark.parametrize("variant", ["idiomatic", "tuned"])
def test_ansible_is_given_the_recipe(variant):
    assert tuple(ansible_steps(variant)) == recipe.STEPS


def test_pyinfra_is_given_the_recipe():
    """The others restart sshd in a handler. One step has two variants, for a bare host and for one that is set up."""
    names = re.findall(
        r'(?:name=|check\(\s*)"([^"]+)"', (FOLDER / "pyinfra" / "deploy.py").read_text()
    )
    assert tuple(dict.fromkeys(name for name in names if name != "restart sshd")) == recipe.STEPS


def test_the_recipe_is_what_setup_full_does():
    """The other tools use labfab's versions, drop-in, account, port and address."""
    from labfab.platforms import debian, minimum_versions
    from labfab.settings import Settings

    assert recipe.FILES["00-labfab.conf"] == debian.DROP_IN
    assert tuple(recipe.REQUIREMENTS) == minimum_versions.REQUIREMENTS
    assert (Settings().user, Settings().ssh_port) == (recipe.ACCOUNT, recipe.PORT)
    assert f"{Settings().lab_url(Settings().lab_port)}api" == recipe.URL


def test_peers_are_pinned():
    for peer in (tools.PYINFRA, tools.ANSIBLE):
        lines = (FOLDER / f"requirements-{peer}.txt").read_text().split()
        assert lines and all(re.fullmatch(r"[\w-]+==[\w.]+", line) for line in lines)


def contender(code: str, settled: str = "", **more) -> tools.Contender:
    return tools.Contender("python", [sys.executable, "-c", code], settled=settled, **more)


def test_a_run_that_changed_something_does_not_count():
    assert contender("print('changed=0')", "changed=0").run() > 0
    with pytest.raises(RigError, match="python ended with 0"):
        contender("print('changed=1')", "changed=0").run()
    contender("print('changed=1')", "changed=0").run(warming=True)
    with pytest.raises(RigError, match="python ended with 3"):
        contender("raise SystemExit(3)").run(warming=True)


@pytest.mark.parametrize(
    "said, fine",
    [
        ("nothing to change", True),
        ("a  0 changes", True),
        ("a: nothing to change\nb  2 changes", False),
    ],
)
def test_a_fleet_in_which_one_host_was_changed_does_not_count(said, fine):
    assert bool(re.search(measure.UNCHANGED, said)) is fine


def test_an_interrupted_run_ends_its_process():
    """Ctrl-C while a tool runs leaves no process behind."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        process.wait = lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            tools.Contender.end_of(process)
        del process.wait
    assert process.returncode == -15


def test_flags_choose_what_is_measured():
    assert run.planned(False, 0, "") == measure.Plan()
    assert run.planned(True, 0, "").slow < measure.Plan().slow
    assert run.planned(True, 7, "first, start") == replace(
        measure.QUICK, runs=7, slow=7, scenes=[table.FIRST, table.START]
    )
    with pytest.raises(RigError, match="no-change, change"):
        run.planned(False, 0, "everything")


def test_the_page_says_what_was_left_out_and_how_often_was_measured():
    """It shows both tables and does not name a machine."""
    found = measure.Found(
        TIMES,
        {table.NEAR: 0.2},
        dict.fromkeys(("labfab", "peers", "here", "hosts", "machine"), "x"),
        ["no change, 100 ms: it takes root"],
    )
    page = report.page(found, measure.QUICK)
    assert (
        "left out: no change, 100 ms: it takes root" in page
        and "Counted runs: 5 (2 of pyinfra and Ansible), 15 of" in page
    )
    assert table.markdown(table.GOALS_HEAD, table.goal_rows(TIMES)) in page
    assert str(REPO) not in page and "{" not in page and "mere try" not in page


@pytest.mark.parametrize("load, runs, doubt", [(0.3, 5, False), (9.0, 5, True), (0.3, 1, True)])
def test_a_busy_machine_or_few_runs_are_told_of(load, runs, doubt):
    assert bool(report.doubts(measure.Found(load=load), replace(measure.QUICK, runs=runs))) is doubt


ECHO = """\
import hashlib, socket, sys, time
data, sent = bytes(range(256)) * 8192, hashlib.sha256()
began = time.perf_counter()
with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=30) as line:
    print(time.perf_counter() - began)
    line.sendall(data)
    line.shutdown(socket.SHUT_WR)
    while more := line.recv(65536):
        sent.update(more)
print(sent.digest() == hashlib.sha256(data).digest())
"""


@pytest.fixture
def bridge():
    """A bridge of this machine, like the one that hosts are connected to."""
    if wire.refusal():
        pytest.skip(wire.refusal())
    name = f"lf{CLONE[:6]}t"
    wire.ip("link", "add", name, "type", "bridge")
    try:
        wire.ip("addr", "add", "198.18.7.1/24", "dev", name)
        wire.ip("link", "set", name, "up")
        yield "198.18.7.1"
    finally:
        wire.ip("link", "delete", name)


@pytest.mark.local
def test_the_wire_is_slow_when_told_and_loses_nothing(bridge):
    """Two megabytes arrive intact both ways, in large segments too. Nothing is left of the simulated line afterwards."""
    with socket.create_server((bridge, 0)) as server:
        threading.Thread(target=echo, args=(server, 3), daemon=True).start()

        def connect() -> float:
            command = [
                *line.prefix(),
                sys.executable,
                "-c",
                ECHO,
                bridge,
                str(server.getsockname()[1]),
            ]
            took, whole = subprocess.run(
                command, capture_output=True, text=True, check=True, timeout=60
            ).stdout.split()
            assert whole == "True"
            return float(took)

        with wire.wire_to("198.18.7.9", "198.18.7.252/24") as line:
            connect()
            line.slow_down(0.1)
            assert connect() >= 0.1  # from below only: a busy machine makes it longer
            line.quicken()
            connect()
    assert (
        not Path("/run/netns", wire.FAR).exists()
        and not Path("/sys/class/net", wire.BRIDGE_END).exists()
    )


def echo(server: socket.socket, times: int) -> None:
    for _ in range(times):
        caller, _ = server.accept()
        with caller:
            parts = iter(lambda caller=caller: caller.recv(65536), b"")
            caller.sendall(b"".join(parts))
