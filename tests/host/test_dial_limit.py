"""A host that takes five new connections in half a minute: who waits, and who says so."""

from types import SimpleNamespace

import pytest
from fabric import Connection

from labfab.errors import SetupError
from labfab.host import connection, dial_limit
from labfab.host.login_errors import NobodyListens
from labfab.host.session import Host
from labfab.local_state import ssh_config
from labfab.settings import Settings
from tests import fake as models

alone = models.alone


@pytest.fixture
def clock(monkeypatch):
    """A clock that only sleeping moves, and nothing known of any host."""
    now = [1000.0]
    monkeypatch.setattr(dial_limit.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(
        dial_limit.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds)
    )
    monkeypatch.setattr(dial_limit, "LIMITED", set())
    dial_limit.DIALED.clear()
    return now


def test_only_the_sixth_connection_waits_and_only_where_it_must(clock, capsys):
    for _ in range(9):
        dial_limit.wait_for_turn("free")
    assert clock == [1000.0]
    dial_limit.expect("h")
    for _ in range(5):
        dial_limit.wait_for_turn("h")
        clock[0] += 2
    assert clock == [1010.0]
    dial_limit.wait_for_turn("h")
    assert clock == [1031.0] and "(ufw limit): waiting 21 s" in capsys.readouterr().out


def test_a_refused_connection_is_tried_once_more_after_the_wait(clock, monkeypatch):
    """Knocking in between would prolong the refusal. Elsewhere a refusal is final."""
    tried = []

    def connect(c):
        tried.append(clock[0])
        if len(tried) == 1:
            raise ConnectionRefusedError(111, "refused")
        return SimpleNamespace(detach=lambda: 0)

    sock = SimpleNamespace(settimeout=lambda seconds: None, setsockopt=lambda *option: None)
    monkeypatch.setattr(connection, "connect_socket", connect)
    monkeypatch.setattr(connection, "QuickAckSocket", lambda fileno: sock)
    c = Connection("h", user="ada")
    with pytest.raises(ConnectionRefusedError):
        connection.open_socket(c)
    tried.clear()
    with dial_limit.expected("h", True):
        connection.open_socket(c)
    assert tried == [1000.0, 1031.0] and "h" not in dial_limit.LIMITED


@pytest.mark.parametrize("again, hint", [(True, True), (False, False)])
def test_delete_the_block_is_said_only_if_the_first_port_is_sshds_again(
    alone, monkeypatch, again, hint
):
    """A refused port alone may be `ufw limit`."""

    def refuse(c, settings):
        raise NobodyListens("nothing listens on port 292, or …", host="h")

    monkeypatch.setattr(connection, "dial", refuse)
    monkeypatch.setattr(connection, "speaks_ssh", lambda c, port: again and port == 22)
    block = ssh_config.Alias(name="homelab", hostname="h", user="lab", port=292, identity="")
    (alone / "home/.ssh").mkdir(mode=0o700, exist_ok=True)
    ssh_config.write(alone / "home/.ssh/config", block)
    c = Connection("homelab", user="lab", port=292)
    with pytest.raises(SetupError) as error:
        Host.of(c).dial(Settings())
    assert ("delete the block" in str(error.value)) is hint


def test_the_note_of_a_host_that_limits_is_kept_and_removed(alone):
    dial_limit.remember("homelab", True)
    assert dial_limit.note("homelab").exists()
    dial_limit.remember("homelab", False)
    assert not dial_limit.note("homelab").exists()
