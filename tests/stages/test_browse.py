"""Opening the running JupyterLab: when the host is called, what is opened, what is printed."""

import json

import pytest
from invoke import Config, Context

from labfab.errors import SetupError, Unreachable
from labfab.host.session import Host
from labfab.host.shell import Result
from labfab.laptop import browser
from labfab.laptop import tunnel as process
from labfab.laptop.tunnel import Tunnel
from labfab.local_state import keypair, secrets, ssh_config
from labfab.stages import python
from labfab.stages import tunnel as stage
from labfab.stages.lab import browse
from labfab.stages.lab import lifecycle as lab

TOKEN = "0123456789abcdef" * 3


@pytest.fixture
def opened(monkeypatch) -> list:
    """Stand in for the browser and for ssh; collects what the browser would open."""
    seen: list = []
    monkeypatch.setattr(browser, "can_open", lambda: True)
    monkeypatch.setattr(browser, "log_in", lambda *values: seen.append(values))
    proven: list = []
    monkeypatch.setattr(
        process,
        "open",
        lambda target, local, remote, timeout: Tunnel(
            target.alias, local, remote, 7, proven=bool(proven)
        ),
    )
    monkeypatch.setattr(process, "prove_owner", proven.append)
    monkeypatch.setattr(process, "leads_to", lambda found, target, account: account == "lab")
    monkeypatch.setattr(process, "answers", lambda url: "2.21.0")
    monkeypatch.setattr(process, "code", lambda url, token: 200 if token == TOKEN else 403)
    return seen


@pytest.fixture
def running(fake, alone):
    """A host that was set up, with JupyterLab running."""

    def make(**settings):
        model = fake(**({"python": "venv"} | settings))
        python.install(model.c)
        config = {
            "ServerApp": {"local_hostnames": ["x"]},
            "IdentityProvider": {"hashed_password": "argon2:x", "token": TOKEN},
        }
        model.set_file("jupyter", "config", json.dumps(config), "600 lab")
        model.sections["lab"] |= {
            "session": "yes",
            "owner": "lab",
            "pid": "4711",
            "holder": "jupyter-lab",
            "api": "2.21.0",
        }
        (alone / "home/.ssh").mkdir(mode=0o700, exist_ok=True)
        ssh_config.write(
            alone / "home/.ssh/config", ssh_config.Alias("homelab", "203.0.113.5", "root", 22)
        )
        model.answers = [("jpserver", Result(0, "", ""))]
        model.again()
        return model

    return make


def test_the_first_time_the_token_comes_from_the_host_later_nobody_is_called(
    running, opened, capsys
):
    """No second JupyterLab is started, and the token is kept readable only by its owner."""
    model = running()
    browse.open_(model.c)
    assert (
        opened == [("homelab", "http://127.0.0.1:9000/", TOKEN)] and model.whys == [] and model.told
    )
    assert secrets.path_of("homelab", "jupyter-token").stat().st_mode & 0o777 == 0o600
    browse.open_(model.again())
    assert opened[1:] == opened[:1] and model.told == []
    browse.open_(Context(Config()))
    said = capsys.readouterr().out
    assert (
        len(opened) == 3
        and "in your browser: http://127.0.0.1:9000/lab" in said
        and TOKEN not in said
    )


def test_a_token_that_no_longer_serves_is_fetched_anew(running, opened):
    model = running()
    secrets.store("homelab", "jupyter-token", "old")
    browse.open_(model.c)
    assert opened == [("homelab", "http://127.0.0.1:9000/", TOKEN)] and model.told


def test_what_does_not_run_is_started(running, opened, monkeypatch):
    model = running()
    started = starting(model, monkeypatch)
    model.sections["lab"].clear()
    browse.open_(model.c)
    assert started and opened


