"""A key with a passphrase is unlocked before the change whose proof needs it."""

import pytest

from labfab.errors import SetupError
from labfab.local_state import keypair
from labfab.stages.keys import authorized_keys

pytestmark = pytest.mark.local  # trying a passphrase is slow by design


@pytest.fixture
def locked(fake, alone):
    """A laptop whose default key has a passphrase; the login to the host was by password."""
    keypair.generate(alone / "home/.ssh/id_ed25519", "open sesame")
    return fake()


def test_without_a_terminal_it_is_reported_before_any_change(locked):
    """One line says what to type; no guarded change has begun."""
    with pytest.raises(
        SetupError,
        match="has a passphrase: hand it to the agent with ssh-add, "
        "or use fab --prompt-for-passphrase",
    ):
        authorized_keys.copy(locked.c)
    assert locked.guard == [] and not [why for why in locked.whys if "key" in why or ".ssh" in why]


def test_on_a_terminal_it_is_asked_for_until_it_is_right(locked, monkeypatch):
    """The right passphrase is used for the fresh login and nothing else."""
    answers = ["wrong", "", "open sesame"]
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("labfab.console.hidden", lambda question: answers.pop(0))
    authorized_keys.copy(locked.c)
    assert answers == [] and locked.c.connect_kwargs["passphrase"] == "open sesame"
    assert locked.logins == [("lab", 22)] and not any("open sesame" in told for told in locked.told)


def test_three_wrong_answers_are_enough(locked, monkeypatch):
    """Then the error is the same as without a terminal."""
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("labfab.console.hidden", lambda question: "wrong")
    with pytest.raises(SetupError, match="has a passphrase"):
        authorized_keys.copy(locked.c)


def test_the_agent_or_fabs_own_question_is_enough(locked, monkeypatch):
    """Nobody is asked twice."""
    locked.c.connect_kwargs["passphrase"] = "open sesame"
    authorized_keys.copy(locked.c)
    locked.again()
    monkeypatch.setattr("labfab.host.connection.held_by_agent", lambda identity: object())
    authorized_keys.copy(locked.c)
    assert locked.guard == ["arm", "disarm"] or locked.guard == []


def test_a_plan_asks_nothing(fake, alone):
    """It proves no login."""
    keypair.generate(alone / "home/.ssh/id_ed25519", "open sesame")
    model = fake(dry=True)
    authorized_keys.copy(model.c)
    assert model.writes == []
