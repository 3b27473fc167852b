"""The stages of a recipe, one after the other, and what begins ahead of its turn, on a model."""

import json
import shlex
import threading
from typing import NamedTuple

import pytest

from labfab.errors import SetupError
from labfab.facts import facts
from labfab.host import journal
from labfab.host.session import Host
from labfab.run import ahead as early
from labfab.run.ahead import Ahead, Work
from labfab.run.runner import Runner
from labfab.setup import sequences
from tests import fake as models

alone, fake = models.alone, models.fake
PATIENCE = 10  # seconds


class Fake(NamedTuple):
    """Return a stage that records its turn."""

    do: Work
    group: str = "system"

    def __call__(self, c):
        self.do(c)


@pytest.fixture
def trodden(fake, monkeypatch):
    """Run stages on a model, some of them early; *seen* lists what they do, in order."""
    model = fake()
    model.seen = []

    def walk(names, ahead, **does):
        stages = [
            (name, Fake(does.get(name, lambda c, name=name: model.seen.append(name))))
            for name in names.split()
        ]
        return Runner(model.c, stages, ahead).run()

    return model, walk


def yes(c):
    return True


def test_what_was_done_ahead_is_there_when_its_turn_comes(trodden):
    """It counts with the run, and its stage runs as usual."""
    model, walk = trodden
    ahead = {"late": Ahead(("first",), yes, lambda c: Host.of(c).changes.append("ahead"))}
    took = walk(
        "first next late", ahead, late=lambda c: model.seen.append(list(Host.of(model.c).changes))
    )
    assert model.seen == ["first", "next", ["ahead"]]
    assert [(one.name, one.parallel) for one in took] == [
        ("first", False),
        ("next", False),
        ("late", True),
        ("late", False),
    ]


@pytest.mark.parametrize(
    ("after", "begins"), [((), 0), (("one",), 1), (("one", "two"), 2), (("left out",), 0)]
)
def test_it_begins_when_what_it_comes_after_is_through(trodden, after, begins):
    """Stages that are not in this run need not be waited for."""
    model, walk = trodden
    begun = []
    walk(
        "one two three late",
        {"late": Ahead(after, lambda c: begun.append(len(model.seen)), yes)},
    )
    assert begun == [begins]


def test_with_nothing_due_nothing_begins(trodden, monkeypatch):
    """No second shell is opened."""
    model, walk = trodden
    monkeypatch.setattr(early, "open_shell", lambda second, main: pytest.fail("a second shell"))
    walk("one late", {"late": Ahead((), lambda c: False, yes)})
    assert model.seen == ["one", "late"]


def test_one_waits_for_the_others_that_it_needs(trodden):
    """Their stages may come much later."""
    model, walk = trodden
    slow, order = threading.Event(), []

    def first(c):
        assert slow.wait(PATIENCE)
        order.append("needed")

    ahead = {
        "two": Ahead((), yes, first),
        "three": Ahead((), yes, lambda c: order.append("needing"), needs=("two",)),
    }
    walk("one two three", ahead, one=lambda c: slow.set())
    assert order == ["needed", "needing"]


def test_what_failed_ahead_is_told_and_tried_at_its_turn(trodden, capsys):
    """So is what needed it."""
    model, walk = trodden

    def fail(c):
        Host.of(c).changes.append("half")
        raise SetupError("no network")

    ahead = {
        "two": Ahead((), yes, fail),
        "three": Ahead((), yes, lambda c: model.seen.append("never"), needs=("two",)),
    }
    walk("one two three", ahead)
    assert model.seen == ["one", "two", "three"] and Host.of(model.c).changes == ["half"]
    said = capsys.readouterr().err
    assert (
        "two, started early: no network" in said and "three, started early: no network" not in said
    )