def starting(model, monkeypatch) -> list:
    """Stand in for JupyterLab's start; collects the hosts on which it was started."""
    started = []

    def start(c):
        started.append(Host.of(c).label)
        Host.of(c).facts.clear()  # as it does once it has waited
        model.sections["lab"] |= {"owner": "lab", "pid": "4711", "api": "2.21.0"}

    monkeypatch.setattr(lab, "start", start)
    return started


def server(model, **keys) -> None:
    """Write this configuration, with nothing running where the settings look."""
    config = {
        "ServerApp": keys,
        "IdentityProvider": {"hashed_password": "argon2:x", "token": TOKEN},
    }
    model.set_file("jupyter", "config", json.dumps(config), "600 lab")
    model.sections["lab"].clear()


OWN = {"port": 9999, "ip": "127.0.0.1", "base_url": "/"}
OTHERS = {
    "port 8888 of 127.0.0.1, http, /;": OWN | {"port": 8888},
    r"port 8888 of \*, https, /;": OWN
    | {"port": 8888, "ip": "*", "certfile": "/home/lab/.jupyter/tls/cert.pem"},
    "port 9999 of 127.0.0.1, behind Apache, /;": OWN
    | {"trust_xheaders": True, "local_hostnames": ["localhost", "lab.example.org"]},
    "port 9999 of 127.0.0.1, http, /j/;": OWN | {"base_url": "/j/"},
    "/home/lab/.jupyter/lab.sock, http, /;": {
        "sock": "/home/lab/.jupyter/lab.sock",
        "base_url": "/",
    },
    r"port 9999 of 127.0.0.1, http, \?\[2J;": OWN | {"base_url": "\x1b[2J"},
}


@pytest.mark.parametrize("words", OTHERS)
def test_a_lab_with_other_settings_stays_as_it_is(running, opened, monkeypatch, words):
    """A second laptop without the recipe writes nothing, starts nothing and says in one line what to add."""
    model = running()
    monkeypatch.setattr(lab, "start", lambda c: pytest.fail("must not be started"))
    server(model, **OTHERS[words])
    said = f"has other settings .{words} yours: port 9999 of 127.0.0.1, http, /.: give its recipe with -f"
    with pytest.raises(SetupError, match=said) as told:
        browse.open_(model.c)
    assert model.writes == [] and opened == [] and "\n" not in told.value.message


@pytest.mark.parametrize(
    "settings, keys",
    [
        ({}, OWN),
        ({"publish": "https", "lab_port": 8888}, OWN | {"port": 8888, "ip": "*", "certfile": "x"}),
        ({"publish": "apache"}, OWN | {"trust_xheaders": True, "local_hostnames": ["localhost"]}),
        ({"jupyter_options": {"ServerApp": {"ip": "10.0.0.1"}}}, OWN | {"ip": "10.0.0.1"}),
    ],
)
def test_with_its_settings_it_is_started(running, opened, monkeypatch, settings, keys):
    """The same settings as setup wrote do not count as others."""
    model = running(**settings)
    started = starting(model, monkeypatch)
    server(model, **keys)
    browse.open_(model.c)
    assert started and opened


def test_no_second_server_beside_one_that_was_started_by_hand(running, opened, monkeypatch):
    """If no configuration says where, the server itself does."""
    model = running()
    monkeypatch.setattr(lab, "start", lambda c: pytest.fail("must not be started"))
    model.sections["lab"].clear()
    model.answers = [("jpserver", Result(0, "port 8888\n", ""))]
    with pytest.raises(
        SetupError, match="has other settings [(]port 8888; yours: .*give its recipe with -f"
    ):
        browse.open_(model.c)
    assert model.writes == []


def test_what_answers_for_it_meanwhile_gets_no_token(running, opened, monkeypatch):
    """While JupyterLab was starting, somebody else took its port and answers as it would."""
    model = running()
    server(model, **OWN)

    def start(c):
        Host.of(c).facts.clear()  # as it does once it has waited
        model.sections["lab"] |= {"owner": "eve", "pid": "5", "holder": "python3", "api": "2.21.0"}

    monkeypatch.setattr(lab, "start", start)
    with pytest.raises(SetupError, match="port 9999 is taken by python3 of eve"):
        browse.open_(model.c)
    assert opened == [] and secrets.load("homelab", "jupyter-token") is None


