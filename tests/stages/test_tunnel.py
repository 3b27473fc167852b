"""The tunnel's tasks: whom they call, what they say; ssh itself is tried elsewhere."""

import json

import pytest
from invoke import Config, Context

from labfab.errors import SetupError
from labfab.laptop import tunnel as process
from labfab.laptop.tunnel import Target, Tunnel
from labfab.local_state import ssh_config
from labfab.stages import tunnel


@pytest.fixture
def ssh(monkeypatch):
    """Stand in for the ssh process and for JupyterLab behind it."""

    class Ssh:
        found = None  # the open tunnel
        versions = ["2.21.0"]  # what answers, one after the other
        calls: list = []

        def open(self, target: Target, local: int, remote: int, timeout: int) -> Tunnel:
            self.calls.append(("open", target, local, remote))
            return self.found or Tunnel(target.alias, local, remote, 7)

        def close(self, alias: str) -> bool:
            was, self.found = self.found, None
            self.calls.append(("close", alias))
            return was is not None

    stand_in = Ssh()
    stand_in.calls = []
    monkeypatch.setattr(process, "open", stand_in.open)
    monkeypatch.setattr(process, "close", stand_in.close)
    monkeypatch.setattr(process, "status", lambda alias: stand_in.found)
    monkeypatch.setattr(
        process,
        "answers",
        lambda url: (
            stand_in.versions.pop(0) if len(stand_in.versions) > 1 else stand_in.versions[0]
        ),
    )
    return stand_in


def known(alone, name: str = "homelab") -> None:
    """A host that was set up before."""
    (alone / "home/.ssh").mkdir(mode=0o700, exist_ok=True)
    ssh_config.write(
        alone / "home/.ssh/config",
        ssh_config.Alias(name, "203.0.113.5", "lab", 2222, former_logins="root@203.0.113.5:22"),
    )


def test_it_opens_by_the_login_where_there_is_no_alias(fake, ssh, capsys):
    """Before setup, ssh gets what -H says, and the ports in the settings."""
    assert tunnel.open_(fake(local_port=9005).c) == "http://127.0.0.1:9005/"
    assert ssh.calls == [("open", Target("homelab", "203.0.113.5", "root", 22, "", ""), 9005, 9999)]
    assert capsys.readouterr().out == "[homelab] the tunnel is open: http://127.0.0.1:9005/lab\n"


@pytest.mark.parametrize("login", ["root", None])
def test_it_opens_by_the_alias_where_there_is_one(fake, alone, ssh, login):
    """The first command line and one without any host both lead to the host that was set up."""
    known(alone)
    tunnel.open_(fake().c if login else Context(Config()))
    assert ssh.calls[0][1] == Target("homelab")


def test_an_open_one_is_told(fake, ssh, capsys):
    """It is used again, and the message says so; it also mentions a different local port."""
    ssh.found = Tunnel("homelab", 9001, 9999, 7, reused=True, moved=True)
    tunnel.open_(fake().c)
    assert (
        "the tunnel is open already: http://127.0.0.1:9001/lab (port 9000 is busy here)"
        in capsys.readouterr().out
    )


def test_a_dead_one_is_opened_anew(fake, ssh, capsys):
    """A tunnel that outlived the host's reboot answers nothing; it is closed and opened once more."""
    ssh.found, ssh.versions = Tunnel("homelab", 9000, 9999, 7, reused=True), ["", "2.21.0"]
    tunnel.open_(fake().c)
    assert [call[0] for call in ssh.calls] == ["open", "close", "open"]


@pytest.mark.parametrize(
    "setup, says",
    [(False, "fab -H root@203.0.113.5 setup.full"), (True, "fab -H homelab lab.start")],
)
def test_a_lab_that_does_not_answer_names_one_task(fake, alone, ssh, setup, says):
    """Nothing stays open, and the next step depends on whether the host was set up."""
    if setup:
        known(alone)
    ssh.versions = [""]
    with pytest.raises(SetupError, match=f"does not answer on the host's port 9999: {says}"):
        tunnel.open_(fake().c)
    assert ssh.calls[-1][0] == "close"


def test_a_plan_opens_nothing(fake, ssh, capsys):
    """It only says what it would do."""
    tunnel.open_(fake(dry=True).c)
    assert (
        ssh.calls == []
        and "would open a tunnel from port 9000 to the host's port 9999" in capsys.readouterr().out
    )


def test_without_any_host_it_says_what_to_type(alone, ssh):
    """Neither -H nor an alias."""
    with pytest.raises(SetupError, match="no host is known as homelab: name one with -H"):
        tunnel.open_(Context(Config()))


@pytest.mark.parametrize(
    "found, version, says",
    [
        (None, "", "no tunnel is open: tunnel.open"),
        (
            Tunnel("homelab", 9000, 9999, 7),
            "2.21.0",
            "pid 7): http://127.0.0.1:9000/lab; jupyter_server 2.21.0 answers",
        ),
        (Tunnel("homelab", 9000, 9999, 7), "", "nothing answers behind it: lab.status"),
    ],
)
def test_its_state_is_told_without_dialing(fake, ssh, capsys, found, version, says):
    """tunnel.status works with the host down."""
    model = fake()
    ssh.found, ssh.versions = found, [version]
    tunnel.status(model.c)
    assert says in capsys.readouterr().out and model.told == []


def test_its_state_for_programs(fake, ssh, capsys):
    """One JSON object, open or not."""
    model = fake()
    tunnel.status(model.c, json=True)
    nothing = {
        "alias": "homelab",
        "open": False,
        "url": "",
        "pid": None,
        "kept": "",
        "jupyter_server": "",
    }
    assert json.loads(capsys.readouterr().out) == nothing
    ssh.found = Tunnel("homelab", 9000, 9999, 7)
    tunnel.status(model.c, json=True)
    there = {"open": True, "url": "http://127.0.0.1:9000/lab", "pid": 7, "jupyter_server": "2.21.0"}
    assert json.loads(capsys.readouterr().out) == nothing | there


@pytest.mark.parametrize(
    "there, says", [(True, "the tunnel is closed"), (False, "no tunnel was open")]
)
def test_closing_never_dials(fake, ssh, capsys, there, says):
    """tunnel.close works with the host down."""
    model = fake()
    ssh.found = Tunnel("homelab", 9000, 9999, 7) if there else None
    tunnel.close(model.c)
    assert says in capsys.readouterr().out and model.told == []