def test_what_failed_ahead_is_told_with_what_ended_the_run(trodden, capsys):
    """Neither error hides the other, and changes made in the meantime are counted."""
    model, walk = trodden

    def late(c):
        Host.of(c).changes.append("half")
        raise SetupError("the lists cannot be fetched")

    def break_(c):
        raise SetupError("the disk is full")

    with pytest.raises(SetupError, match="the disk is full"):
        walk("one late", {"late": Ahead((), yes, late)}, one=break_)
    assert "the lists cannot be fetched" in capsys.readouterr().err and Host.of(
        model.c
    ).changes == ["half"]


def test_in_a_plan_nothing_begins_ahead(fake, monkeypatch):
    monkeypatch.setattr(early, "open_shell", lambda second, main: pytest.fail("a second shell"))
    model = fake(dry=True)
    Runner(model.c, [("late", Fake(yes))], {"late": Ahead((), yes, yes)}).run()


def test_the_journal_keeps_the_order_of_the_stages(trodden):
    """Early work is sorted in with its stage, so that an undo down to a stage undoes exactly what follows it."""
    from labfab.host.changes import change

    model, walk = trodden

    def write(why):
        return lambda c: change(c, "ufw allow 80/tcp", why=why, undo=("true",))

    def early(c):
        write("ahead")(c)
        done.set()

    def first(c):
        assert done.wait(PATIENCE)
        write("first")(c)

    done = threading.Event()
    walk("one late", {"late": Ahead((), yes, early)}, one=first, late=write("late"))
    lines = [shlex.split(found[1])[0] for found in map(models.NOTE.search, model.told) if found]
    assert [json.loads(line)["why"] for line in lines] == ["ahead", "first", "late"]
    assert [entry.why for entry in journal.parse("\n".join(lines))] == ["first", "ahead", "late"]


def test_what_begins_ahead_reads_for_itself_and_nothing_that_takes_long(trodden):
    """The run has no facts yet, and apt's simulation would block the work that runs in parallel."""
    model, walk = trodden
    ages = []
    walk("one late", {"late": Ahead((), yes, lambda c: ages.append(facts(c).updates.age))})
    assert (
        len(ages) == 1 and "updates" in model.readings[-1] and "upgrades" not in model.readings[-1]
    )


@pytest.mark.parametrize(("needs", "times"), [((), 1), (("two",), 2)])
def test_what_begins_ahead_knows_what_the_run_knows(trodden, needs, times):
    """Unless it waits for other work, which makes them stale."""
    model, walk = trodden
    ages, going = [], threading.Event()

    def read(c):
        ages.append(facts(c).updates.age)
        return True

    ahead = {
        "two": Ahead((), yes, lambda c: going.wait(PATIENCE)),
        "late": Ahead((), read, read, needs),
    }
    walk("one two late", ahead, one=lambda c: going.set())
    assert len(ages) == 2 and len(model.readings) == times


def test_who_waits_has_its_shell_already(trodden, monkeypatch):
    """It begins as soon as its turn comes."""
    model, walk = trodden
    shells, going, real = [], threading.Event(), early.open_shell

    def open_shell(c, main):
        shells.append(c)
        if len(shells) == 2:
            going.set()
        return real(c, main)

    def first(c):
        assert going.wait(PATIENCE)

    monkeypatch.setattr(early, "open_shell", open_shell)
    ahead = {
        "two": Ahead((), yes, first),
        "late": Ahead((), yes, lambda c: model.seen.append("ahead"), ("two",)),
    }
    walk("one two late", ahead)
    assert "ahead" in model.seen


def test_what_may_begin_ahead_in_a_setup():
    """They name existing stages, run no apt during an upgrade, and start no JupyterLab that an upgrade or a reboot would stop."""
    order = [name for name, _ in sequences.DEBIAN]
    for name, ahead in sequences.AHEAD.items():
        assert {name, *ahead.after, *ahead.needs} <= set(order)
        assert all(order.index(other) < order.index(name) for other in (*ahead.after, *ahead.needs))
    assert (
        order.index("packages") < order.index("update") and "update" in sequences.AHEAD["Lab"].after
    )
    assert {"Python", "Jupyter"} == set(sequences.AHEAD["Lab"].needs)
