"""The stages of a recipe, one after the other and beside each other, on a model."""

import json
import shlex

import pytest

from labfab import beside, road, setup
from labfab.errors import SetupError
from labfab.host import Host
from tests import fake as models

alone, fake = models.alone, models.fake


@pytest.fixture
def trodden(fake, monkeypatch):
    """Walk stages beside which one goes on; the whys that were counted, and what was said."""
    model = fake()

    def walk(stages, late):
        def twin(c):
            new = model.connect()
            vars(new)["_labfab"] = Host(new)
            Host.of(new).shell = model.shell(new.transport, "twin")
            return new

        monkeypatch.setattr(beside, "twin", twin)
        return road.walk(model.c, stages, {late: (lambda c: True, "last")})

    return model, walk


def test_what_goes_on_beside_is_taken_over_before_what_waits_for_it(trodden):
    model, walk = trodden
    seen = []
    stages = [("late", lambda c: Host.of(c).changes.append("late")), ("next", lambda c: seen.append("next")),
              ("last", lambda c: seen.append(list(Host.of(model.c).changes)))]  # fmt: skip
    took = walk(stages, "late")
    assert seen == ["next", ["late"]] and {one.name: one.beside for one in took} == {"next": False, "late": True, "last": False}


def test_what_failed_beside_is_told_with_what_ended_the_run(trodden, capsys):
    """Neither error hides the other, and what was changed meanwhile is counted."""
    model, walk = trodden

    def late(c):
        Host.of(c).changes.append("half")
        raise SetupError("the lists cannot be fetched")

    def next_(c):
        raise SetupError("the disk is full")

    with pytest.raises(SetupError, match="the disk is full"):
        walk([("late", late), ("next", next_), ("last", lambda c: None)], "late")
    assert "the lists cannot be fetched" in capsys.readouterr().err and Host.of(model.c).changes == ["half"]


@pytest.mark.parametrize("name", setup.BESIDE)
def test_what_goes_on_beside_leaves_nothing_to_take_back(fake, name):
    """A guard that reverts meanwhile strikes out every line of the journal since it was armed."""
    model = fake()
    model.sections["updates"]["age"] = "9999999"
    model.install("sudo")
    dict(setup.UBUNTU)[name](model.c)
    lines = [json.loads(shlex.split(found[1])[0]) for found in map(models.NOTE.search, model.told) if found]
    assert lines and not any(line.keys() & {"undo", "path"} for line in lines)