def test_through_another_ssh_the_token_goes_only_once_the_host_was_asked(
    running, opened, monkeypatch
):
    """After a reboot any account of the host may have the port; the token kept here is not sent to find out."""
    model, sent = running(), []
    secrets.store("homelab", "jupyter-token", TOKEN)
    monkeypatch.setattr(process, "code", lambda url, token: sent.append(token) or 200)
    model.sections["lab"] |= {"owner": "eve", "holder": "python3"}
    with pytest.raises(SetupError, match="taken by python3 of eve"):
        browse.open_(model.c)
    assert sent == [] and opened == []
    model.sections["lab"] |= {"owner": "lab"}
    browse.open_(model.again())
    assert sent == [] and model.told
    browse.open_(model.again())  # by the ssh that was checked then
    assert sent == [TOKEN] and model.told == []


def test_through_a_known_tunnel_the_token_goes_only_if_the_port_is_still_jupyterlabs(
    running, opened, monkeypatch
):
    """JupyterLab ended by itself, and somebody took its port; the tunnel has stayed open."""
    model, sent = running(), []
    browse.open_(model.c)
    monkeypatch.setattr(process, "code", lambda url, token: sent.append(token) or 200)
    monkeypatch.setattr(process, "leads_to", lambda *values: False)
    model.sections["lab"] |= {"owner": "eve", "holder": "python3"}
    with pytest.raises(SetupError, match="taken by python3 of eve"):
        browse.open_(model.again())
    assert sent == [] and len(opened) == 1


@pytest.mark.parametrize(
    "publish, url",
    [("https", "https://lab.example.org:9999/"), ("apache", "https://lab.example.org/")],
)
def test_a_published_one_is_opened_by_its_public_name(
    running, opened, capsys, monkeypatch, publish, url
):
    """There is no tunnel: browsers reach it."""
    monkeypatch.setattr(process, "open", None)
    model = running(publish=publish, names=["lab.example.org"])
    browse.open_(model.c)
    assert opened == [("homelab", url, TOKEN)]
    capsys.readouterr()
    browse.url(model.again())
    assert capsys.readouterr().out == f"{url}lab\n"


def test_without_a_screen_the_address_is_told(running, opened, capsys, monkeypatch):
    monkeypatch.setattr(browser, "can_open", lambda: False)
    browse.open_(running().c)
    assert (
        opened == []
        and "no browser can be opened here; JupyterLab is at http://127.0.0.1:9000/lab"
        in capsys.readouterr().out
    )


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
        raise Unreachable(
            "homelab: no answer on port 2222: is it switched on, is the address right?"
        )

    model = running()
    secrets.store("homelab", "jupyter-token", TOKEN)
    monkeypatch.setattr(stage.tunnel, "open", away)
    with pytest.raises(
        SetupError,
        match="right[?] If it sleeps, wake it; if it moved, correct HostName of homelab in .*config$",
    ):
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


@pytest.mark.parametrize("mark, opens", [("", True), ('from="10.0.0.9" ', True), ("# ", False)])
def test_a_key_that_was_commented_out_opens_nothing(fake, alone, mark, opens):
    """sshd skips such a line, so labfab must not count on it."""
    path = keypair.generate(alone / "home/.ssh/id_ed25519")
    model = fake()
    model.set_file("accounts", "root.keys", f"{mark}{keypair.public_line(path)}\n", "600 root")
    assert browse.own_key(model.c) == (path if opens else None)
    assert browse.key_opens(model.c, path, "root") is opens
    assert not browse.key_opens(model.c, path, "nobody-here")
