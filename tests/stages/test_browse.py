"""Into the JupyterLab that runs: when the host is called, what is opened, what is said."""

import json

import pytest
from invoke import Config, Context

from labfab.errors import SetupError, Unreachable
from labfab.host import Host
from labfab.laptop import browser, secrets, ssh_config
from labfab.laptop import tunnel as process
from labfab.laptop.tunnel import Tunnel
from labfab.stages import browse, lab, python
from labfab.stages import tunnel as stage

TOKEN = "0123456789abcdef" * 3


@pytest.fixture
def opened(monkeypatch) -> list:
    """Stand in for the browser and for ssh; collects what the browser would open."""
    seen: list = []
    monkeypatch.setattr(browser, "there", lambda: True)
    monkeypatch.setattr(browser, "log_in", lambda *values: seen.append(values))
    monkeypatch.setattr(process, "open", lambda target, local, remote, timeout: Tunnel(target.alias, local, remote, 7))
    monkeypatch.setattr(process, "answers", lambda url: "2.21.0")
    monkeypatch.setattr(process, "code", lambda url, token: 200 if token == TOKEN else 403)
    return seen


@pytest.fixture
def running(fake, alone):
    """A host that was set up, with JupyterLab up."""

    def make(**settings):
        model = fake(**({"python": "venv"} | settings))
        python.install(model.c)
        config = {"ServerApp": {"local_hostnames": ["x"]}, "IdentityProvider": {"hashed_password": "argon2:x", "token": TOKEN}}
        model.set_file("jupyter", "config", json.dumps(config), "600 lab")
        model.sections["lab"] |= {"session": "yes", "owner": "lab", "pid": "4711", "holder": "jupyter-lab", "api": "2.21.0"}
        (alone / "home/.ssh").mkdir(mode=0o700, exist_ok=True)
        ssh_config.write(alone / "home/.ssh/config", ssh_config.Alias("homelab", "203.0.113.5", "root", 22))
        model.again()
        return model

    return make


def test_the_first_time_the_token_comes_from_the_host_later_nobody_is_called(running, opened, capsys):
    """Nothing is started beside what runs, and the token is kept for its owner only."""
    model = running()
    browse.open_(model.c)
    assert opened == [("homelab", "http://127.0.0.1:9000/", TOKEN)] and model.whys == [] and model.told
    assert secrets.place("homelab", "jupyter-token").stat().st_mode & 0o777 == 0o600
    browse.open_(model.again())
    assert opened[1:] == opened[:1] and model.told == []
    browse.open_(Context(Config()))
    said = capsys.readouterr().out
    assert len(opened) == 3 and "in your browser: http://127.0.0.1:9000/lab" in said and TOKEN not in said


def test_a_token_that_no_longer_serves_is_fetched_anew(running, opened):
    model = running()
    secrets.store("homelab", "jupyter-token", "old")
    browse.open_(model.c)
    assert opened == [("homelab", "http://127.0.0.1:9000/", TOKEN)] and model.told


def test_what_does_not_run_is_started(running, opened, monkeypatch):
    model = running()
    started = []
    monkeypatch.setattr(lab, "start", lambda c: started.append(Host.of(c).label))
    model.sections["lab"].clear()
    browse.open_(model.c)
    assert started and opened


@pytest.mark.parametrize("publish, url", [("https", "https://lab.example.org:9999/"), ("apache", "https://lab.example.org/")])
def test_a_published_one_is_opened_by_its_public_name(running, opened, capsys, monkeypatch, publish, url):
    """No tunnel: browsers reach it."""
    monkeypatch.setattr(process, "open", None)
    model = running(publish=publish, names=["lab.example.org"])
    browse.open_(model.c)
    assert opened == [("homelab", url, TOKEN)]
    capsys.readouterr()
    browse.url(model.again())
    assert capsys.readouterr().out == f"{url}lab\n"


def test_without_a_screen_the_address_is_told(running, opened, capsys, monkeypatch):
    monkeypatch.setattr(browser, "there", lambda: False)
    browse.open_(running().c)
    assert opened == [] and "no browser can be opened here; JupyterLab is at http://127.0.0.1:9000/lab" in capsys.readouterr().out


def test_only_on_request_the_token_is_printed(running, opened, capsys, monkeypatch):
    model = running()
    monkeypatch.setattr(process, "status", lambda alias: Tunnel(alias, 9000, 9999, 7))
    capsys.readouterr()
    browse.url(model.c)
    assert capsys.readouterr().out == "http://127.0.0.1:9000/lab\n"
    browse.url(model.c, with_token=True)
    assert capsys.readouterr().out == f"http://127.0.0.1:9000/?token={TOKEN}\n"
    monkeypatch.setattr(process, "status", lambda alias: None)
    with pytest.raises(SetupError, match="no tunnel is open: lab.open"):
        browse.url(model.c)


def test_a_host_that_sleeps_or_moved_is_told_in_one_line(running, opened, monkeypatch):
    def away(*_):
        raise Unreachable("homelab: no answer on port 2222: is it switched on, is the address right?")

    model = running()
    secrets.store("homelab", "jupyter-token", TOKEN)
    monkeypatch.setattr(stage.tunnel, "open", away)
    with pytest.raises(SetupError, match="right[?] If it sleeps, wake it; if it moved, correct HostName of homelab in .*config$"):
        browse.open_(model.c)


def test_a_configuration_without_a_token_names_the_way(running, opened):
    model = running()
    model.set_file("jupyter", "config", "{}", "600 lab")
    with pytest.raises(SetupError, match="has no token: type jupyter.configure"):
        browse.open_(model.c)


def test_a_plan_opens_nothing(running, opened, capsys):
    model = running(dry=True)
    browse.open_(model.c)
    assert opened == [] and model.told == [] and "would start JupyterLab" in capsys.readouterr().out
