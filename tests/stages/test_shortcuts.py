"""Shortcuts: planned, refused and removed on a model; booted hosts prove that they work."""

import base64

import pytest

from labfab.errors import SetupError
from labfab.host.shell import Result
from labfab.laptop import shortcuts as scripts
from labfab.local_state.ssh_config import Alias, write
from labfab.stages import shortcuts
from labfab.stages.shortcuts import commands
from tests.fake import ADDRESS

THEIRS = Result(0, f"755 lab\n{base64.b64encode(b'theirs').decode()}", "")
ABSENT = Result(1, "", "")


@pytest.fixture
def known(fake, alone):
    """A host with the account lab and an alias; somebody logs in as lab."""

    def make(name: str = "homelab", **settings):
        write(alone / "home/.ssh/config", Alias(name, ADDRESS, "lab", 22))
        model = fake("lab", **settings)
        model.add_account("lab")
        model.answers = [(r"cd ~/.local/bin", ABSENT)]
        return model

    return make


def test_without_an_alias_the_task_is_named(fake):
    """They use the alias to call the host."""
    model = fake()
    with pytest.raises(
        SetupError, match="the shortcuts need an alias, and this host has none yet: setup.full"
    ):
        shortcuts.install(model.c)
    assert model.writes == []


def test_a_plan_shows_them_and_writes_nothing(known, alone):
    """On either side."""
    model = known(dry=True)
    shortcuts.install(model.c)
    here = alone / "home/.local/bin"
    assert model.planned == [
        "write /home/lab/.local/bin/launchlab",
        *(f"write {here}/{word}" for word in scripts.SCRIPTS),
    ]
    assert not here.exists() and model.writes == []


def test_a_command_of_somebody_else_is_not_overwritten(known, alone):
    """Nothing is written on the laptop then either."""
    model = known()
    model.answers = [(r"cd ~/.local/bin", THEIRS)]
    with pytest.raises(SetupError, match="launchlab exists and is not labfab's: move it away"):
        shortcuts.install(model.c)
    assert model.writes == [] and not (alone / "home/.local/bin").exists()


def test_removing_with_the_host_down_clears_the_laptop(known, alone, monkeypatch):
    """The error of the host comes after it."""
    model = known()
    here = alone / "home/.local/bin/callhome"
    here.parent.mkdir(parents=True)
    here.write_text(f"#!/bin/sh\n{scripts.MARK % 'homelab'}\n")
    monkeypatch.setattr(
        commands, "remove_from_host", lambda c: (_ for _ in ()).throw(SetupError("no answer"))
    )
    with pytest.raises(SetupError, match="no answer"):
        shortcuts.remove(model.c)
    assert not here.exists()
